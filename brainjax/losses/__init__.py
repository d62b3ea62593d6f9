"""Losses: pure functions `f(logits, target, **options) -> [B] float32`, one value per example.

Every loss starts from logits, is computed in float32 whatever the input dtype, and keeps finite
values and gradients for confident logits. Nothing is averaged over the batch: `reduce` masks the
padding and returns (sum, count), which stays exact however the batch is split over devices.

Segmentation losses take logits and target of shape [B *spatial C], so one function serves slices
and volumes, with target in {0, 1}. `activation` says how channels relate: 'sigmoid' for one or
several independent (possibly nested) regions, such as whole tumour, core and enhancing core, each with
a Dice of its own; 'softmax' for classes that exclude one another.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from brainjax.lookup import lookup
from brainjax.losses.distance import signed_distance
from brainjax.losses.overlap import dice, generalised_dice, jaccard, tversky
from brainjax.losses.sums import bce_dice, dice_focal
from brainjax.losses.voxelwise import bce, categorical_hinge, focal, kl_divergence, mse, softmax_ce

__all__ = [
    "bce",
    "bce_dice",
    "categorical_hinge",
    "dice",
    "dice_focal",
    "focal",
    "generalised_dice",
    "jaccard",
    "kl_divergence",
    "mse",
    "signed_distance",
    "softmax_ce",
    "tversky",
]


def get(name: str) -> Callable[..., jax.Array]:
    """The loss of that name.

    Raises:
        ConfigError: not in `__all__`; the message names the nearest loss and lists them all.
    """
    return lookup(name, {n: globals()[n] for n in __all__}, "loss")


def reduce(per_example: jax.Array, valid: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Sum and number of the valid examples; their ratio, after any cross-device sum, is the mean.

    Args:
        per_example: [B], what a loss returns.
        valid: [B], 0 for padding. None means that every example counts.

    Returns:
        (sum, count), float32 scalars. A padded example adds nothing, even where it is NaN.
    """
    if valid is None:
        return per_example.sum(), jnp.float32(per_example.shape[0])
    keep = valid > 0
    return jnp.where(keep, per_example, 0.0).sum(), keep.sum(dtype=jnp.float32)


def at_all_levels(
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    logits: jax.Array | Sequence[jax.Array],
    target: jax.Array,
) -> jax.Array:
    """The loss of a network that answers at one resolution, or at several (deep supervision).

    Several are weighted 1, 1/2, 1/4 .., finest first, and the weights scaled to a sum of 1 (Isensee et al. 2021,
    https://doi.org/10.1038/s41592-020-01008-z). A coarser target is every s-th voxel of the finest, taken
    in the middle of the s it stands for, so that it stays in {0, 1}.

    Args:
        loss: `f(logits, target) -> [B]`.
        logits: what the loss takes, or a sequence of [B *(spatial / s) C], finest first.
        target: [B *spatial C].

    Returns:
        [B] float32.
    """
    if not isinstance(logits, (tuple, list)):
        return loss(logits, target)
    total, weights = 0.0, [0.5**i for i in range(len(logits))]
    for weight, level in zip(weights, logits, strict=True):
        steps = [n // m for n, m in zip(target.shape[1:-1], level.shape[1:-1], strict=True)]
        part = target[(slice(None), *(slice(s // 2, None, s) for s in steps))]
        total = total + weight * loss(level, part)
    return total / sum(weights)
