"""From a trained network to masks and classes: prediction, clean-up, scores, released models."""

from typing import Any

from brainjax.infer.classifier import Classifier
from brainjax.infer.predictor import Inference, Predictor
from brainjax.infer.scan_classifier import ScanClassifier
from brainjax.infer.segmenter import Segmenter
from brainjax.infer.strip import Stripper

__all__ = [
    "Classifier",
    "Inference",
    "Pipeline",
    "Predictor",
    "ScanClassifier",
    "Segmenter",
    "Stripper",
]


def __getattr__(name: str) -> Any:
    """`Pipeline` when it is asked for: it brings scikit-image along, which nothing else here needs."""
    if name == "Pipeline":
        from brainjax.infer.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
