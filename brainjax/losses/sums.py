"""Weighted sums of two losses."""

import jax

from brainjax.losses.overlap import dice
from brainjax.losses.voxelwise import bce, focal


def bce_dice(
    logits: jax.Array,
    target: jax.Array,
    *,
    weight: float = 1.0,
    smooth: float = 1.0,
    squared: bool = False,
) -> jax.Array:
    """bce + weight * dice, both over sigmoid channels: smooth gradients early, the right goal late.

    Every channel is a region by itself (of nested ones too), and each has its own Dice.

    Isensee et al. 2021 (https://doi.org/10.1038/s41592-020-01008-z) use this sum with weight 1.

    Args:
        logits: [B *spatial C].
        target: [B *spatial C] in {0, 1}.
        weight: weight of the Dice term.
        smooth, squared: as in `dice`.

    Returns:
        [B] float32.
    """
    return bce(logits, target) + weight * dice(logits, target, smooth=smooth, squared=squared)


def dice_focal(
    logits: jax.Array,
    target: jax.Array,
    *,
    weight: float = 1.0,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    activation: str = "sigmoid",
    smooth: float = 1.0,
    background: bool = True,
) -> jax.Array:
    """dice + weight * focal, of one activation: the overlap, and the voxels that are still hard.

    With 'softmax' this is the sum of https://github.com/qubvel/segmentation_models, popular for BraTS,
    but for one factor: its categorical focal loss is averaged over classes, where `focal` sums
    them, so its weight of 1 is a weight of 1 / C here.

    Args:
        logits: [B *spatial C].
        target: [B *spatial C] in {0, 1}; one-hot with 'softmax'.
        weight: weight of the focal term.
        alpha, gamma: as in `focal`.
        activation: 'sigmoid' or 'softmax', for both terms.
        smooth, background: as in `dice`; the focal term has the background always.

    Returns:
        [B] float32.
    """
    overlap = dice(logits, target, activation=activation, smooth=smooth, background=background)
    return overlap + weight * focal(logits, target, alpha=alpha, gamma=gamma, activation=activation)
