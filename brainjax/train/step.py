"""The training step: one pure function of (state, batch, key), ignorant of devices and files."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from brainjax import losses, optim
from brainjax.preprocess.batch import prepare
from brainjax.train.accumulate import mapped, summed
from brainjax.train.state import TrainState
from brainjax.types import Batch


class Mixed(NamedTuple):
    """Targets of examples that `mix` has blended: both [B K], and the share [B] of its own."""

    own: jax.Array
    other: jax.Array
    share: jax.Array


Step = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, dict[str, jax.Array]]]


def make_step(
    model: nn.Module,
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    tx: optax.GradientTransformation,
    *,
    size: int,
    augment: Any | None = None,
    ema: float = 0.0,
    mixup: float = 0.0,
    axis_name: str | None = None,
    accumulate: int = 1,
    split: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> Step:
    """Builds `step(state, raw_batch, key) -> (state, metrics)`.

    The batch is raw, as `brainjax.data` gives it; normalising, resampling and augmenting are part of the
    compiled step. The loss is the mean over the valid examples of all devices, whatever their shares. Each example's
    augmentation and dropout depend on its place in the global batch, so one device and eight draw the same.

    A step whose loss, gradient or update is not finite leaves variables, average and optimizer as they are: it is
    counted in `step`, `skipped` and `streak` alone. The schedule is part of the optimizer, and does not go on either.

    With `accumulate` the network sees the batch in that many parts, one after another, and the sum of their gradients
    makes one update: the memory is that of a part, the result that of the whole, for networks that treat each example
    by itself. BatchNorm normalises each part by its own statistics, and moves its averages once a part; dropout draws
    anew for each.

    Args:
        model: a Linen module called as `model(x, train=...)`; its `axis_name`, if it has one, must equal this one. It may
            return a tuple of logits, finest first: see `losses.at_all_levels`.
        loss: `f(logits, target) -> [B]`.
        tx: the optimizer.
        size: edge of the working grid, 0 for the native one (see `brainjax.data.Input`).
        augment: None, or an object with `batch(keys, image, mask)`.
        ema: decay of the moving average of the variables; 0 switches it off.
        mixup: see `mix`; 0 switches it off. For labels alone.
        axis_name: the mapped axis under pmap, None elsewhere.
        accumulate: parts of the batch; it must divide a device's share.
        split: says how images and masks lie on the devices (see `parallel.splitter`).
    """

    def total(x: jax.Array) -> jax.Array:
        return x if axis_name is None else jax.lax.psum(x, axis_name)

    def step(
        state: TrainState, raw: Batch, key: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(key, state.step)
        valid = raw["valid"]
        device = 0 if axis_name is None else jax.lax.axis_index(axis_name)
        places = device * len(valid) + jnp.arange(len(valid))
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(places)

        def see(raw: Batch, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
            batch = prepare(raw, size)
            image = batch["image"]
            # A class is not moved by what moves the image: there, the mask has no channels.
            mask = batch.get("mask", image[..., :0])
            if augment is not None:
                image, mask = augment.batch(keys, image, mask)
            return image, batch.get("label", mask)

        image, target = mapped(see, (raw, keys), accumulate)
        if mixup and "label" in raw:
            image, target = mix(keys, places, image, target, mixup, axis_name)
        count = jnp.maximum(total(valid.sum()), 1.0)
        params = state.variables["params"]

        def gradients(
            updates: Any, part: tuple[jax.Array, ...], key: jax.Array
        ) -> tuple[tuple[jax.Array, Any], Any]:
            image, target, valid = part
            image, target = split(image), target if "label" in raw else split(target)

            def objective(params: Any) -> tuple[jax.Array, Any]:
                variables = {**state.variables, **updates, "params": params}
                logits, moved = model.apply(
                    variables, image, train=True, mutable=["batch_stats"], rngs={"dropout": key}
                )
                over, _ = losses.reduce(_scored(loss, logits, target), valid)
                return over / count, moved

            (value, moved), grads = jax.value_and_grad(objective, has_aux=True)(params)
            return (value, grads), moved

        statistics = {k: v for k, v in state.variables.items() if k == "batch_stats"}
        dropout = jax.random.fold_in(key, 1 << 30)
        (value, grads), updates = summed(
            gradients, statistics, (image, target, valid), dropout, accumulate
        )
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


def mix(
    keys: jax.Array,
    places: jax.Array,
    image: jax.Array,
    target: jax.Array,
    alpha: float,
    axis_name: str | None = None,
) -> tuple[jax.Array, Mixed]:
    """Mixup: every example becomes a mean of itself and the next one of the global batch, and so does its loss.

    Zhang et al. 2018 (arXiv:1710.09412), equation 2; the mean is that of the losses instead of the targets, which is
    the same for cross-entropy and right for losses that want to know the one true class too. The share of the example itself is drawn from
    Beta(alpha, alpha), for each example on its own; the larger of it and the rest is taken, so that an example
    keeps its own half.

    Args:
        keys: [B] PRNG keys, one an example.
        places: [B] of the examples in the global batch.
        image: [B H W C] float32.
        target: [B K] float32.
        alpha: above 0; small values leave most examples nearly alone.
        axis_name: the mapped axis that divides the batch.

    Returns:
        images of the same shape, and what each is mixed of.
    """

    def partner(x: jax.Array) -> jax.Array:
        every = x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)
        return every[(places + 1) % len(every)]

    # fold_in: augmentation drew from the key itself.
    share = jax.vmap(lambda k: jax.random.beta(jax.random.fold_in(k, 1 << 29), alpha, alpha))(keys)
    share = jnp.maximum(share, 1.0 - share)

    own = share.reshape(-1, *(1,) * (image.ndim - 1))
    return own * image + (1.0 - own) * partner(image), Mixed(target, partner(target), share)


def _scored(loss: Callable[..., jax.Array], logits: Any, target: jax.Array | Mixed) -> jax.Array:
    """[B], the loss of each example."""
    if not isinstance(target, Mixed):
        return losses.at_all_levels(loss, logits, target)
    own, other = (losses.at_all_levels(loss, logits, t) for t in (target.own, target.other))
    return target.share * own + (1.0 - target.share) * other
