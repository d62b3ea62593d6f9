"""Training batches through tf.data: for datasets whose slices are read from disk on demand.

The pipeline is a pure function of (seed, step): it maps step numbers to batches, by the `Order`
that every feed uses. So it gives what `feeds.memory` gives, bit for bit, and resuming is starting
at another step, where saving a tf.data iterator would store its buffers, tens of MB of slices.

The only file outside the dataset builders that imports tensorflow, and only when it is called.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from brainjax.data.order import Order
from brainjax.data.source import Source
from brainjax.types import ConfigError


def batches(
    source: Source, order: Order, start: int, steps: int, *, depth: int = 2, threads: int = 2
) -> Iterator[dict[str, np.ndarray]]:
    """Raw batches of steps start, ..., steps - 1, in order, as read-only numpy arrays.

    Nothing here tunes itself: at most `threads` + `depth` batches are held, and the pool of
    `threads` leaves the other cores to the step.

    Args:
        source: the dataset.
        order: the rows of each step.
        start: first step.
        steps: the step to stop before; it may be as large as `sys.maxsize`.
        depth: finished batches to be ahead.
        threads: batches to read at once.

    Raises:
        ConfigError: tensorflow is not installed; raised at once. What `source.gather` raises comes
            out of the iterator, at its step.
    """
    tf = _tensorflow()
    data = source.dataset
    types = {"image": data.image.dtype, data.target: source.truth.dtype}
    types |= dict.fromkeys(("shift", "scale", "valid"), np.dtype(np.float32))
    failures: dict[int, Exception] = {}

    def gather(step: np.int64) -> list[np.ndarray]:
        try:
            batch = source.gather(order(int(step)))
        except Exception as error:
            # Raised here, it would reach the consumer as an UnknownError that quotes it.
            failures[int(step)] = error
            return [np.empty(0, t) for t in types.values()]
        return [batch[key] for key in types]

    def load(step: Any) -> dict[str, Any]:
        arrays = tf.numpy_function(gather, [step], [tf.as_dtype(t) for t in types.values()])
        return dict(zip(types, arrays, strict=True))

    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    dataset = tf.data.Dataset.range(start, steps)
    dataset = dataset.map(load, num_parallel_calls=threads, deterministic=True)
    dataset = dataset.prefetch(depth).with_options(options)

    def run() -> Iterator[dict[str, np.ndarray]]:
        iterator = dataset.as_numpy_iterator()  # views of tensorflow's buffers, not copies
        for step, batch in enumerate(iterator, start):
            if step in failures:
                raise failures[step]
            yield batch

    return run()


def _tensorflow() -> Any:
    """Imports tensorflow and keeps it off the GPUs, whose memory belongs to JAX."""
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ConfigError(
            "the tfdata feed needs tensorflow, which cannot be imported; set "
            "--config.input.feed=memory for the same batches without it, or "
            "pip install tensorflow-cpu"
        ) from error
    tf.config.set_visible_devices([], "GPU")
    return tf
