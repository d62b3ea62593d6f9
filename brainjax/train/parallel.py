"""Drivers that run one pure step on one or many devices. The only file that names pmap, mesh or sharding.

    'none'  jit on one device.
    'auto'  'none' where there is one device, 'jit' where volumes are split, else 'pmap'.
    'pmap'  each device runs the step on its part of the batch: jax.pmap whose state is never stacked
            (in_axes=(None, 0, None), out_axes=None), and across hosts jax.shard_map, which is the same program.
    'jit'   jit over a mesh of two axes: 'data' splits the batch, 'space' the first spatial axis of every
            image or volume. XLA places the collectives, those at the seams of a split volume too.

All agree to float32 rounding (`tests/test_parallel.py`, `tests/test_space.py`). Under pmap each device sees its own
part of the batch, so the step and every BatchNorm must be told the axis's name: `axis_name(how)`.

Devices are those of all hosts (`brainjax.train.hosts`). A host feeds its own devices: of a batch it reads the rows
`places(..)`.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from brainjax.lookup import nearest
from brainjax.types import ConfigError

HOW = ("auto", "none", "pmap", "jit")
_AXIS, _SPACE = "data", "space"


def resolve(how: str, space: int = 1) -> str:
    """The driver that `how` stands for on the devices at hand, with volumes split `space` ways.

    Raises:
        ConfigError: there is no such driver, or it cannot split volumes, or reach all hosts.
    """
    if how not in HOW:
        raise ConfigError(f"unknown parallel driver {how!r}: {nearest(how, HOW)}")
    devices = jax.device_count()
    if devices % space:
        raise ConfigError(
            f"--config.train.space={space} does not divide the {devices} devices; use a divisor of {devices}"
        )
    if how == "auto":
        return "none" if devices == 1 else "jit" if space > 1 else "pmap"
    if space > 1 and how != "jit":
        raise ConfigError(
            f"--config.train.space={space} needs the driver that splits volumes: set --config.train.parallel=jit"
        )
    if how == "none" and jax.process_count() > 1:
        raise ConfigError(
            f"{jax.process_count()} processes train together: set --config.train.parallel=auto"
        )
    return how


def axis_name(how: str, space: int = 1) -> str | None:
    """The axis name that the step and the model must use under this driver."""
    return _AXIS if resolve(how, space) == "pmap" else None


def device_count(how: str, space: int = 1) -> int:
    """Devices, or groups of `space` devices, among which this driver divides a batch."""
    return 1 if resolve(how, space) == "none" else jax.device_count() // space


def check_batch(batch_size: int, how: str, space: int = 1, accumulate: int = 1) -> None:
    """Raises ConfigError unless the batch divides among the devices, and there into `accumulate` parts."""
    devices = device_count(how, space)
    if batch_size % (devices * accumulate) == 0:
        return
    parts = f", {accumulate} parts on each" if accumulate > 1 else ""
    where = f"among {devices} devices{parts}" if devices > 1 else f"into {accumulate} parts"
    unit = devices * accumulate
    instead = "" if devices == 1 else " or --config.train.parallel=none"
    raise ConfigError(
        f"batch of {batch_size} does not divide {where}; set "
        f"--config.train.batch_size={-(-batch_size // unit) * unit}{instead}"
    )


def check_space(shape: tuple[int, ...], space: int) -> None:
    """Raises ConfigError unless the first spatial axis of the network's input [B *spatial C] divides by `space`."""
    if shape[1] % space:
        raise ConfigError(
            f"--config.train.space={space} does not divide the first of {' x '.join(map(str, shape[1:-1]))} "
            f"positions; choose another --config.augment.patch or --config.input.size, or a divisor of {shape[1]}"
        )


def places(batch_size: int, how: str, space: int = 1) -> np.ndarray:
    """[b] int: which rows of a batch the devices of this process work on, ascending; alone, all of them."""
    if jax.process_count() == 1:
        return np.arange(batch_size)
    mesh = _mesh(space)
    rows = np.arange(batch_size).reshape(mesh.shape[_AXIS], -1)
    return rows[_own_parts(mesh)].reshape(-1)


def splitter(how: str, space: int = 1) -> Callable[[jax.Array], jax.Array]:
    """What the step applies to images and masks [B *spatial C] once they are on the network's grid.

    Where a volume is split over devices, it says so of the array; all that the network computes from it follows.
    Elsewhere it is the identity.
    """
    if resolve(how, space) != "jit" or space == 1:
        return lambda x: x
    split = NamedSharding(_mesh(space), PartitionSpec(_AXIS, _SPACE))
    return lambda x: jax.lax.with_sharding_constraint(x, split)


