"""A trained network with its weights and its preprocessing: what a release or a run is opened as."""

import pathlib
from typing import Any, Self

from brainjax.config import build, from_dict
from brainjax.data.source import Input, Source
from brainjax.datasets.base import Dataset
from brainjax.infer import release
from brainjax.infer.predictor import Inference, Predictor
from brainjax.lookup import lookup
from brainjax.models import get as get_model
from brainjax.types import CheckpointError


def opened_with(stored: release.Release) -> str:
    """Name of the class in `brainjax.infer` that a release is for."""
    if stored.task == "strip":
        return "Stripper"
    classifier = "ScanClassifier" if stored.rank == 3 else "Classifier"
    return classifier if stored.task == "classification" else "Segmenter"


class Model:
    """A network, its weights and its preprocessing; `Segmenter` and `Classifier` say what to do with it.

    Attributes:
        config: the training config.
        facts: what is known about the model: dataset, licence, what it was trained on, scores.
        predictor, variables: the network with its preprocessing, and its weights.
    """

    task = ""
    ranks: tuple[int, ...] = (2, 3)  # spatial axes of what it can be given

    def __init__(self, config: dict[str, Any], facts: dict[str, Any], variables: Any):
        """Builds the network that the training config describes; see the class for the arguments."""
        self.config, self.facts, self.variables = from_dict(config), facts, variables
        self.predictor = Predictor(
            build(self.config.model, get_model),
            build(self.config.input, lambda name: lookup(name, {"Input": Input}, "input")),
            build(
                self.config.infer,
                lambda name: lookup(name, {"Inference": Inference}, "inference options"),
            ).for_training_patch(self.config.augment.get("patch", ())),
        )

    @classmethod
    def load(cls, directory: str | pathlib.Path) -> Self:
        """Reads a release folder (see `brainjax.infer.release`).

        Raises:
            CheckpointError: it is missing, damaged, or a model for another task.
        """
        stored = release.load(directory)
        if stored.task != cls.task or stored.rank not in cls.ranks:
            what = "volumes" if stored.rank == 3 else "slices"
            raise CheckpointError(
                f"{directory} is a model for {stored.task} of {what}; open it with "
                f"brainjax.infer.{opened_with(stored)}"
            )
        return cls(stored.config, stored.facts, stored.variables)

    @property
    def rank(self) -> int:
        """Axes of what the network sees: 2 of slices, 3 of whole volumes."""
        return self.facts.get("rank", 2)  # older releases know slices alone

    def source(self, dataset: Dataset) -> Source:
        """The dataset as this network wants to see it."""
        return Source(dataset, self.predictor.input.context, self.predictor.input.normalize)
