"""Losses of each voxel, or image, by itself: cross-entropies, focal, squared error, hinge."""

import jax
import jax.numpy as jnp

from brainjax.losses.common import check_activation, flat, probabilities
from brainjax.types import ConfigError


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
    x, t = flat(logits, target)  # [B N C]
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

    Raises:
        ValueError: label_smoothing is not in [0, 1).
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing}; use 0.0 or more, and less than 1.0")
    x, t = flat(logits, target, classes=True)  # [B N C]
    if label_smoothing:
        t = (1.0 - label_smoothing) * t + label_smoothing / t.shape[-1]
    return -(t * jax.nn.log_softmax(x)).sum(-1).mean(-1)


def mse(logits: jax.Array, target: jax.Array, *, activation: str = "sigmoid") -> jax.Array:
    """Mean squared error of the probabilities (the Brier score), (p - t)^2 over space and channels.

    Its gradient fades where the network is sure, also of what is wrong; the others' does not.

    Args:
        logits: [B *spatial C].
        target: [B *spatial C] in {0, 1}, or any probability.
        activation: 'sigmoid' or 'softmax'.

    Returns:
        [B] float32 in [0, 1].
    """
    x, t = flat(logits, target)  # [B N C]
    return jnp.square(probabilities(x, activation) - t).mean(axis=(1, 2))


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
    x, t = flat(logits, target)  # [B N C]
    check_activation(activation, x.shape[-1])
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


def kl_divergence(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence, sum_c t_c (log t_c - log p_c) with p = softmax(x).

    For one-hot targets this is the cross-entropy; for soft ones it is 0, not the entropy, at p = t.

    Args:
        logits: [B C].
        target: [B C], a distribution over C.

    Returns:
        [B] float32.
    """
    x, t = flat(logits, target, classes=True)
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
    x, t = flat(logits, target, classes=True)
    if activation == "softmax":
        x = jax.nn.softmax(x)
    elif activation != "linear":
        raise ConfigError(f"activation={activation!r}: use 'linear' or 'softmax'.")
    wrong = jnp.where(t > 0.5, jnp.finfo(x.dtype).min, x).max(-1)
    return jnp.maximum(0.0, 1.0 + wrong - (t * x).sum(-1)).mean(-1)
