"""Training batches without tensorflow: from arrays in memory, or from a set held on the device.

Both give, for the same `Order`, the same batches bit for bit; so does `tfdata.batches`, which
`choose` adds to them. Each runs over steps start, ..., steps - 1, where `steps` may be as large as
`sys.maxsize`.
"""

import collections
import concurrent.futures
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainjax.data.order import Order
from brainjax.data.source import Source
from brainjax.lookup import lookup

FEEDS = ("auto", "tfdata", "memory", "device")


def choose(kind: str) -> Callable[[Source, Order, int, int], Iterator[Any]]:
    """The feed called `kind`; 'auto' is tf.data where tensorflow is installed, else 'memory'.

    Which one it is changes no batch, so leaving the choice to the machine changes no result.

    Raises:
        ConfigError: there is no such feed.
    """
    if kind == "auto":
        kind = "tfdata" if importlib.util.find_spec("tensorflow") else "memory"
    if kind == "tfdata":
        from brainjax.data import tfdata

        return tfdata.batches
    return lookup(kind, dict.fromkeys(FEEDS) | {"memory": memory, "device": device}, "feed")


def memory(source: Source, order: Order, start: int, steps: int, depth: int = 2) -> Iterator[Any]:
    """Raw batches in host memory, gathered by a thread up to `depth` batches ahead.

    One thread suffices: gathering is copying, and runs while the device computes. Beyond the
    dataset itself this holds `depth` + 1 batches. Closing the generator ends the thread.

    Args:
        source: the dataset.
        order: the rows of each step.
        start: first step.
        steps: the step to stop before.
        depth: batches to be ahead, at least 1.

    Raises:
        Whatever `source.gather` raised, at the step that it was raised for.
    """
    pool = concurrent.futures.ThreadPoolExecutor(1, "feed")
    ahead: collections.deque[concurrent.futures.Future] = collections.deque()
    try:
        for step in range(start, steps):
            ahead.append(pool.submit(lambda s: source.gather(order(s)), step))
            if len(ahead) >= depth:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()
        pool.shutdown()


def device(source: Source, order: Order, start: int, steps: int) -> Iterator[Any]:
    """The same batches, gathered on the device from a copy of the whole set put there once.

    Per step only the row numbers travel. The copy takes N H W (C + K) bytes of device memory for a
    uint8 dataset of slices - about 1 GB for LGG - for as long as the generator lives. It does not grow with
    `context`: neighbours are looked up on the device.

    Args:
        source: the dataset.
        order: the rows of each step.
        start: first step.
        steps: the step to stop before.
    """
    data = source.dataset
    held = jax.device_put(
        {
            "image": np.asarray(data.image),
            data.target: source.truth,
            "volume": data.volume,
            "neighbours": source.neighbours,
            "shift": source.shift,
            "scale": source.scale,
        }
    )
    for step in range(start, steps):
        yield _gather(held, order(step).astype(np.int32))


@jax.jit  # of the module, so that a resumed or repeated run in this process compiles nothing
def _gather(held: dict[str, jax.Array], rows: jax.Array) -> dict[str, jax.Array]:
    """`Source.gather` on the device, for rows [B] int32 without padding."""
    image = jnp.moveaxis(held["image"][held["neighbours"][rows]], 1, -2)  # [B *spatial context C]
    volume = held["volume"][rows]
    return {
        "image": image.reshape(*image.shape[:-2], -1),
        **{key: held[key][rows] for key in ("mask", "label") if key in held},
        "shift": held["shift"][volume],
        "scale": held["scale"][volume],
        "valid": jnp.ones(rows.shape, jnp.float32),
    }
