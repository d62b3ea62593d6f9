"""All that training carries from one step to the next, and so all that a checkpoint must hold."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax


class TrainState(flax.struct.PyTreeNode):
    """The state of a run after `step` steps.

    Attributes:
        step: int32, steps taken, skipped ones included.
        variables: the model's variables ('params' and, for BatchNorm models, 'batch_stats').
        ema: their exponential moving average; what is evaluated and released. Equal to
            `variables` when the average is off.
        opt_state: the optimizer's.
        skipped: int32, steps whose loss or gradient was not finite, and which changed nothing.
        streak: int32, how many of the last steps were skipped without one between them that was not.
    """

    step: jax.Array
    variables: Any
    ema: Any
    opt_state: Any
    skipped: jax.Array
    streak: jax.Array


def create(
    model: nn.Module, tx: optax.GradientTransformation, key: jax.Array, shape: tuple[int, ...]
) -> TrainState:
    """Initialises a model for input of `shape` [B *spatial C] in one compiled call."""

    @jax.jit
    def init(key: jax.Array) -> TrainState:
        variables = dict(model.init(key, jnp.zeros(shape, jnp.float32), train=False))
        zero = jnp.zeros((), jnp.int32)
        return TrainState(
            step=zero,
            variables=variables,
            ema=jax.tree.map(jnp.copy, variables),
            opt_state=tx.init(variables["params"]),
            skipped=zero,
            streak=zero,
        )

    return init(key)


def count_parameters(variables: Any) -> int:
    """Number of trainable parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
