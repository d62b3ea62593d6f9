"""The training step: one pure function of (state, batch, key), ignorant of devices and files."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from brainjax import losses, optim
from brainjax.preprocess.batch import prepare
from brainjax.train.state import TrainState
from brainjax.types import Batch

Step = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, dict[str, jax.Array]]]


def make_step(
    model: nn.Module,
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    tx: optax.GradientTransformation,
    *,
    size: int,
    augment: Any | None = None,
    ema: float = 0.0,
    axis_name: str | None = None,
) -> Step:
    """Builds `step(state, raw_batch, key) -> (state, metrics)`.

    The batch is raw, as `brainjax.data` gives it; normalising, resampling and augmenting are part of the
    compiled step. The loss is the mean over the valid examples of all devices, whatever their shares. Each example's
    augmentation and dropout depend on its place in the global batch, so one device and eight draw the same.

    A step whose loss, gradient or update is not finite changes nothing but its counters.

    Args:
        model: a Linen module called as `model(x, train=...)`; its `axis_name`, if it has one, must equal this one.
        loss: `f(logits, target) -> [B]`.
        tx: the optimizer.
        size: edge of the working grid, 0 for the native one (see `brainjax.data.Input`).
        augment: None, or an object with `batch(keys, image, mask)`.
        ema: decay of the moving average of the variables; 0 switches it off.
        axis_name: the mapped axis under pmap, None elsewhere.
    """

    def total(x: jax.Array) -> jax.Array:
        return x if axis_name is None else jax.lax.psum(x, axis_name)

    def step(
        state: TrainState, raw: Batch, key: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        batch = prepare(raw, size)
        image, mask, valid = batch["image"], batch["mask"], batch["valid"]
        key = jax.random.fold_in(key, state.step)
        if augment is not None:
            device = 0 if axis_name is None else jax.lax.axis_index(axis_name)
            places = device * len(valid) + jnp.arange(len(valid))
            keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(places)
            image, mask = augment.batch(keys, image, mask)
        count = jnp.maximum(total(valid.sum()), 1.0)
        rngs = {"dropout": jax.random.fold_in(key, 1 << 30)}

        def objective(params: Any) -> tuple[jax.Array, Any]:
            variables = {**state.variables, "params": params}
            logits, updates = model.apply(
                variables, image, train=True, mutable=["batch_stats"], rngs=rngs
            )
            summed, _ = losses.reduce(loss(logits, mask), valid)
            return summed / count, updates

        params = state.variables["params"]
        (value, updates), grads = jax.value_and_grad(objective, has_aux=True)(params)
        value, grads = total(value), jax.tree.map(total, grads)
        norm = optax.global_norm(grads)
        moves, opt_state = tx.update(grads, state.opt_state, params)
        # A finite gradient can still make an update that is not: adam with eps=0 divides 0 by 0.
        finite = jnp.isfinite(jnp.stack([value, norm, optax.global_norm((moves, updates))])).all()
        variables = {**state.variables, **updates, "params": optax.apply_updates(params, moves)}
        average = optim.ema_update(state.ema, variables, state.step, ema) if ema else variables

        def keep(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

        bad = jnp.where(finite, 0, 1).astype(jnp.int32)
        state = TrainState(
            step=state.step + 1,
            variables=keep(variables, state.variables),
            ema=keep(average, state.ema),
            opt_state=keep(opt_state, state.opt_state),
            skipped=state.skipped + bad,
            streak=(state.streak + bad) * bad,
        )
        metrics = {"loss": value, "grad_norm": norm, "skipped": state.skipped}
        return state, {**metrics, "streak": state.streak}

    return step
