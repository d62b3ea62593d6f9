"""Resampling a volume from its grid to any other."""

import dataclasses

import numpy as np
from scipy import ndimage

from brainjax.io.volume import Grid, Volume
from brainjax.preprocess import linear
from brainjax.types import ConfigError

ALIGNED = 1e-2  # voxels by which axes may run apart over a whole grid and still be called parallel
_FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian, in its standard deviations


def resample(
    volume: Volume, grid: Grid, *, order: int = 1, antialias: bool = True, fill: float = 0.0
) -> Volume:
    """The volume as it would be on another grid in the same world.

    Where the axes of both are parallel, whatever their order and directions, they are resampled one by one, which is
    fast, and exact where voxels coincide. Else scipy interpolates.

    Args:
        volume: [X Y Z] or [X Y Z C].
        grid: where to go.
        order: 1, linear; 0, the nearest voxel, for labels.
        antialias: with order 1, average over the new voxels where they are larger than the old.
        fill: value of new voxels that lie outside the old field of view; those on its edge take the nearest there is.

    Returns:
        [x y z] or [x y z C], float32 or with order 0 the volume's type, in any memory order; with its header.

    Raises:
        ConfigError: another order.
    """
    if order not in (0, 1):
        raise ConfigError(f"order {order} is not offered; use 1 (linear) or 0 (nearest voxel)")
    index = np.linalg.inv(volume.affine) @ grid.affine  # new voxel -> old voxel
    pairs = _parallel(index, grid.shape)

    def one(data: np.ndarray) -> np.ndarray:
        if pairs is None:
            return _oblique(data, index, grid.shape, order, antialias, fill)
        return _by_axis(data, index, grid.shape, pairs, order, antialias, fill)

    if volume.data.ndim == 3:
        data = one(volume.data)
    else:
        kind = volume.data.dtype if order == 0 else np.float32
        data = np.empty((*grid.shape, volume.data.shape[3]), kind, order="F")
        for channel in range(data.shape[3]):
            data[..., channel] = one(volume.data[..., channel])
    return dataclasses.replace(volume, data=data, affine=grid.affine)


def _parallel(index: np.ndarray, shape: tuple[int, int, int]) -> list[int] | None:
    """For each old axis the new one that runs along it; None where some do not."""
    drift = np.abs(index[:3, :3]) * (np.array(shape) - 1)  # [old new] voxels from end to end
    along = np.abs(index[:3, :3] / np.linalg.norm(index[:3, :3], axis=0)).argmax(axis=1)
    if sorted(along) != [0, 1, 2]:
        return None
    drift[np.arange(3), along] = 0
    return along.tolist() if drift.sum(axis=1).max() < ALIGNED else None


def _by_axis(
    data: np.ndarray,
    index: np.ndarray,
    shape: tuple[int, int, int],
    pairs: list[int],
    order: int,
    antialias: bool,
    fill: float,
) -> np.ndarray:
    maps = [
        (data.shape[old], shape[new], float(index[old, new]), float(index[old, 3]))
        for old, new in enumerate(pairs)
    ]
    places = [linear.centres(*m) for m in maps]
    inside = [within for _, within in places]
    if order == 1:
        data = linear.apply(data, [linear.weights(*m, antialias) for m in maps])
    else:
        nearest = (
            np.clip(np.floor(at + 0.5), 0, n - 1).astype(np.int64)
            for (at, _), n in zip(places, data.shape, strict=True)
        )
        data = data[np.ix_(*nearest)]
    if not all(within.all() for within in inside) and (order == 0 or fill):
        for axis, within in enumerate(inside):
            data[(slice(None),) * axis + (~within,)] = fill
    return data.transpose(np.argsort(pairs))


def _oblique(
    data: np.ndarray,
    index: np.ndarray,
    shape: tuple[int, int, int],
    order: int,
    antialias: bool,
    fill: float,
) -> np.ndarray:
    kind = data.dtype if order == 0 else np.dtype(np.float32)
    if order == 1 or data.dtype == np.float16:  # which scipy does not take
        data = data.astype(np.float32, copy=False)
    elif data.dtype == bool:
        data = data.view(np.uint8)
    if order == 1:
        # A new voxel's width along each old axis; a Gaussian makes the old voxels as wide.
        width = np.linalg.norm(index[:3, :3], axis=1)
        if antialias and width.max() > 1:
            sigma = np.sqrt(np.maximum(width**2 - 1, 0)) / _FWHM
            data = ndimage.gaussian_filter(data, sigma, mode="nearest", truncate=3.0)
    out = ndimage.affine_transform(
        data,
        index[:3, :3],
        index[:3, 3],
        output_shape=shape,
        output=data.dtype,
        order=order,
        mode="nearest",
    ).astype(kind, copy=False)
    reach = 0.5 + np.abs(index[:3, :3]).sum(axis=1) / 2 - linear.SNAP
    y, z = np.ogrid[: shape[1], : shape[2]]
    for x in range(shape[0]):
        outside = False
        for old, n in enumerate(data.shape):
            at = index[old, 0] * x + index[old, 3] + index[old, 1] * y + index[old, 2] * z
            outside = outside | (at <= -reach[old]) | (at >= n - 1 + reach[old])
        out[x][outside] = fill
    return out
