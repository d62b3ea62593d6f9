"""Optimizers by their optax name, learning-rate schedules, clipping, and the weight average.

An optimizer's own signature is its schema: every optax factory with a `learning_rate` works, with
exactly the options that it has. A schedule is a pure function of the step that returns a multiplier
in [0, 1], so the peak rate lives in one place, the optimizer's options.
"""

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from brainjax.lookup import lookup, nearest
from brainjax.types import ConfigError

Schedule = Callable[[Any], Any]

__all__ = [
    "SCHEDULES",
    "bare",
    "constant",
    "cosine",
    "decay_mask",
    "ema_update",
    "get",
    "make",
    "make_schedule",
    "names",
    "one_cycle",
    "polynomial",
    "step_decay",
    "surround",
]


def get(name: str) -> Callable[..., optax.GradientTransformation]:
    """The factory `optax.<name>`.

    Raises:
        ConfigError: not an optax optimizer; the message names the nearest.
    """
    factory = lookup(name, {n: getattr(optax, n) for n in names()}, "optimizer")
    if not hasattr(
        factory, "__name__"
    ):  # optax.nadam is a partial of adam, and configs go by names
        factory = functools.partial(factory)
        factory.__name__ = name
    return factory


def names() -> list[str]:
    """Every optimizer of the installed optax."""
    return [name for name in dir(optax) if _is_optimizer(name)]


def make(
    name: str,
    options: Mapping[str, Any],
    schedule: Schedule = lambda step: 1.0,
    *,
    clip_norm: float = 0.0,
    mask: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """Clip, then optimize, then scale: a step has rate options['learning_rate'] * schedule(step).

    The schedule multiplies the finished update rather than being passed as `learning_rate`, so that it
    works for the optimizers that accept only a number (rprop, sm3) too. For most others, such as
    sgd, adamw and lion, the two are the same, decoupled weight decay included; not for those that remember
    updates instead of gradients (lars, and rmsprop and adafactor with momentum), nor quite for fromage.

    Args:
        name: any optimizer of optax: 'adamw', 'sgd', 'nadam', 'lion', ...
        options: its own keyword arguments; `learning_rate` (the peak) is required.
        schedule: step -> multiplier in [0, 1]; constant 1 by default.
        clip_norm: global norm to which gradients are cut, before anything else; 0 does not clip.
        mask: params -> tree of bools, what weight decay applies to, where the optimizer can be
            told; `decay_mask` by default.

    Returns:
        An optax gradient transformation.

    Raises:
        ConfigError: unknown optimizer or option, no `learning_rate`, or an optimizer that needs
            more than gradients (lbfgs and polyak_sgd want the loss at every step) or whose state no
            checkpoint can hold (noisy_sgd).
    """
    factory = get(name)
    known = list(inspect.signature(factory).parameters)
    _check_options(f"optax.{name}", options, known)
    rate = options.get("learning_rate")
    if not isinstance(rate, numbers.Real) or not rate > 0:
        raise ConfigError(
            f"optax.{name}: learning_rate must be a number above 0, got {rate!r}; "
            "its course over time is the schedule's"
        )
    if clip_norm < 0:
        raise ConfigError(f"clip_norm must be 0 (off) or above, got {clip_norm}")
    try:
        optimizer = bare(name, options, mask=mask)
        _dry_run(optimizer)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optax.{name} cannot be used with these options: {error}") from error
    return surround(optimizer, schedule, clip_norm=clip_norm)


def bare(
    name: str, options: Mapping[str, Any], *, mask: Callable[[Any], Any] | None = None
) -> optax.GradientTransformation:
    """The optimizer alone. Nothing is checked: the options may be traced. Arguments as in `make`."""
    factory, options = get(name), dict(options)
    known = inspect.signature(factory).parameters
    for option in ("mask", "weight_decay_mask"):
        # None and True, the defaults of optax, would decay everything.
        if option in known and options.get(option) in (None, True):
            options[option] = mask or decay_mask
    return factory(**options)


def surround(
    optimizer: optax.GradientTransformation, schedule: Schedule, *, clip_norm: float = 0.0
) -> optax.GradientTransformation:
    """`optimizer` between clipping and the schedule. Arguments as in `make`."""
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    return optax.chain(*clip, optimizer, optax.scale_by_schedule(schedule))


def decay_mask(params: Any) -> Any:
    """True for the parameters that weight decay applies to: weights, not biases or norm scales.

    Besides vectors, leaves named `bias` or `scale` are left out: the bias of an attention
    projection is a matrix, [heads D].
    """

    def decays(path: tuple[Any, ...], leaf: Any) -> bool:
        last = getattr(path[-1], "key", None) if path else None
        return jnp.ndim(leaf) > 1 and last not in ("bias", "scale")

    return jax.tree_util.tree_map_with_path(decays, params)


def ema_update(ema: Any, params: Any, step: Any, decay: float) -> Any:
    """One step of the exponential moving average of the weights, ema <- d ema + (1 - d) params.

    d = min(decay, (1 + step) / (10 + step)), so that the random initial weights are soon forgotten.

    Args:
        ema: tree of averages; start with the initial params.
        params: tree of weights after this step's update.
        step: number of updates before this one, 0 for the first.
        decay: limit of d, such as 0.999.

    Returns:
        The new averages, in the dtypes of `ema`.
    """
    d = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, p: (e + (1.0 - d) * (p - e)).astype(e.dtype), ema, params)


# Schedules. Warm-up rises linearly, reaches 1 at step warmup * steps, and neither the first step
# nor the last one that is run, steps - 1, has rate 0, which would waste it. Beyond `steps`, the
# final value holds.


def constant(steps: int, *, warmup: float = 0.0) -> Schedule:
    """1 after a warm-up of `warmup * steps` steps."""
    return _with_warmup(steps, warmup, jnp.ones_like)


