"""Drivers that run one pure step on one or many devices. The only file that names pmap, mesh or sharding.

    'none'  jit on one device.
    'auto'  'none' where there is one device, else 'pmap'.
    'pmap'  jax.pmap over the batch. The state is never stacked: in_axes=(None, 0, None), out_axes=None.
    'jit'   jit over a mesh whose one axis, 'data', splits the batch; XLA places the collectives.

All agree to float32 rounding (`tests/test_parallel.py`). Under pmap each device sees its own part of the batch, so
the step and every BatchNorm must be told the axis's name: `axis_name(how)`.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from brainjax.lookup import nearest
from brainjax.types import ConfigError

HOW = ("auto", "none", "pmap", "jit")
_AXIS = "data"


def resolve(how: str) -> str:
    """The driver that `how` stands for on this machine.

    Raises:
        ConfigError: there is no such driver.
    """
    if how not in HOW:
        raise ConfigError(f"unknown parallel driver {how!r}: {nearest(how, HOW)}")
    if how == "auto":
        return "none" if jax.local_device_count() == 1 else "pmap"
    return how


def axis_name(how: str) -> str | None:
    """The axis name that the step and the model must use under this driver."""
    return _AXIS if resolve(how) == "pmap" else None


def device_count(how: str) -> int:
    """Devices among which this driver divides a batch."""
    return 1 if resolve(how) == "none" else jax.local_device_count()


def check_batch(batch_size: int, how: str) -> None:
    """Raises ConfigError unless the batch divides among the devices."""
    devices = device_count(how)
    if batch_size % devices:
        raise ConfigError(
            f"batch of {batch_size} does not divide among {devices} devices; set "
            f"--config.train.batch_size={-(-batch_size // devices) * devices} "
            f"or --config.train.parallel=none"
        )


def parallelize(step: Callable[..., Any], how: str) -> Callable[..., Any]:
    """Compiles `step(state, batch, key) -> (state, metrics)` for the devices at hand.

    The state is donated: its buffers are reused, so the caller must go on with the returned one.
    """
    how = resolve(how)
    if how == "none":
        return jax.jit(step, donate_argnums=0)
    mesh = data_mesh()
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec(_AXIS))
    if how == "pmap":
        compiled = jax.pmap(
            step, _AXIS, in_axes=(None, 0, None), out_axes=(None, None), donate_argnums=0
        )
    else:
        compiled = jax.jit(
            step,
            in_shardings=(everywhere, split, everywhere),
            out_shardings=(everywhere, everywhere),
            donate_argnums=0,
        )

    def shard(x: Any) -> Any:
        return x.reshape(mesh.size, x.shape[0] // mesh.size, *x.shape[1:])

    def run(state: Any, batch: Any, key: Any) -> Any:
        # A new or restored state and a batch of the device feed lie on one device. Moved first, they
        # are accepted, and the first step compiles what the later ones use.
        if how == "pmap":
            batch = jax.tree.map(shard, batch)
        return compiled(jax.device_put(state, everywhere), jax.device_put(batch, split), key)

    return run


def on_one_device(tree: Any) -> Any:
    """A tree that every device holds, or any one, as arrays of the first device."""
    return jax.device_put(tree, jax.local_devices()[0])


def data_mesh() -> jax.sharding.Mesh:
    """A mesh of all local devices along one axis, 'data'.

    The axis is Auto because Linen code carries no sharding annotations of its own.
    """
    return jax.make_mesh((jax.local_device_count(),), (_AXIS,), axis_types=(AxisType.Auto,))


def parallelize_trials(step: Callable[..., Any], *, spread: bool) -> Callable[..., Any]:
    """Compiles `step(state, batch, key, choice) -> (state, metrics)` for several trials at once.

    All arguments gain a leading axis of T trials, but for the leaves of `batch`, [T*B ..]. The states are donated.

    Args:
        step: of one trial.
        spread: divide the trials among the local devices, whose number must divide T.
    """

    def stacked(states: Any, batch: Any, keys: Any, choices: Any) -> Any:
        trials = len(keys)
        batch = jax.tree.map(lambda x: x.reshape(trials, -1, *x.shape[1:]), batch)
        if trials > 1:
            return jax.vmap(step)(states, batch, keys, choices)
        # Of one trial alone a vmapped choice would still compute all it could have chosen.
        first = jax.tree.map(lambda x: x[0], (states, batch, keys, choices))
        return jax.tree.map(lambda x: x[None], step(*first))

    if not spread:
        return jax.jit(stacked, donate_argnums=0)
    mesh = data_mesh()
    spec = PartitionSpec(_AXIS)
    shared = jax.shard_map(stacked, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    compiled, split = jax.jit(shared, donate_argnums=0), NamedSharding(mesh, spec)

    def run(*args: Any) -> Any:
        return compiled(*jax.device_put(args, split))

    return run
