"""A tiny data set, network and config: whole runs in seconds, for the tests of the spine."""

import os
import pathlib
import subprocess
import sys

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from brainjax import losses
from brainjax.augment import PatchAugment
from brainjax.config import spec
from brainjax.datasets.base import ArrayDataset, DatasetInfo, LabelledDataset
from brainjax.models import ResNet, UNet
from brainjax.models.layers import Norm
from configs import base

ROOT = pathlib.Path(__file__).parent.parent


class TinyNet(nn.Module):
    """The least that has all that matters here: convolutions and a norm; compiles in a blink."""

    norm: str = "batch"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = nn.Conv(4, (3, 3))(x)
        x = Norm(self.norm, self.axis_name)(x, train=train)
        return nn.Conv(1, (1, 1))(nn.relu(x))


def make_dataset(slices=(5, 3, 6, 4), size=16, channels=2, seed=0) -> ArrayDataset:
    """Patients of so many slices: noise, with a bright square that is the mask on most slices."""
    rng = np.random.default_rng(seed)
    total = sum(slices)
    image = rng.integers(0, 100, (total, size, size, channels), dtype=np.uint8)
    mask = np.zeros((total, size, size, 1), np.uint8)
    for row in range(total):
        if row % 3:
            x, y = rng.integers(0, size // 2, 2)
            mask[row, x : x + size // 3, y : y + size // 3] = 1
    image += 120 * mask
    return ArrayDataset(
        info=DatasetInfo("tiny", tuple("abcdef"[:channels]), ("lesion",), "none", "nobody"),
        image=image,
        mask=mask,
        group=np.repeat(np.arange(len(slices)), slices).astype(np.int32),
        position=np.concatenate([np.arange(s) for s in slices]).astype(np.int32),
        groups=tuple(f"patient_{i}" for i in range(len(slices))),
    )


def make_volumes(
    sessions=(1, 2, 1, 1), shape=(18, 16, 12), seed=0, dtype=np.float16
) -> ArrayDataset:
    """Patients with so many whole volumes: noise, with a bright box, its core brighter still in a second channel."""
    rng = np.random.default_rng(seed)
    total = sum(sessions)
    image = rng.integers(20, 60, (total, *shape, 2)).astype(dtype)
    image[:, :2], image[:, -2:] = 0, 0  # air
    mask = np.zeros((total, *shape, 2), np.uint8)
    for row in range(total):
        x, y, z = (rng.integers(2, n - 8) for n in shape)
        mask[row, x : x + 6, y : y + 6, z : z + 6, 0] = 1
        mask[row, x + 2 : x + 4, y + 2 : y + 5, z + 2 : z + 4, 1] = 1
    image += 100 * mask.astype(dtype)
    return ArrayDataset(
        info=DatasetInfo(
            "tiny3d", ("a", "b"), ("whole", "core"), "none", "nobody", (1.0, 1.0, 2.0)
        ),
        image=image,
        mask=mask,
        group=np.repeat(np.arange(len(sessions)), sessions).astype(np.int32),
        position=np.concatenate([np.arange(s) for s in sessions]).astype(np.int32),
        groups=tuple(f"patient_{i}" for i in range(len(sessions))),
    )


SMALL = {"features": (4, 8), "convs": 1, "up_convs": 1, "upsample": "linear"}


def make_config(**sections) -> ConfigDict:
    """The config of a run on `make_dataset` that takes seconds; sections are updated, not replaced."""
    config = base.synthetic("tiny", spec(UNet, **SMALL)).copy_and_resolve_references()
    with config.unlocked():
        config.loss = spec(losses.bce_dice)
        config.split.update(test=1, val=1)
        config.augment.update(groups=0, elastic=0.0, blur=0.0, lowres=0.0, bias=0.0)
        config.train.update(
            steps=8, batch_size=4, eval_every=4, checkpoint_every=3, log_every=1, parallel="none"
        )
        config.infer.update(batch_size=4)
        for name, values in sections.items():
            if isinstance(values, dict):
                config[name].update(values)
            else:
                config[name] = values
    return config.lock()


def make_volume_config(**sections) -> ConfigDict:
    """The config of a run on `make_volumes` that takes seconds."""
    config = make_config().copy_and_resolve_references()
    with config.unlocked():
        config.model.update(num_classes=2)
        config.augment = spec(
            PatchAugment, patch=(8, 8, 8), elastic=0.0, p_intensity=0.0, p_degrade=0.0
        )
        config.train.update(batch_size=2)
        config.infer.update(batch_size=3, tta="flip", mirror=(0, 1))
        for name, values in sections.items():
            if isinstance(values, dict):
                config[name].update(values)
            else:
                config[name] = values
    return config.lock()


# A run of the default config that takes seconds, as flags of experiments.train.
TINY = [
    *("--config=configs/transunet.py", "--config.data.subjects=4", "--config.data.slices=8"),
    *("--config.data.size=32", "--config.split.test=1", "--config.split.val=1"),
    *("--config.train.steps=6", "--config.train.batch_size=4", "--config.train.eval_every=3"),
    *("--config.train.log_every=2", "--config.model.width=16", "--config.model.depth=1"),
    # Compiles in half the time without these.
    *("--config.augment.elastic=0", "--config.augment.lowres=0", "--config.augment.bias=0"),
    "--config.input.feed=memory",
]


def clean_environment() -> dict[str, str]:
    """For child processes: one device, as a user has it; compiled as quickly as here."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    flags = [flag for flag in env.pop("XLA_FLAGS", "").split() if "device_count" not in flag]
    return env | {
        "XLA_FLAGS": " ".join(flags),
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def python(code, **environment):
    """`python -c code` from the root in a clean environment, to its end; texts captured."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
    )


def make_labelled(counts=(14, 10, 12), size=32, copies=True, seed=0) -> LabelledDataset:
    """Images of so many of each class: noise, with a bright bar whose direction is the class; some pairs are copies."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    n = len(label)
    image = rng.integers(0, 60, (n, size, size, 1), dtype=np.uint8)
    for row, k in enumerate(label):
        at = rng.integers(size // 4, size // 2)
        if k == 0:
            image[row, at : at + 4] += 150
        elif k == 1:
            image[row, :, at : at + 4] += 150
    group = np.arange(n) // 2 if copies else np.arange(n)
    group = group.astype(np.int32)
    name = tuple(f"class_{k}/{i:03d}.png" for i, k in enumerate(label))
    return LabelledDataset(
        info=DatasetInfo("bars", ("grey",), ("across", "down", "none"), "none", "nobody"),
        image=image,
        label=label,
        group=group,
        groups=tuple(name[i] for i in np.unique(group, return_index=True)[1]),
        name=name,
        part=tuple("Training" if i % 3 else "Testing" for i in range(n)),
        content=tuple(f"{i:016x}" for i in range(n)),
    )


def make_class_config(**sections) -> ConfigDict:
    """The config of a classifier's run on `make_labelled` that takes seconds."""
    model = spec(ResNet, num_classes=3, stages=(1,), width=4)
    config = base.tumour_images("bars", model).copy_and_resolve_references()
    with config.unlocked():
        config.split.update(test=0.3, val=0.2)
        config.augment.update(elastic=0.0, blur=0.0, lowres=0.0, bias=0.0, rotate=5.0)
        config.train.update(
            steps=6,
            batch_size=8,
            eval_every=3,
            checkpoint_every=2,
            log_every=1,
            parallel="none",
            ema=0.5,
            mixup=0.4,
        )
        config.infer.update(batch_size=8)
        for name, values in sections.items():
            if isinstance(values, dict):
                config[name].update(values)
            else:
                config[name] = values
    return config.lock()


def entry_point(name: str):
    """The module `experiments.NAME`, for tests of its functions; its flags are taken back.

    Every entry point has flags of its own in one process, and two of them may call theirs the same.
    """
    import importlib

    from absl import flags

    module = importlib.import_module(f"experiments.{name}")
    known = flags.FLAGS
    own = [flag for flag in known if known.find_module_defining_flag(flag) == module.__name__]
    known.remove_flag_values(own)
    return module
