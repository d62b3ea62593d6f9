"""What all losses share: shapes, float32, and how channels become probabilities."""

import jax
import jax.numpy as jnp

from brainjax.types import ConfigError


def flat(
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


def check_activation(activation: str, channels: int) -> None:
    """Raises ConfigError for an `activation` that is unknown, or a softmax over one channel."""
    if activation not in ("sigmoid", "softmax"):
        raise ConfigError(f"activation={activation!r}: use 'sigmoid' or 'softmax'.")
    if activation == "softmax" and channels == 1:
        raise ConfigError("activation='softmax' over one channel is always 1; use 'sigmoid'.")


def probabilities(x: jax.Array, activation: str) -> jax.Array:
    """Logits [B N C] -> probabilities [B N C].

    Raises:
        ConfigError: as `check_activation`.
    """
    check_activation(activation, x.shape[-1])
    return jax.nn.sigmoid(x) if activation == "sigmoid" else jax.nn.softmax(x)
