"""A network of a fixed input size moved over a volume of any size: overlapping patches, blended by a Gaussian.

The middle of a patch sees the most of its surroundings, so it counts more than the borders (nnU-Net, Isensee et al.
2021, https://doi.org/10.1038/s41592-020-01008-z, online methods). Patches are cut and added up on the host, so that the
compiled network knows one shape, whatever the volume's, and the device holds no more than a batch of patches.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from brainjax.types import ConfigError, check_shape

_SIGMA = 1 / 8  # of the Gaussian, as a share of the patch's edge; nnU-Net's


def sliding_window(
    predict: Callable[[np.ndarray], Any],
    volume: np.ndarray,
    patch: Sequence[int],
    *,
    overlap: float = 0.5,
    batch_size: int = 1,
    check: Callable[[], None] | None = None,
) -> np.ndarray:
    """Predicts a volume patch by patch.

    Beyond the volume itself and the result this holds two batches of patches.

    Args:
        predict: [b x y z C] -> [b x y z K] float, of patches, best jitted; whatever it gives is averaged.
        volume: [X Y Z C] of any dtype; where it is smaller than the patch, its border is repeated.
        patch: x, y, z in voxels.
        overlap: share of a patch's edge that its neighbour covers too, in [0, 1); a little more where that makes them
            end with the volume.
        batch_size: patches at once, b; the last batch is filled up with copies.
        check: called after every batch; what it raises ends the prediction.

    Returns:
        [X Y Z K] float32.

    Raises:
        ConfigError: a patch or overlap that cannot be.
    """
    check_shape("volume", volume, (None,) * (len(patch) + 1))
    plan = tiling(volume.shape[:-1], patch, overlap)
    if batch_size < 1:
        raise ConfigError(
            f"{batch_size} patches at once make no sliding window; set --config.infer.batch_size to 1 or more"
        )
    if any(map(any, plan.around)):
        volume = np.pad(volume, [*plan.around, (0, 0)], mode="edge")
    total = None
    for part, found in _ahead(predict, volume, plan.size, plan.places, batch_size):
        if total is None:
            total = np.zeros((*volume.shape[:-1], found.shape[-1]), np.float32)
        for place, one in zip(part, found, strict=False):
            total[_window(place, plan.size)] += plan.weight[..., None] * one
        if check is not None:
            check()
    for share in plan.shares:
        total *= share
    return total[plan.inner]


@dataclasses.dataclass(frozen=True, eq=False)
class Tiling:
    """How patches cover a volume.

    Attributes:
        size: of a patch.
        around: voxels by which each axis of the volume is to be lengthened, (before, after), so that a patch fits.
        places: first voxel of each patch in that volume.
        weight: [*size] float32 of a patch's voxels.
        shares: factors [X 1 1 1], [1 Y 1 1], [1 1 Z 1] float32 that make the weighted sum of all patches a mean.
        inner: what of the lengthened volume is the volume itself.
    """

    size: tuple[int, ...]
    around: tuple[tuple[int, int], ...]
    places: list[tuple[int, ...]]
    weight: np.ndarray
    shares: tuple[np.ndarray, ...]
    inner: tuple[slice, ...]


def tiling(native: Sequence[int], patch: Sequence[int], overlap: float) -> Tiling:
    """Patches of a volume of a certain size; see `sliding_window` for the arguments.

    Raises:
        ConfigError: a patch or overlap that cannot be.
    """
    size = tuple(int(p) for p in patch)
    if min(size) < 1 or not 0 <= overlap < 1:
        raise ConfigError(
            f"--config.infer patch={size} and overlap={overlap} make no sliding window; use sizes above 0 and an "
            f"overlap in [0, 1)"
        )
    missing = [max(p - n, 0) for p, n in zip(size, native, strict=True)]
    around = tuple((m // 2, m - m // 2) for m in missing)
    lengths = [n + m for n, m in zip(native, missing, strict=True)]
    begins = [starts(n, p, overlap) for n, p in zip(lengths, size, strict=True)]
    blend = [_gaussian(p) for p in size]
    shares = []
    # Patches lie on a grid and the Gaussian is a product, so the sum of the weights is a product of sums along the axes.
    for axis, (length, first, line) in enumerate(zip(lengths, begins, blend, strict=True)):
        covered = np.zeros(length)
        for begin in first:
            covered[begin : begin + len(line)] += line
        lift = [1] * (len(size) + 1)
        lift[axis] = length
        shares.append((1 / covered).astype(np.float32).reshape(lift))
    return Tiling(
        size=size,
        around=around,
        places=list(itertools.product(*begins)),
        weight=_outer(blend).astype(np.float32),
        shares=tuple(shares),
        inner=tuple(slice(low, low + n) for (low, _), n in zip(around, native, strict=True)),
    )


def starts(length: int, patch: int, overlap: float) -> list[int]:
    """First voxels of patches along an axis: from one end to the other, evenly, at least so much overlap."""
    most = max(1, math.floor(patch * (1 - overlap)))
    count = -(-(length - patch) // most) + 1
    return [round(i * (length - patch) / max(count - 1, 1)) for i in range(count)]


def mirrors(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every combination of `axes`, the empty one first: what mirror averaging flips in turn."""
    ranked = sorted(set(axes))
    return [c for n in range(len(ranked) + 1) for c in itertools.combinations(ranked, n)]


def _ahead(
    predict: Callable[[np.ndarray], Any],
    volume: np.ndarray,
    size: tuple[int, ...],
    places: list[tuple[int, ...]],
    batch_size: int,
) -> Iterator[tuple[list[tuple[int, ...]], np.ndarray]]:
    """Yields (places, what was predicted there); the device has the next batch while the host adds this one up."""
    waiting = None
    for first in range(0, len(places), batch_size):
        part = places[first : first + batch_size]
        filled = part + part[-1:] * (batch_size - len(part))
        begun = part, predict(np.stack([volume[_window(place, size)] for place in filled]))
        if waiting is not None:
            yield waiting[0], np.asarray(waiting[1])
        waiting = begun
    if waiting is not None:
        yield waiting[0], np.asarray(waiting[1])


def _window(place: tuple[int, ...], size: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(start, start + n) for start, n in zip(place, size, strict=True))


def _gaussian(length: int) -> np.ndarray:
    """Weights along an axis, 1 in the middle and 3e-4 or more at the ends: what a corner alone has is divided out."""
    offset = (np.arange(length) - (length - 1) / 2) / (length * _SIGMA)
    return np.exp(-0.5 * offset**2)


def _outer(lines: Sequence[np.ndarray]) -> np.ndarray:
    """[l], [m], [n] -> [l m n], their products."""
    total = np.ones(())
    for line in lines:
        total = total[..., None] * line
    return total
