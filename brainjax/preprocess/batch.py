"""The device's half of preprocessing: raw batch -> float32 on the working grid, and back."""

import jax
import jax.numpy as jnp

from brainjax.types import Batch


def resample(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B H W C] -> [B *size C]: area mean where the grid divides, antialiased linear elsewhere.

    Of any rank where nothing is to be done.
    """
    if x.shape[1:-1] == tuple(size):
        return x
    height, width = x.shape[1:-1]
    if height % size[0] == 0 and width % size[1] == 0:
        f, g = height // size[0], width // size[1]
        return x.reshape(x.shape[0], size[0], f, size[1], g, -1).mean(axis=(2, 4))
    return jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), method="linear", antialias=True)


def working_size(size: int, native: tuple[int, ...]) -> tuple[int, ...]:
    """The working grid of `Input.size`: `size` x `size`, or the native grid when it is 0."""
    return (size, size) if size else native


def prepare(raw: Batch, size: int) -> dict[str, jax.Array]:
    """Raw batch (see `brainjax.data.Source`) -> image [B h w C] float32, mask [B h w K] or label [B K], valid [B].

    Masks are thresholded at half coverage after resampling. Volumes [B X Y Z C] keep their grid.
    """
    image = raw["image"].astype(jnp.float32)
    grid = working_size(size, image.shape[1:-1])
    # Normalising is affine and resampling averages: their order is free, the small grid cheaper.
    image = resample(image, grid)
    lift = (slice(None), *(None,) * len(grid), slice(None))
    image = (image - raw["shift"][lift]) * raw["scale"][lift]
    batch = {"image": image, "valid": raw["valid"]}
    if "mask" in raw:
        mask = resample(raw["mask"].astype(jnp.float32), grid)
        batch["mask"] = (mask >= 0.5).astype(jnp.float32)
    if "label" in raw:
        batch["label"] = raw["label"].astype(jnp.float32)
    return batch


def restore(logits: jax.Array, native: tuple[int, ...]) -> jax.Array:
    """Logits [B h w K] on the working grid -> [B *native K], by linear interpolation."""
    if logits.shape[1:-1] == tuple(native):
        return logits
    shape = (logits.shape[0], *native, logits.shape[-1])
    return jax.image.resize(logits, shape, method="linear", antialias=False)
