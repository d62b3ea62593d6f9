"""Suite `input`: seconds a batch of every feed, against the training step that is to be fed.

The ratio of a feed is the step's seconds over its own: how many such steps it could feed.
"""

import pathlib
from typing import Any

from experiments.benchmarks import child
from experiments.benchmarks.rounds import Contestant, Groups, Options

PEERS = ()
FEEDS = ("tfdata", "memory", "device")


def groups(options: Options) -> Groups:
    """Slices and whole volumes: the step first, then each feed, of arrays in memory and of files on disk."""
    slices = {"case": "unet2d_16", "shape": (256, 256, 3), "count": 512, "batch": 16}
    volumes = {"case": "res3d_64", "shape": (128, 128, 96, 1), "count": 24, "batch": 2}
    if options.small:
        slices |= {"shape": (32, 32, 3), "count": 16, "batch": 2}
        volumes |= {"shape": (16, 16, 16, 1), "count": 4, "batch": 2}
    found: Groups = {}
    for name, fields in (("slices", slices), ("volumes", volumes)):
        step = {"case": fields["case"], "mode": "train", "steps": options.steps}
        who = {"step": Contestant("ours:network", {**step, "small": options.small})}
        data = {key: fields[key] for key in ("shape", "count", "batch")}
        for kind in FEEDS:
            where = {"kind": kind, "steps": 10 * options.steps, **data}
            who[kind] = Contestant("input:feed", where)
            if kind != "device":  # which holds the set, wherever it came from
                who[f"{kind} from disk"] = Contestant("input:feed", {**where, "disk": True})
        found[name] = who
    return found


def feed(
    kind: str, shape: tuple[int, ...], count: int, batch: int, steps: int, disk: bool = False
) -> dict[str, Any]:
    """Times a batch of a feed until it is on the device.

    Args:
        kind: as in `brainjax.data.feeds.FEEDS`.
        shape: [*spatial C] of an example.
        count: examples in the set, one a patient.
        batch: examples a step.
        steps: batches to time.
        disk: read the examples from a memory-mapped file instead of from arrays.
    """
    import sys
    import tempfile

    import jax
    import numpy as np

    from brainjax.data import Order, Source, feeds
    from brainjax.datasets.base import ArrayDataset, DatasetInfo

    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (count, *shape), np.uint8)
        mask = (image[..., :1] > 200).astype(np.uint8)
        if disk:
            image, mask = (_mapped(pathlib.Path(folder) / n, a) for n, a in zip("im", (image, mask)))
        names = tuple(f"{i:04d}" for i in range(count))
        data = ArrayDataset(
            info=DatasetInfo("noise", tuple("abcd"[: shape[-1]]), ("lesion",), "none", "nobody"),
            image=image,
            mask=mask,
            group=np.arange(count, dtype=np.int32),
            position=np.zeros(count, np.int32),
            groups=names,
        )
        source = Source(data, 1, "zscore")
        order = Order(np.arange(count), np.arange(0), batch, 0.0, 0)
        batches = feeds.choose(kind)(source, order, 0, sys.maxsize)

        def step() -> None:
            jax.block_until_ready(jax.device_put(next(batches)))

        found = child.timed(step, steps)
        if hasattr(batches, "close"):
            batches.close()
    device = jax.devices()[0].device_kind
    return {**found, "units": batch, "unit": "examples", "device": device}


def _mapped(path: pathlib.Path, array: Any) -> Any:
    """The same array, read from a file on demand."""
    import numpy as np

    np.save(path, array)
    return np.load(f"{path}.npy", mmap_mode="r", allow_pickle=False)
