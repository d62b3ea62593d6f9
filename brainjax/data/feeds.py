"""Training batches without tensorflow: from arrays in memory, or from a set that lives on the device."""

import queue
import threading
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from brainjax.data.order import Order
from brainjax.data.source import Source


def memory(source: Source, order: Order, start: int, steps: int, depth: int = 2) -> Iterator[Any]:
    """Raw batches of steps start, ..., steps - 1, gathered by a thread `depth` batches ahead."""
    ready: queue.Queue = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for step in range(start, steps):
                if not put(source.gather(order(step))):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, who raises it
            put(error)

    threading.Thread(target=work, daemon=True, name="feed").start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()


def device(source: Source, order: Order, start: int, steps: int) -> Iterator[Any]:
    """The same batches, gathered on the device from a copy of the whole set put there once."""
    data = source.dataset
    held = jax.device_put(
        {
            "image": data.image,
            "mask": data.mask,
            "group": data.group,
            "neighbours": source.neighbours,
            "shift": source.shift,
            "scale": source.scale,
        }
    )

    @jax.jit
    def gather(held: dict[str, jax.Array], rows: jax.Array) -> dict[str, jax.Array]:
        image = jnp.moveaxis(held["image"][held["neighbours"][rows]], 1, -2)
        group = held["group"][rows]
        return {
            "image": image.reshape(*image.shape[:3], -1),
            "mask": held["mask"][rows],
            "shift": held["shift"][group],
            "scale": held["scale"][group],
            "valid": jnp.ones(rows.shape, jnp.float32),
        }

    for step in range(start, steps):
        yield gather(held, order(step))
