"""Images in, probabilities out: the one path by which every model is scored and used."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from brainjax.data.source import Input, Source
from brainjax.infer.ensemble import members
from brainjax.infer.postprocess import Postprocess
from brainjax.infer.sliding import mirrors, sliding_window, tiling
from brainjax.metrics import overlap
from brainjax.metrics.lesion import RULES as LESION_RULES
from brainjax.preprocess.batch import prepare, restore
from brainjax.types import ConfigError

TTA = ("none", "flip")


@dataclasses.dataclass(frozen=True)
class Inference:
    """How predictions are made, beyond the network itself.

    Attributes:
        batch_size: slices, or patches of a volume, at once; the last batch is padded to it, so that there is one
            compile.
        tta: 'none', or 'flip': the mean of the probabilities of an image and its left-right mirror.
        mirror: axes of a volume that 'flip' mirrors, in every combination; 0 is left-right.
        patch: size of the patches that volumes are predicted in, in voxels; empty for that of training, or where
            there was none for whole volumes.
        overlap: share of a patch that its neighbours cover too (see `brainjax.infer.sliding`).
        threshold: probability at and above which a pixel is called tumour.
        empty: worth of a metric where prediction and truth are both empty: 'one', 'zero' or 'skip'.
        lesions: of volumes, also score every lesion by itself.
        lesion_rule: 'brats' or 'panoptica': which component counts as which lesion (see `brainjax.metrics.lesion`).
        temperature: of a classifier's softmax (Guo et al. 2017, arXiv:1706.04599): above 1 its probabilities are
            less certain, the order of the classes stays. Training sets it where there is validation data. An ensemble
            has one for each member.
        min_voxels, min_fraction, keep_largest, connectivity, fill: 3D clean-up of a patient's stacked
            slices, see `brainjax.infer.postprocess.Postprocess`; scores are given with and without it.
    """

    batch_size: int = 16
    tta: str = "none"
    mirror: tuple[int, ...] = (0,)
    patch: tuple[int, ...] = ()
    overlap: float = 0.5
    threshold: float = 0.5
    empty: str = "one"
    lesions: bool = False
    lesion_rule: str = "brats"
    temperature: float | tuple[float, ...] = 1.0
    min_voxels: int = 0
    min_fraction: float = 0.0
    keep_largest: bool = False
    connectivity: int = 26
    fill: bool = False

    def __post_init__(self) -> None:
        """Raises ConfigError for an option out of range."""
        known = {"tta": TTA, "empty": overlap.EMPTY_RULES, "lesion_rule": tuple(LESION_RULES)}
        for field, choices in known.items():
            if getattr(self, field) not in choices:
                raise ConfigError(
                    f"unknown --config.infer.{field}={getattr(self, field)}; choose one of "
                    f"{', '.join(choices)}"
                )
        if self.batch_size < 1:
            raise ConfigError(f"--config.infer.batch_size must be 1 or more, got {self.batch_size}")
        if not 0 <= self.overlap < 1:
            raise ConfigError(
                f"--config.infer.overlap must be 0 or more and below 1, got {self.overlap}"
            )
        for field in ("mirror", "patch"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        if not set(self.mirror) <= {0, 1, 2}:
            raise ConfigError(f"--config.infer.mirror={self.mirror}; name axes out of 0, 1, 2")
        if self.patch and (len(self.patch) != 3 or min(self.patch) < 1):
            raise ConfigError(f"--config.infer.patch={self.patch}; give three sizes above 0")
        if not 0 < self.threshold < 1:
            raise ConfigError(
                f"--config.infer.threshold must be between 0 and 1, got {self.threshold}"
            )
        if not np.all(np.asarray(self.temperature) > 0):
            raise ConfigError(
                f"--config.infer.temperature must be above 0, got {self.temperature}; use 1.0 for none"
            )
        self.postprocess()  # which checks its own

    def for_training_patch(self, patch: Sequence[int]) -> "Inference":
        """These options with the size of the training patches, unless they have one of their own."""
        return self if self.patch else dataclasses.replace(self, patch=tuple(patch))

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
        self._compiled = jax.jit(self._run)

    def with_options(self, **changes: Any) -> "Predictor":
        """The same network with other inference options.

        Raises:
            ConfigError: an option out of range.
        """
        made = Predictor(self.model, self.input, dataclasses.replace(self.options, **changes))
        if changes.keys() == {"temperature"}:
            made._compiled = self._compiled  # which takes it as an argument
        return made

    def on_batch(self, variables: Any, raw: dict[str, jax.Array]) -> jax.Array:
        """One raw batch (see `Source`), for use within a compiled program: [B *spatial K], or [B K] of classes."""
        return self._run(variables, raw, self._temperatures(variables))

    def _temperatures(self, variables: Any) -> np.ndarray:
        """[M] float32, one for each member of the ensemble that `variables` may be."""
        each = np.asarray(self.options.temperature, np.float32)
        return np.broadcast_to(each, len(members(variables)))

    def _run(self, variables: Any, raw: dict[str, jax.Array], temperatures: Any) -> jax.Array:
        each = [
            self._of_one(member, raw, temperatures[i])
            for i, member in enumerate(members(variables))
        ]
        return sum(each) / len(each)

    def _of_one(self, variables: Any, raw: dict[str, jax.Array], temperature: Any) -> jax.Array:
        native = raw["image"].shape[1:-1]
        image = prepare(raw, self.input.size)["image"]

        def once(image: jax.Array) -> jax.Array:
            return self.model.apply(variables, image, train=False)

        logits = once(image)
        if logits.ndim == 2:
            return nn.softmax(self._log_classes(logits, once, image) / temperature)
        total = nn.sigmoid(restore(logits, native))
        flips = self._flips(len(native))
        for axes in flips:
            mirrored = jnp.flip(once(jnp.flip(image, axes)), axes)
            total = total + nn.sigmoid(restore(mirrored, native))
        return total / (1 + len(flips))

    def _flips(self, rank: int) -> list[tuple[int, ...]]:
        """Axes of a batch to be mirrored together, in turn."""
        if self.options.tta == "none":
            return []
        if rank == 2:
            return [(2,)]  # W
        return [tuple(axis + 1 for axis in axes) for axes in mirrors(self.options.mirror)[1:]]

    def _log_classes(self, logits: jax.Array, once: Any, image: jax.Array) -> jax.Array:
        """Log-probabilities [B K] of classes that exclude one another, before any temperature."""
        log_p = nn.log_softmax(logits)
        flips = self._flips(image.ndim - 2)
        for axes in flips:
            log_p = jnp.logaddexp(log_p, nn.log_softmax(once(jnp.flip(image, axes))))
        return log_p - jnp.log(1.0 + len(flips))

    def warm(self, variables: Any, source: Source) -> None:
        """Compiles what `batches` will use, on the first row."""
        if not self._in_patches(source):
            next(self.batches(variables, source, np.zeros(1, np.int64)))
            return
        raw = self._raw(source, np.zeros(1, np.int64))
        corner = tuple(slice(p) for p in self._patch(raw["image"].shape[1:-1]))
        self._sliding(variables, {**raw, "image": raw["image"][:, *corner]})

    def batches(
        self,
        variables: Any,
        source: Source,
        rows: np.ndarray,
        *,
        check: Callable[[], None] | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (rows [b], probabilities [b *spatial K], or [b K] of classes, float32) over `rows`, padding left out.

        Of volumes that are segmented one at a time, b = 1.

        Args:
            variables: the network's; a tuple of several is an ensemble, which gives the mean of its members.
            source: the dataset.
            rows: [n] row numbers, in any order.
            check: called whenever the network has run; what it raises ends the prediction.
        """
        if self._in_patches(source):
            for row in rows:
                raw = self._raw(source, np.array([row]))
                yield np.array([row]), self._sliding(variables, raw, check)[None]
            return
        size = self.options.batch_size
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            padded = np.full(size, -1, np.int64)
            padded[: len(part)] = part
            found = np.asarray(self._on_device(variables, self._raw(source, padded)))
            if check is not None:
                check()
            yield part, found[: len(part)]

    def _on_device(self, variables: Any, raw: dict[str, Any]) -> jax.Array:
        """What `on_batch` gives, by the compiled program."""
        return self._compiled(variables, raw, self._temperatures(variables))

    @staticmethod
    def _raw(source: Source, rows: np.ndarray) -> dict[str, Any]:
        """The raw batch without the truth."""
        return {k: v for k, v in source.gather(rows).items() if k != source.dataset.target}

    @staticmethod
    def _in_patches(source: Source) -> bool:
        """Whether rows are volumes to be segmented; what is classified is seen whole."""
        return source.dataset.rank == 3 and source.dataset.target == "mask"

    def _patch(self, native: tuple[int, ...]) -> tuple[int, ...]:
        return self.options.patch or native

    def _sliding(
        self, variables: Any, raw: dict[str, Any], check: Callable[[], None] | None = None
    ) -> np.ndarray:
        """[X Y Z K] float32 of a raw batch of one volume."""
        size = self.options.batch_size
        whole = {k: np.repeat(v, size, axis=0) for k, v in raw.items() if k != "image"}
        return sliding_window(
            lambda patches: self._on_device(variables, {**whole, "image": patches}),
            raw["image"][0],
            self._patch(raw["image"].shape[1:-1]),
            overlap=self.options.overlap,
            batch_size=size,
            check=check,
        )

    def calls(self, source: Source, count: int) -> int:
        """How often `batches` calls `check` over so many rows: once for each batch of slices, or of patches."""
        size = self.options.batch_size
        if not self._in_patches(source):
            return -(-count // size)
        native = source.dataset.image.shape[1:-1]
        return count * -(
            -len(tiling(native, self._patch(native), self.options.overlap).places) // size
        )

    def probabilities(
        self,
        variables: Any,
        source: Source,
        rows: np.ndarray,
        *,
        check: Callable[[], None] | None = None,
    ) -> np.ndarray:
        """[n *spatial K] float32 on the native grid, for a few rows (a patient's, say); or [n K].

        Args: as of `batches`.
        """
        return _joined([p for _, p in self.batches(variables, source, rows, check=check)])

    def masks(self, variables: Any, source: Source, rows: np.ndarray) -> np.ndarray:
        """[n *spatial K] bool on the native grid, before any clean-up."""
        threshold = self.options.threshold
        parts = [p >= threshold for _, p in self.batches(variables, source, rows)]
        return _joined(parts)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """One array after another; a lone one is not copied, for it may be a volume of gigabytes.

    Unless it is the device's own, which nobody may write to.
    """
    lone = len(parts) == 1 and parts[0].flags.writeable
    return parts[0] if lone else np.concatenate(parts)
