"""Losses: pure functions `f(logits, target, **options) -> [B] float32`, one value per example.

Every loss starts from logits, is computed in float32 whatever the input dtype, and keeps finite
values and gradients for confident logits. Nothing is averaged over the batch: `reduce` masks the
padding and returns (sum, count), which stays exact however the batch is split over devices.

Segmentation losses take logits and target of shape [B *spatial C], so one function serves slices
and volumes, with target in {0, 1}. `activation` says how channels relate: 'sigmoid' for one or
several independent (possibly nested) regions, 'softmax' for classes that exclude one another.

`smooth` means the same in every overlap loss: it is added to numerator and denominator of the Dice
score 2 |P T| / (|P| + |T|), and the others are smoothed so that the textbook relations between them
stay exact: `jaccard = d / (2 - d)` and `tversky(alpha=0.5, beta=0.5) = dice`, per channel.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from brainjax.lookup import lookup
from brainjax.types import ConfigError

__all__ = [
    "bce",
    "bce_dice",
    "categorical_hinge",
    "dice",
    "focal",
    "generalised_dice",
    "jaccard",
    "kl_divergence",
    "softmax_ce",
    "tversky",
]

# A soft region below this many voxels counts as empty; above it, 1 / size^2 fits in float32.
_EMPTY = 1e-6


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


def bce(logits: jax.Array, target: jax.Array, *, positive_weight: float = 1.0) -> jax.Array:
    """Binary cross-entropy, -[w t log p + (1 - t) log(1 - p)] with p = sigmoid(x).

    Averaged over space and channels.

    Args:
        logits: [B *spatial C].
        target: [B *spatial C] in {0, 1}.
        positive_weight: w, the weight of voxels inside the target.

    Returns:
        [B] float32.
    """
    x, t = _flat(logits, target)  # [B N C]
    # softplus(x) - t x, but softplus(-x) + (1 - t) x where t rounds to 1: exact for hard and soft
    # targets alike, without the cancellation of large x, and with the right gradient at 0.
    inside = t > 0.5
    loss = jax.nn.softplus(jnp.where(inside, -x, x)) + (inside - t) * x
    if positive_weight != 1.0:
        loss = loss * (1.0 + (positive_weight - 1.0) * t)
    return loss.mean(axis=(1, 2))


def softmax_ce(logits: jax.Array, target: jax.Array, *, label_smoothing: float = 0.0) -> jax.Array:
    """Categorical cross-entropy, -sum_c t_c log p_c with p = softmax(x), averaged over space.

    Args:
        logits: [B C], or [B *spatial C] for dense prediction.
        target: same shape, one-hot or any distribution over C.
        label_smoothing: share of the target spread evenly over the classes (Szegedy et al. 2016,
            https://arxiv.org/abs/1512.00567).

    Returns:
        [B] float32.
    """
    x, t = _flat(logits, target, classes=True)  # [B N C]
    if label_smoothing:
        t = (1.0 - label_smoothing) * t + label_smoothing / t.shape[-1]
    return -(t * jax.nn.log_softmax(x)).sum(-1).mean(-1)


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


def focal(
    logits: jax.Array,
    target: jax.Array,
    *,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    activation: str = "sigmoid",
) -> jax.Array:
    """Focal loss, -a_t (1 - p_t)^gamma log p_t, with p_t the probability given to the truth.

    Lin et al. 2017 (https://arxiv.org/abs/1708.02002), equation 5.

    Args:
        logits: [B *spatial C].
        target: [B *spatial C] in {0, 1}; one-hot with 'softmax'.
        alpha: with 'sigmoid', a_t is alpha inside the target and 1 - alpha outside; with 'softmax'
            it is alpha for every class. None means a_t = 1.
        gamma: how strongly easy voxels fade; 0 is cross-entropy.
        activation: 'sigmoid' (averaged over space and channels) or 'softmax' (summed over classes,
            averaged over space).

    Returns:
        [B] float32.
    """
    x, t = _flat(logits, target)  # [B N C]
    _check_activation(activation, x.shape[-1])
    if activation == "sigmoid":
        z = jnp.where(t > 0.5, x, -x)
        log_p = jax.nn.log_sigmoid(z)
        # (1 - p)^gamma as an exponential of a log: its gradient is finite for every gamma, also at
        # p = 1.
        loss = -jnp.exp(gamma * (log_p - z)) * log_p
        if alpha is not None:
            loss = loss * jnp.where(t > 0.5, alpha, 1.0 - alpha)
        return loss.mean(axis=(1, 2))
    log_p = (t * jax.nn.log_softmax(x)).sum(-1)  # [B N C] -> [B N]
    log_rest = jnp.log(jnp.maximum(-jnp.expm1(log_p), 1e-12))
    loss = -jnp.exp(gamma * log_rest) * log_p
    return (loss if alpha is None else alpha * loss).mean(-1)


def bce_dice(
    logits: jax.Array,
    target: jax.Array,
    *,
    weight: float = 1.0,
    smooth: float = 1.0,
    squared: bool = False,
) -> jax.Array:
    """bce + weight * dice, both over sigmoid channels: smooth gradients early, the right goal late.

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


def kl_divergence(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence, sum_c t_c (log t_c - log p_c) with p = softmax(x).

    For one-hot targets this is the cross-entropy; for soft ones it is 0, not the entropy, at p = t.

    Args:
        logits: [B C].
        target: [B C], a distribution over C.

    Returns:
        [B] float32.
    """
    x, t = _flat(logits, target, classes=True)
    log_t = jnp.log(jnp.where(t > 0, t, 1.0))  # t log t -> 0 for t -> 0
    return (t * (log_t - jax.nn.log_softmax(x))).sum(-1).mean(-1)


def categorical_hinge(
    logits: jax.Array, target: jax.Array, *, activation: str = "linear"
) -> jax.Array:
    """Multi-class hinge, max(0, 1 + max_{wrong} x - x_true).

    Crammer and Singer 2001 (https://jmlr.org/papers/v2/crammer01a.html).

    Args:
        logits: [B C].
        target: [B C], one-hot.
        activation: 'linear' compares logits; 'softmax' compares probabilities, as Keras models that
            end in softmax do (the loss is then in [0, 2] and never quite 0).

    Returns:
        [B] float32.

    Raises:
        ConfigError: another `activation`.
    """
    x, t = _flat(logits, target, classes=True)
    if activation == "softmax":
        x = jax.nn.softmax(x)
    elif activation != "linear":
        raise ConfigError(f"activation={activation!r}: use 'linear' or 'softmax'.")
    wrong = jnp.where(t > 0.5, jnp.finfo(x.dtype).min, x).max(-1)
    return jnp.maximum(0.0, 1.0 + wrong - (t * x).sum(-1)).mean(-1)


def _flat(
    logits: jax.Array, target: jax.Array, *, classes: bool = False
) -> tuple[jax.Array, jax.Array]:
    """[B *spatial C] of any dtype -> [B N C] float32, for both; `classes` asks for C > 1."""
    if logits.shape != target.shape or logits.ndim < 2:
        raise ValueError(
            f"logits {logits.shape} and target {target.shape} must both be [B *spatial C]; "
            "one-hot integer labels first"
        )
    if classes and logits.shape[-1] < 2:
        raise ConfigError("This loss needs two classes or more; use 'bce' for one logit.")
    batch, channels = logits.shape[0], logits.shape[-1]
    shape = (batch, -1, channels) if logits.ndim > 2 else (batch, 1, channels)
    return logits.reshape(shape).astype(jnp.float32), target.reshape(shape).astype(jnp.float32)


def _check_activation(activation: str, channels: int) -> None:
    if activation not in ("sigmoid", "softmax"):
        raise ConfigError(f"activation={activation!r}: use 'sigmoid' or 'softmax'.")
    if activation == "softmax" and channels == 1:
        raise ConfigError("activation='softmax' over one channel is always 1; use 'sigmoid'.")


def _sums(
    logits: jax.Array, target: jax.Array, activation: str, squared: bool, background: bool
) -> tuple[jax.Array, jax.Array, jax.Array, int]:
    """sum p t, sum p, sum t over space, each [B C], and the number of voxels."""
    x, t = _flat(logits, target)  # [B N C]
    _check_activation(activation, x.shape[-1])
    p = jax.nn.sigmoid(x) if activation == "sigmoid" else jax.nn.softmax(x)
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
