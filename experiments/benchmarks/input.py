"""Suite `input`: seconds a batch of every feed, against the training step that is to be fed.

The ratio of a feed is the step's seconds over its own: how many such steps it could feed.
"""

from typing import Any

from experiments.benchmarks import child
from experiments.benchmarks.rounds import Contestant, Groups, Options, Runs
from experiments.benchmarks.table import Summary

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


def metrics(runs: Runs, summary: Summary) -> dict[str, float]:
    """How many times the step's demand each feed gives."""
    return {
        f"{group} {name} over demand": of["ratio"]
        for group, who in summary.items()
        for name, of in who.items()
        if "ratio" in of
    }


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
        disk: read the examples from records as `experiments.prepare` writes them, instead of from arrays.
    """
    import sys
    import tempfile

    import jax
    import numpy as np

    from brainjax.data import Order, Source, feeds, from_records

    with tempfile.TemporaryDirectory() as folder:
        data = noise(shape, count)
        if disk:
            data = from_records(_records(folder, data), data.info)
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


def noise(shape: tuple[int, ...], count: int) -> Any:
    """A data set of images of [*spatial C] `shape`, uint8: blocks of four voxels, so that they compress as scans do."""
    import numpy as np

    from brainjax.datasets.base import ArrayDataset, DatasetInfo

    *space, channels = shape
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, *(-(-n // 4) for n in space), channels), np.uint8)
    for axis in range(1, 1 + len(space)):
        small = small.repeat(4, axis)
    image = np.ascontiguousarray(small[(slice(None), *map(slice, space))])
    return ArrayDataset(
        info=DatasetInfo("noise", tuple("abcd"[:channels]), ("lesion",), "none", "nobody"),
        image=image,
        mask=(image[..., :1] > 200).astype(np.uint8),
        group=np.arange(count, dtype=np.int32),
        position=np.zeros(count, np.int32),
        groups=tuple(f"{i:04d}" for i in range(count)),
    )


def _records(folder: str, data: Any) -> Any:
    """Writes a data set as ArrayRecord, PNG where it is of slices, and opens it."""
    import numpy as np
    import tensorflow_datasets as tfds

    def stored(array: Any) -> Any:
        if array.ndim == 4:
            return tfds.features.Image(shape=array.shape[1:], encoding_format="png")
        return tfds.features.Tensor(shape=array.shape[1:], dtype=np.uint8, encoding="zlib")

    features = {"image": stored(data.image), "mask": stored(data.mask)}
    features |= {"patient": tfds.features.Text(), "position": np.int32}
    rows = (
        (name, {"image": image, "mask": mask, "patient": name, "position": 0})
        for image, mask, name in zip(data.image, data.mask, data.groups, strict=True)
    )
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name="noise",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": rows},
        data_dir=folder,
        file_format="array_record",
        disable_shuffling=True,
    )
    return builder.as_data_source(split="train")
