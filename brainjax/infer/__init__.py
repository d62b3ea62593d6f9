"""From a trained network to masks: prediction, clean-up, scores, released models."""

from brainjax.infer.predictor import Inference, Predictor
from brainjax.infer.segmenter import Segmenter

__all__ = ["Inference", "Predictor", "Segmenter"]
