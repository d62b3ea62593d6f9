"""Images in, probabilities out: the one path by which every model is scored and used."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from brainjax.data.source import Input, Source
from brainjax.infer.postprocess import Postprocess
from brainjax.metrics import overlap
from brainjax.preprocess.batch import prepare, restore
from brainjax.types import ConfigError

TTA = ("none", "flip")


@dataclasses.dataclass(frozen=True)
class Inference:
    """How predictions are made, beyond the network itself.

    Attributes:
        batch_size: slices at once; the last batch is padded to it, so that there is one compile.
        tta: 'none', or 'flip': the mean of the probabilities of an image and its left-right mirror.
        threshold: probability at and above which a pixel is called tumour.
        empty: worth of a metric where prediction and truth are both empty: 'one', 'zero' or 'skip'.
        temperature: of a classifier's softmax (Guo et al. 2017, arXiv:1706.04599): above 1 its probabilities are
            less certain, the order of the classes stays. Training sets it where there is validation data.
        min_voxels, min_fraction, keep_largest, connectivity, fill: 3D clean-up of a patient's stacked
            slices, see `brainjax.infer.postprocess.Postprocess`; scores are given with and without it.
    """

    batch_size: int = 16
    tta: str = "none"
    threshold: float = 0.5
    empty: str = "one"
    temperature: float = 1.0
    min_voxels: int = 0
    min_fraction: float = 0.0
    keep_largest: bool = False
    connectivity: int = 26
    fill: bool = False

    def __post_init__(self) -> None:
        """Raises ConfigError for an option out of range."""
        for field, choices in (("tta", TTA), ("empty", overlap.EMPTY_RULES)):
            if getattr(self, field) not in choices:
                raise ConfigError(
                    f"unknown --config.infer.{field}={getattr(self, field)}; choose one of "
                    f"{', '.join(choices)}"
                )
        if self.batch_size < 1:
            raise ConfigError(f"--config.infer.batch_size must be 1 or more, got {self.batch_size}")
        if not 0 < self.threshold < 1:
            raise ConfigError(
                f"--config.infer.threshold must be between 0 and 1, got {self.threshold}"
            )
        if not self.temperature > 0:
            raise ConfigError(
                f"--config.infer.temperature must be above 0, got {self.temperature}; use 1.0 for none"
            )
        self.postprocess()  # which checks its own

    def postprocess(self) -> Postprocess:
        """The clean-up that these options describe."""
        return Postprocess(
            self.min_voxels, self.min_fraction, self.keep_largest, self.connectivity, self.fill
        )


class Predictor:
    """A network with the preprocessing it was trained with.

    Attributes:
        model: the Linen module.
        input: working grid, context and normalisation.
        options: batch size, mirrors, threshold, clean-up.
    """

    def __init__(self, model: nn.Module, input: Input, options: Inference):
        """Compiles nothing yet; see the class for the arguments."""
        self.model, self.input, self.options = model, input, options
        self._compiled = jax.jit(self._probabilities)

    def with_options(self, **changes: Any) -> "Predictor":
        """The same network with other inference options.

        Raises:
            ConfigError: an option out of range.
        """
        return Predictor(self.model, self.input, dataclasses.replace(self.options, **changes))

    def _probabilities(self, variables: Any, raw: dict[str, jax.Array]) -> jax.Array:
        native = raw["image"].shape[1:3]
        image = prepare(raw, self.input.size)["image"]

        def once(image: jax.Array) -> jax.Array:
            return self.model.apply(variables, image, train=False)

        logits = once(image)
        if logits.ndim == 2:
            return self._classes(logits, once, image)
        if self.options.tta == "none":
            return nn.sigmoid(restore(logits, native))
        mirrored = jnp.flip(once(jnp.flip(image, axis=2)), axis=2)
        both = [nn.sigmoid(restore(x, native)) for x in (logits, mirrored)]
        return (both[0] + both[1]) / 2

    def _classes(self, logits: jax.Array, once: Any, image: jax.Array) -> jax.Array:
        """Probabilities [B K] of classes that exclude one another."""
        log_p = nn.log_softmax(logits)
        if self.options.tta == "flip":
            mirrored = nn.log_softmax(once(jnp.flip(image, axis=2)))
            log_p = jnp.logaddexp(log_p, mirrored) - jnp.log(2.0)
        return nn.softmax(log_p / self.options.temperature)

    def batches(
        self, variables: Any, source: Source, rows: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (rows [b], probabilities [b H W K], or [b K] of classes, float32) over `rows`, padding left out.

        Args:
            variables: the network's.
            source: the dataset.
            rows: [n] row numbers, in any order.
        """
        size = self.options.batch_size
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            padded = np.full(size, -1, np.int64)
            padded[: len(part)] = part
            raw = {k: v for k, v in source.gather(padded).items() if k != source.dataset.target}
            yield part, np.asarray(self._compiled(variables, raw))[: len(part)]

    def probabilities(self, variables: Any, source: Source, rows: np.ndarray) -> np.ndarray:
        """[n H W K] float32 on the native grid, for a few rows (a patient's, say); or [n K]."""
        return np.concatenate([p for _, p in self.batches(variables, source, rows)])

    def masks(self, variables: Any, source: Source, rows: np.ndarray) -> np.ndarray:
        """[n H W K] bool on the native grid, before any clean-up."""
        threshold = self.options.threshold
        parts = [p >= threshold for _, p in self.batches(variables, source, rows)]
        return np.concatenate(parts)
