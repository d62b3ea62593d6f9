"""The parts that the configs share. Not an experiment by itself."""

from typing import Any

import optax
from ml_collections import ConfigDict

from brainjax import losses, optim
from brainjax.augment import Augment, PatchAugment
from brainjax.config import spec
from brainjax.data import Input
from brainjax.datasets import LGG, Synthetic, SyntheticVolumes, TumorImages, label_splits, splits
from brainjax.infer import Inference
from brainjax.lookup import lookup
from brainjax.train.options import TrainOptions


def synthetic(name: str, model: ConfigDict) -> ConfigDict:
    """Segments the tumours of the embedded synthetic heads with `model`; no download."""
    return ConfigDict(
        {
            "name": name,
            "seed": 0,
            "data": spec(Synthetic),
            "split": spec(splits.by_patient, test=8, val=4),
            # Generated in memory: there is nothing for tf.data to read ahead, and it costs 0.4 GB to load.
            "input": spec(Input, size=0, feed="memory"),
            "augment": spec(Augment, groups=4),
            "model": model,
            "loss": spec(losses.bce_dice),
            "optimizer": spec(optax.adamw, learning_rate=2e-3, weight_decay=1e-2),
            "schedule": spec(optim.cosine),
            "train": spec(TrainOptions, steps=300, batch_size=8, ema=0.98, eval_every=100),
            "infer": spec(Inference),
        }
    ).lock()


def lgg(name: str, model: ConfigDict) -> ConfigDict:
    """Segments the FLAIR abnormality of LGG with `model`, split by patient.

    52 patients train and 12 test. No patient is spent on validation, so nothing is picked by score: the schedule is
    fixed and the last averaged weights are the result.
    """
    return ConfigDict(
        {
            "name": name,
            "seed": 0,
            "data": spec(LGG, dir="data/lgg_mri_segmentation"),
            "split": spec(splits.by_patient, test=12, val=0),
            "input": spec(Input, size=128, context=3, foreground=0.5),
            # A missing sequence is replaced by FLAIR in this data set, so training does the same at times.
            "augment": spec(Augment, groups=3, missing=0.1, missing_source=1),
            "model": model,
            "loss": spec(losses.bce_dice),
            "optimizer": spec(optax.adamw, learning_rate=2e-3, weight_decay=1e-2),
            "schedule": spec(optim.cosine),
            "train": spec(TrainOptions, steps=2800, ema=0.998, checkpoint_every=250),
            "infer": spec(Inference, tta="flip", min_voxels=100, fill=True),
        }
    ).lock()


def tumour_images(name: str, model: ConfigDict) -> ConfigDict:
    """Tells four classes of brain tumour images apart with `model`.

    Images that are alike stay on one side of the split. Validation picks the best weights and sets the temperature.
    """
    return ConfigDict(
        {
            "name": name,
            "seed": 0,
            "data": spec(TumorImages, dir="data/brain_tumor_classification"),
            "split": spec(label_splits.stratified, test=0.15, val=0.05),
            # The images are of no one sequence, plane or scanner: each is scaled by itself.
            "input": spec(Input, size=0, foreground=0.5, balance=True, feed="memory"),
            "augment": spec(Augment, p_intensity=0.5),
            "model": model,
            "loss": spec(losses.softmax_ce, label_smoothing=0.1),
            "optimizer": spec(optax.adamw, learning_rate=2e-3, weight_decay=5e-2),
            "schedule": spec(optim.cosine),
            "train": spec(
                TrainOptions,
                steps=3000,
                batch_size=32,
                ema=0.998,
                eval_every=250,
                monitor="accuracy",
                keep="last",
            ),
            "infer": spec(Inference, batch_size=32, tta="flip"),
        }
    ).lock()


def volumes(name: str, model: ConfigDict) -> ConfigDict:
    """Segments the tumours of the embedded synthetic heads, whole volumes of them, with `model`; no download.

    The regions are nested, so each has a sigmoid of its own.
    """
    return ConfigDict(
        {
            "name": name,
            "seed": 0,
            "data": spec(SyntheticVolumes),
            "split": spec(splits.by_patient, test=8, val=4),
            "input": spec(Input, size=0, foreground=0.0, feed="memory"),
            # Two patches of three lie on a region; the warp is the dearest part of the step, and elastic the dearest of it.
            "augment": spec(
                PatchAugment, patch=(64, 64, 48), foreground=0.67, p_affine=0.4, p_elastic=0.0
            ),
            "model": model,
            "loss": spec(losses.bce_dice),
            "optimizer": spec(optax.adamw, learning_rate=2e-3, weight_decay=1e-2),
            "schedule": spec(optim.cosine),
            "train": spec(
                TrainOptions,
                steps=600,
                batch_size=2,
                ema=0.99,
                eval_every=300,
                checkpoint_every=100,
            ),
            "infer": spec(Inference, batch_size=2, lesions=True),
        }
    ).lock()


def goes_on(config: ConfigDict, name: str, *, steps: int) -> ConfigDict:
    """The experiment `name`, which begins with the weights that a run of `config` left in its usual folder."""
    after = config.copy_and_resolve_references()
    with after.unlocked():
        after.name = name
        after.train.update(init=f"checkpoints/runs/{config.name}", steps=steps)
    return after.lock()


def leaky(config: ConfigDict) -> ConfigDict:
    """The same experiment under the reference systems' protocol: split by slice, which leaks."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.name += "_slice_split"
        config.split = spec(splits.by_slice, test=0.05, val=0.0)
    return config.lock()


def choose(variant: str, variants: dict[str, Any]) -> ConfigDict:
    """Calls the variant's function; ConfigError with the list of variants otherwise."""
    named = {name: make for name, make in variants.items() if name}
    return variants[variant]() if variant in variants else lookup(variant, named, "variant")()
