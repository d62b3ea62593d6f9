"""From a trained network to masks and classes: prediction, clean-up, scores, released models."""

from brainjax.infer.classifier import Classifier
from brainjax.infer.predictor import Inference, Predictor
from brainjax.infer.scan_classifier import ScanClassifier
from brainjax.infer.segmenter import Segmenter
from brainjax.infer.strip import Stripper

__all__ = ["Classifier", "Inference", "Predictor", "ScanClassifier", "Segmenter", "Stripper"]
