"""Losses of overlap: soft Dice and its relatives.

`smooth` means the same in each: it is added to numerator and denominator of the Dice score
2 |P T| / (|P| + |T|), and the others are smoothed so that the textbook relations between them stay
exact: `jaccard = d / (2 - d)` and `tversky(alpha=0.5, beta=0.5) = dice`, per channel.
"""

import jax
import jax.numpy as jnp

from brainjax.losses.common import flat, probabilities
from brainjax.types import ConfigError

# A soft region below this many voxels counts as empty; above it, 1 / size^2 fits in float32.
_EMPTY = 1e-6


def dice(
    logits: jax.Array,
    target: jax.Array,
    *,
    activation: str = "sigmoid",
    smooth: float = 1.0,
    squared: bool = False,
    background: bool = True,
) -> jax.Array:
    """Soft Dice loss, 1 - (2 sum p t + s) / (sum p + sum t + s).

    Summed over space for each example, then averaged over channels.

    Milletari et al. 2016 (https://arxiv.org/abs/1606.04797), whose denominator is the squared one.

    Args:
        logits: [B *spatial C].
        target: [B *spatial C] in {0, 1}.
        activation: 'sigmoid' or 'softmax'.
        smooth: s. With 0, a channel that is empty in both prediction and target has loss 0.
        squared: sum p^2 + sum t^2 in the denominator.
        background: False leaves channel 0 out of the average.

    Returns:
        [B] float32 in [0, 1].
    """
    overlap, predicted, true, _ = _sums(logits, target, activation, squared, background)
    return 1.0 - _ratio(2.0 * overlap, predicted + true, smooth).mean(-1)


def jaccard(
    logits: jax.Array,
    target: jax.Array,
    *,
    activation: str = "sigmoid",
    smooth: float = 1.0,
    squared: bool = False,
    background: bool = True,
) -> jax.Array:
    """Soft Jaccard (IoU) loss, 1 - (sum p t + s/2) / (sum p + sum t - sum p t + s/2).

    Summed over space for each example, then averaged over channels.

    Rahman and Wang 2016 (https://doi.org/10.1007/978-3-319-50835-1_22). Arguments and result as in
    `dice`.
    """
    overlap, predicted, true, _ = _sums(logits, target, activation, squared, background)
    return 1.0 - _ratio(overlap, predicted + true - overlap, 0.5 * smooth).mean(-1)


def tversky(
    logits: jax.Array,
    target: jax.Array,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    activation: str = "sigmoid",
    smooth: float = 1.0,
    background: bool = True,
) -> jax.Array:
    """Tversky loss, 1 - (TP + s/2) / (TP + alpha FP + beta FN + s/2), averaged over channels.

    Salehi et al. 2017 (https://arxiv.org/abs/1706.05721).

    Args:
        logits: [B *spatial C].
        target: [B *spatial C] in {0, 1}.
        alpha: cost of false positives, sum p (1 - t).
        beta: cost of false negatives, sum (1 - p) t; above `alpha`, it favours recall.
        activation, smooth, background: as in `dice`.

    Returns:
        [B] float32 in [0, 1].
    """
    overlap, predicted, true, _ = _sums(logits, target, activation, False, background)
    mistakes = alpha * (predicted - overlap) + beta * (true - overlap)
    return 1.0 - _ratio(overlap, overlap + mistakes, 0.5 * smooth).mean(-1)


def generalised_dice(
    logits: jax.Array, target: jax.Array, *, activation: str = "sigmoid", smooth: float = 1.0
) -> jax.Array:
    """Generalised Dice loss: one Dice over all classes, weighted by 1 / volume^2 in the target.

        1 - (2 sum_c w_c sum p t + s) / (sum_c w_c (sum p + sum t) + s),   w_c = 1 / (sum t_c)^2

    Crum et al. 2006 (https://doi.org/10.1109/TMI.2006.880587), Sudre et al. 2017
    (https://arxiv.org/abs/1707.03237). The ratio does not change when the weights are rescaled, so
    they are scaled to a maximum of 1, which gives `smooth` the same meaning as in `dice`. A class
    that the target lacks has no finite weight and takes the largest of the others, 1. With C == 1
    the background is the second class, as in the paper.

    Args:
        logits: [B *spatial C].
        target: [B *spatial C] in {0, 1}.
        activation: 'sigmoid' or 'softmax'.
        smooth: s.

    Returns:
        [B] float32 in [0, 1].
    """
    overlap, predicted, true, size = _sums(logits, target, activation, False, True)
    if overlap.shape[-1] == 1:
        outside = size - predicted - true + overlap  # sum (1 - p) (1 - t)
        overlap = jnp.concatenate([overlap, outside], -1)
        predicted = jnp.concatenate([predicted, size - predicted], -1)
        true = jnp.concatenate([true, size - true], -1)
    present = true > 0
    volume = jnp.where(present, true, jnp.inf)
    smallest = volume.min(-1, keepdims=True)
    weight = jnp.where(present, jnp.square(smallest / jnp.where(present, true, 1.0)), 1.0)
    numerator = 2.0 * (weight * overlap).sum(-1)
    denominator = (weight * (predicted + true)).sum(-1)
    return 1.0 - _ratio(numerator, denominator, smooth)


def _sums(
    logits: jax.Array, target: jax.Array, activation: str, squared: bool, background: bool
) -> tuple[jax.Array, jax.Array, jax.Array, int]:
    """sum p t, sum p, sum t over space, each [B C], and the number of voxels."""
    x, t = flat(logits, target)  # [B N C]
    p = probabilities(x, activation)
    if not background:
        if x.shape[-1] == 1:
            raise ConfigError("background=False leaves nothing of one channel; drop the option.")
        p, t = p[..., 1:], t[..., 1:]
    overlap = (p * t).sum(1)  # [B N C] -> [B C]
    if squared:
        return overlap, jnp.square(p).sum(1), jnp.square(t).sum(1), x.shape[1]
    return overlap, p.sum(1), t.sum(1), x.shape[1]


def _ratio(numerator: jax.Array, denominator: jax.Array, smooth: float) -> jax.Array:
    """(numerator + smooth) / (denominator + smooth), with 0 / 0 = 1 and no NaN in its gradient."""
    numerator, denominator = numerator + smooth, denominator + smooth
    present = denominator > _EMPTY
    return jnp.where(present, numerator / jnp.where(present, denominator, 1.0), 1.0)