def parallelize(step: Callable[..., Any], how: str, space: int = 1) -> Callable[..., Any]:
    """Compiles `step(state, batch, key) -> (state, metrics)` for the devices at hand.

    The state is donated: its buffers are reused, so the caller must go on with the returned one. With several
    hosts `batch` holds the rows `places(..)` of the batch.
    """
    how = resolve(how, space)
    if how == "none":
        return jax.jit(step, donate_argnums=0)
    mesh, alone = _mesh(space), jax.process_count() == 1
    everywhere = NamedSharding(mesh, PartitionSpec())
    if how == "jit":
        compiled = jax.jit(step, out_shardings=(everywhere, everywhere), donate_argnums=0)
    elif alone:
        compiled = jax.pmap(
            step, _AXIS, in_axes=(None, 0, None), out_axes=(None, None), donate_argnums=0
        )
    else:
        specs = (PartitionSpec(), PartitionSpec(_AXIS), PartitionSpec())
        shared = jax.shard_map(
            step, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False
        )
        compiled = jax.jit(shared, donate_argnums=0)

    def split(x: Any) -> NamedSharding:
        # Stored images whose edge does not divide lie whole on every device of a group, till `splitter` cuts them.
        fits = x.ndim > 3 and space > 1 and x.shape[1] % space == 0
        return NamedSharding(mesh, PartitionSpec(_AXIS, _SPACE) if fits else PartitionSpec(_AXIS))

    def shard(x: Any) -> Any:
        return x.reshape(mesh.size, x.shape[0] // mesh.size, *x.shape[1:])

    def run(state: Any, batch: Any, key: Any) -> Any:
        # A new or restored state and a batch of the device feed lie on one device. Moved first, they
        # are accepted, and the first step compiles what the later ones use.
        if how == "pmap" and alone:
            batch = jax.tree.map(shard, batch)
        batch = jax.tree.map(lambda x: _put(x, split(x)), batch)
        key = key if alone else _put(key, everywhere)
        return compiled(jax.tree.map(lambda x: _put(x, everywhere), state), batch, key)

    return run


def on_every_device(tree: Any, space: int = 1) -> Any:
    """A tree that each of several hosts holds, as arrays of all their devices; of one host alone, the tree itself."""
    if jax.process_count() == 1:
        return tree
    everywhere = NamedSharding(_mesh(space), PartitionSpec())
    return jax.tree.map(lambda x: _put(x, everywhere), tree)


def on_one_device(tree: Any) -> Any:
    """A tree that every device holds, or any one, as arrays of this process's first device."""
    return jax.tree.map(
        lambda x: jax.device_put(
            x if x.is_fully_addressable else x.addressable_data(0), jax.local_devices()[0]
        ),
        tree,
    )


def data_mesh() -> Mesh:
    """A mesh of all devices of this process along one axis, 'data'.

    The axis is Auto because Linen code carries no sharding annotations of its own.
    """
    devices = jax.local_devices()
    return jax.make_mesh((len(devices),), (_AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def _mesh(space: int) -> Mesh:
    """All devices of all processes, `space` of them to a volume."""
    shape = (jax.device_count() // space, space)
    return jax.make_mesh(shape, (_AXIS, _SPACE), axis_types=(AxisType.Auto,) * 2)


def _own_parts(mesh: Mesh) -> list[int]:
    """Places along 'data' that a device of this process has, ascending."""
    own = {d.id for d in jax.local_devices()}
    return sorted({place for (place, _), d in np.ndenumerate(mesh.devices) if d.id in own})


def _put(x: Any, sharding: NamedSharding) -> jax.Array:
    """`jax.device_put`, also where other processes hold parts; x is then this process's share of the rows, or all."""
    if sharding.is_fully_addressable or getattr(x, "sharding", None) == sharding:
        return jax.device_put(x, sharding)
    if not sharding.spec:
        shape, parts, per = x.shape, [0], 0
    else:
        parts = _own_parts(sharding.mesh)
        per = len(x) // len(parts)
        shape = (per * sharding.mesh.shape[_AXIS], *x.shape[1:])

    def piece(index: tuple[slice, ...]) -> Any:
        if not per:
            return x
        first = parts.index((index[0].start or 0) // per) * per
        return x[(slice(first, first + per), *index[1:])]

    here = sharding.addressable_devices_indices_map(shape)
    pieces = [jax.device_put(piece(index), device) for device, index in here.items()]
    return jax.make_array_from_single_device_arrays(shape, sharding, pieces)


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