def cosine(steps: int, *, warmup: float = 0.05, final: float = 0.0) -> Schedule:
    """Half a cosine from 1 to `final`. Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983."""
    _check_shares(final=final)
    return _with_warmup(steps, warmup, lambda x: final + (1.0 - final) * _half_cosine(x))


def polynomial(
    steps: int, *, power: float = 0.9, warmup: float = 0.0, final: float = 0.0
) -> Schedule:
    """final + (1 - final) (1 - x)^power. Power 0.9 is the "poly" rule of DeepLab and nnU-Net."""
    _check_shares(final=final)
    if not 0.0 <= power < math.inf:
        raise ConfigError(f"--config.schedule.power={power} must be 0 or more")
    return _with_warmup(steps, warmup, lambda x: final + (1.0 - final) * (1.0 - x) ** power)


def step_decay(
    steps: int,
    *,
    boundaries: tuple[float, ...] = (0.5, 0.75),
    factor: float = 0.1,
    warmup: float = 0.0,
) -> Schedule:
    """Multiplied by `factor` at each of `boundaries`, given as shares of `steps`.

    Raises:
        ConfigError: a boundary is not between 0 and 1, or the factor is not of that range.
    """
    _check_shares(factor=factor)
    wrong = [b for b in boundaries if not 0 < b < 1]
    if wrong:
        raise ConfigError(
            f"--config.schedule.boundaries={tuple(boundaries)} are shares of the steps, above 0 and below 1: step "
            f"{wrong[0]:g} of {steps} is {wrong[0] / steps:.3g}"
        )
    rise = constant(steps, warmup=warmup)
    edges = jnp.asarray([round(b * steps) for b in boundaries], jnp.float32)

    def schedule(step: Any) -> jax.Array:
        passed = (jnp.asarray(step, jnp.float32)[..., None] >= edges).sum(-1)
        return rise(step) * jnp.float32(factor) ** passed

    return schedule


def one_cycle(
    steps: int, *, warmup: float = 0.3, start: float = 0.04, final: float = 0.0
) -> Schedule:
    """Cosine up from `start` to 1, then cosine down to `final`. Smith and Topin 2018, https://arxiv.org/abs/1708.07120."""
    _check_shares(start=start, final=final)
    peak = _warmup_steps(steps, warmup)

    def schedule(step: Any) -> jax.Array:
        up = start + (1.0 - start) * (1.0 - _half_cosine(_progress(step, 0, peak)))
        down = final + (1.0 - final) * _half_cosine(_progress(step, peak, steps))
        return jnp.where(jnp.asarray(step) < peak, up, down)

    return schedule


SCHEDULES = {f.__name__: f for f in (constant, cosine, one_cycle, polynomial, step_decay)}


def make_schedule(name: str, steps: int, **options: Any) -> Schedule:
    """The schedule of that name over `steps` steps.

    Raises:
        ConfigError: unknown schedule or option, the message names the nearest; or one out of range.
    """
    factory = lookup(name, SCHEDULES, "schedule")
    known = [p for p in inspect.signature(factory).parameters if p != "steps"]
    _check_options(f"schedule {name}", options, known)
    return factory(steps, **options)


def _with_warmup(steps: int, warmup: float, decay: Callable[[jax.Array], jax.Array]) -> Schedule:
    """A linear rise to 1, then `decay` of the share in [0, 1] of the steps left after it."""
    peak = _warmup_steps(steps, warmup)

    def schedule(step: Any) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        rise = (step + 1.0) / (peak + 1.0)
        return jnp.where(step < peak, rise, decay(_progress(step, peak, steps)))

    return schedule


def _check_shares(**shares: float) -> None:
    """Raises ConfigError for a share of the learning rate that is none."""
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise ConfigError(
                f"--config.schedule.{name}={share} is a share of the learning rate; choose 0.0 to 1.0"
            )


def _warmup_steps(steps: int, warmup: float) -> int:
    if steps < 1 or not 0.0 <= warmup < 1.0:
        raise ConfigError(
            f"A schedule needs steps >= 1 and 0 <= warmup < 1 (a share of the steps), "
            f"got steps={steps}, warmup={warmup}"
        )
    return min(round(warmup * steps), steps - 1)


def _progress(step: Any, first: int, last: int) -> jax.Array:
    """0 at `first`, 1 at `last`, clipped outside."""
    return jnp.clip((jnp.asarray(step, jnp.float32) - first) / max(last - first, 1), 0.0, 1.0)


def _half_cosine(x: jax.Array) -> jax.Array:
    return 0.5 * (1.0 + jnp.cos(math.pi * x))


def _is_optimizer(name: str) -> bool:
    # scale_by_* are parts of optimizers: some have a learning rate, but not the sign that descends.
    if name.startswith(("_", "scale_by_")):
        return False
    factory = getattr(optax, name, None)
    if not callable(factory) or inspect.isclass(factory):
        return False
    try:
        return "learning_rate" in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return False


def _dry_run(optimizer: optax.GradientTransformation) -> None:
    """One abstract update: an optimizer that cannot run, or be saved, fails before the data are loaded."""
    params = {"kernel": jax.ShapeDtypeStruct((2, 2), jnp.float32)}
    _, state = jax.eval_shape(lambda p: optimizer.update(p, optimizer.init(p), p), params)
    if any(jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in jax.tree.leaves(state)):
        raise ValueError(
            "it keeps a random key, which no checkpoint can hold; choose another by --config.optimizer.name"
        )


def _check_options(owner: str, options: Iterable[str], known: list[str]) -> None:
    for option in options:
        if option not in known:
            raise ConfigError(f"{owner} has no option {option!r}: {nearest(option, known)}")
