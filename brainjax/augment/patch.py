"""Random patches of whole volumes, cut and augmented on the device inside the training step."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from jax import random

from brainjax.augment import spatial
from brainjax.augment.compose import Augment
from brainjax.types import ConfigError

_BLOCK = 8  # voxels: the mask is counted in blocks of this edge first, so that a draw sorts through few numbers


@dataclasses.dataclass(frozen=True)
class PatchAugment(Augment):
    """One patch of every volume, distorted as by `Augment`.

    The distortion reads the volume itself and not the patch, so that a rotated patch has no borders of its own.

    Beside the options of `Augment`, whose `flip` here mirrors X, left and right, alone:
      patch: size in voxels, one number an axis.
      foreground: share of patches that are centred on a voxel of the mask: of a channel drawn from those that are not
        empty, so that small regions get their share; then any voxel of it. The others lie anywhere.
    """

    flip: tuple[float, ...] = (0.5, 0.0, 0.0)
    patch: tuple[int, ...] = (96, 96, 96)
    foreground: float = 0.33

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        super().__post_init__()
        if len(self.patch) != 3 or min(self.patch) < 1:
            raise ConfigError(f"PatchAugment.patch={self.patch} needs three sizes above 0.")
        if self.foreground > 1:
            raise ConfigError(f"PatchAugment.foreground is a share; {self.foreground} > 1.")

    def __call__(
        self, key: jax.Array, image: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Cuts and augments one example: see `batch`."""
        image, mask = self.batch(key[None], image[None], mask[None])
        return image[0], mask[0]

    def batch(
        self, keys: jax.Array, image: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Cuts a patch out of every volume and augments it, each by its own key.

        Args:
          keys: [B] PRNG keys.
          image: [B X Y Z C] float32.
          mask: [B X Y Z K] float32 in {0, 1}; K may be 0.

        Returns:
          image [B *patch C] and mask [B *patch K].

        Raises:
          ConfigError: the patch does not fit into the volumes.
        """
        size = self._fitting(image.shape[1:-1])
        keys = jax.vmap(lambda key: random.split(key))(keys)  # [B 2]
        start = jax.vmap(lambda key, m: self._start(key, m, size))(keys[:, 0], mask)
        shape = (*size, image.shape[-1])
        params = jax.vmap(lambda key: self.sample(key, shape))(keys[:, 1])

        def straight(start, image, mask):
            def cut(x):
                return jax.lax.dynamic_slice(x, (*start, 0), (*size, x.shape[-1]))

            return cut(image), cut(mask)

        def warped(start, image, mask, drawn):
            at = spatial.coordinates(drawn, size)
            return spatial.read(tuple(c + s for c, s in zip(at, start, strict=True)), image, mask)

        drawn = params.get("spatial")
        if drawn is None:
            image, mask = jax.vmap(straight)(start, image, mask)
        else:
            image, mask = jax.lax.cond(
                drawn["on"].any(),
                jax.vmap(warped),
                lambda *x: jax.vmap(straight)(*x[:3]),
                *(start, image, mask, drawn),
            )
        return self.intensities(params, image), mask

    def _start(self, key: jax.Array, mask: jax.Array, size: tuple[int, ...]) -> jax.Array:
        """[rank] int32, first voxel of the patch in a volume with this mask [*shape K]."""
        k_any, k_choice, k_centre = random.split(key, 3)
        room = jnp.array(mask.shape[:-1]) - jnp.array(size)
        start = random.randint(k_any, room.shape, 0, room + 1)
        if not self.foreground or not mask.shape[-1]:
            return start
        found, centre = _voxel(k_centre, mask)
        around = jnp.clip(centre - jnp.array(size) // 2, 0, room)
        chosen = found & (random.uniform(k_choice) < self.foreground)
        return jnp.where(chosen, around, start)

    def _fitting(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != len(self.patch):
            raise ConfigError(
                f"--config.augment.patch={self.patch} has {len(self.patch)} axes, the images have {len(shape)}; set "
                f"one size an axis, or for slices --config.augment.name=Augment"
            )
        if any(p > s for p, s in zip(self.patch, shape, strict=True)):
            fits = tuple(min(p, s) for p, s in zip(self.patch, shape, strict=True))
            raise ConfigError(
                f"--config.augment.patch={self.patch} is larger than the volumes, {shape}; use {fits} or less"
            )
        return self.patch


def _voxel(key: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whether [*shape K] has any foreground, and [rank] the index of a voxel of it, each of its channel as likely."""
    k_channel, k_block, k_voxel = random.split(key, 3)
    counts = _block_counts(mask)  # [*blocks K]
    totals = counts.sum(tuple(range(counts.ndim - 1)))
    channel = _draw(k_channel, (totals > 0).astype(jnp.int32))
    blocks = jnp.take(counts, channel, axis=-1)
    block = jnp.array(jnp.unravel_index(_draw(k_block, blocks), blocks.shape))
    # Moved inwards at the far end, where `block` is cut off; there some voxels are counted to its neighbour too.
    size = tuple(min(_BLOCK, s) for s in mask.shape[:-1])
    low = jnp.minimum(block * _BLOCK, jnp.array(mask.shape[:-1]) - jnp.array(size))
    inside = jax.lax.dynamic_slice(mask, (*low, channel), (*size, 1))[..., 0] > 0
    step = jnp.array(jnp.unravel_index(_draw(k_voxel, inside.astype(jnp.int32)), size))
    return totals.sum() > 0, low + step


def _block_counts(mask: jax.Array) -> jax.Array:
    """[*shape K] -> [*blocks K] int32: voxels above 0 in each block."""
    shape = mask.shape[:-1]
    padded = jnp.pad(mask > 0, [*((0, -s % _BLOCK) for s in shape), (0, 0)])
    split = itertools.chain.from_iterable((-(-s // _BLOCK), _BLOCK) for s in shape)
    axes = tuple(range(1, 2 * len(shape), 2))
    return padded.reshape(*split, mask.shape[-1]).sum(axes, dtype=jnp.int32)


def _draw(key: jax.Array, weights: jax.Array) -> jax.Array:
    """Index into the flattened integer `weights`, with probability in their proportion; 0 where all are 0."""
    total = jnp.cumsum(weights.ravel())
    ticket = jnp.minimum((random.uniform(key) * total[-1]).astype(jnp.int32), total[-1] - 1)
    return jnp.minimum(jnp.searchsorted(total, ticket, side="right"), total.size - 1)
