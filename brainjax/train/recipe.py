"""From a config to the objects of a run: every name looked up and every combination checked, nothing compiled."""

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from brainjax import augment, datasets, losses, models, optim
from brainjax.config import bind, build, options
from brainjax.data import feeds
from brainjax.data.source import Input, Source
from brainjax.datasets import label_maps, label_splits, splits
from brainjax.datasets.base import Dataset
from brainjax.infer.predictor import Inference, Predictor
from brainjax.lookup import lookup, nearest
from brainjax.metrics import overlap
from brainjax.preprocess import normalize
from brainjax.preprocess.batch import working_size
from brainjax.train import parallel
from brainjax.train.options import TrainOptions
from brainjax.types import ConfigError

SPLITS = {
    f.__name__: f
    for f in (
        *(splits.by_patient, splits.k_fold, splits.by_slice),
        *(label_splits.stratified, label_splits.stratified_k_fold, label_splits.as_shipped),
        *(label_splits.as_shipped_clean, label_splits.random_images),
    )
}


def targets() -> dict[str, Callable[[str], Any]]:
    """Section of a config -> how its `name` is looked up."""
    return {
        "data": datasets.get,
        "split": lambda name: lookup(name, SPLITS, "split"),
        "input": lambda name: lookup(name, {"Input": Input}, "input"),
        "augment": augment.get,
        "model": models.get,
        "loss": losses.get,
        "optimizer": optim.get,
        "schedule": lambda name: lookup(name, optim.SCHEDULES, "schedule"),
        "train": lambda name: lookup(name, {"TrainOptions": TrainOptions}, "train options"),
        "infer": lambda name: lookup(name, {"Inference": Inference}, "inference options"),
    }


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The parts of a run that a config describes.

    Attributes:
        dataset: a dataset object, not loaded yet.
        split: function of a loaded dataset.
        input, train, infer: the options of those sections.
        augment: the augmentation, or None.
        model: for training; it knows the axis name of the driver.
        plain_model: the same network for inference, on one device.
        loss: f(logits, target) -> [B].
        tx: the optimizer.
    """

    dataset: Any
    split: Callable[[Dataset], splits.Split]
    input: Input
    train: TrainOptions
    infer: Inference
    augment: Any
    model: nn.Module
    plain_model: nn.Module
    loss: Callable[..., jax.Array]
    tx: optax.GradientTransformation

    def predictor(self) -> Predictor:
        """The predictor of the network under training."""
        return Predictor(self.plain_model, self.input, self.infer)

    def source(self, dataset: Dataset) -> Source:
        """The dataset as raw batches."""
        return Source(dataset, self.input.context, self.input.normalize)

    def batch_shape(self, dataset: Dataset) -> tuple[int, ...]:
        """[B h w C*context] or [B x y z C], the network's input in training.

        Raises:
            ConfigError: the working grid is finer than the images, or network, loss or augmentation cannot
                take what they would get. Nothing is compiled to find out.
        """
        *native, channels = dataset.image.shape[1:]
        if self.input.size and dataset.rank == 3:
            raise ConfigError(
                f"--config.input.size={self.input.size} is for slices; volumes keep their grid: set it to 0"
            )
        size = working_size(self.input.size, tuple(native))
        if any(s > n for s, n in zip(size, native, strict=True)):
            raise ConfigError(
                f"--config.input.size={self.input.size} is larger than the images, "
                f"{' x '.join(map(str, native))}; use {min(native)} or less"
            )
        labels = dataset.target == "label"
        if labels and len(dataset.info.classes) < 2:
            raise ConfigError(
                f"{dataset.info.name} has one class, {', '.join(dataset.info.classes)}: a classifier needs two; is "
                f"--config.data.dir the folder above those of the classes?"
            )
        if self.train.mixup and not labels:
            raise ConfigError(
                f"--config.train.mixup={self.train.mixup} blends images with labels, not masks: set it to 0"
            )
        self._check_augment(dataset)
        stored = (self.train.batch_size, *size, channels * self.input.context)
        key = jax.eval_shape(lambda: jax.random.key(0))
        keys = jax.ShapeDtypeStruct(stored[:1], key.dtype)
        mask = (*stored[:-1], 0 if labels else dataset.truth.shape[-1])
        # What the network gets is the augmentation's to say: a patch, or another grid altogether.
        image, mask = jax.eval_shape(
            self.augment.batch,
            *(keys, jax.ShapeDtypeStruct(stored, jnp.float32)),
            jax.ShapeDtypeStruct(mask, jnp.float32),
        )
        shape, target = image.shape, mask
        parallel.check_space(shape, self.train.space)
        if labels:
            target = jax.ShapeDtypeStruct((*shape[:1], dataset.truth.shape[-1]), jnp.float32)
        classes = target.shape[-1]
        known = _monitors(labels, dataset.rank)
        if self.train.monitor not in known:
            raise ConfigError(
                f"--config.train.monitor={self.train.monitor} is no score of {dataset.info.name}: "
                f"{nearest(self.train.monitor, known)}"
            )
        try:
            logits, _ = jax.eval_shape(
                lambda key, x: self.plain_model.init_with_output(key, x, train=False), key, image
            )
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ConfigError(
                f"--config.model makes no network for {_by(image)}: "
                f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            ) from error
        task, what = ("classification", "labels") if labels else ("segmentation", "masks")
        if logits.shape != target.shape:
            raise ConfigError(
                f"{type(self.plain_model).__name__} gives {_by(logits)} for {what} of {_by(target)}; set "
                f"--config.model.num_classes={classes}, or choose a {task} network by "
                f"--config.model.name"
            )
        try:
            per_example = jax.eval_shape(self.loss, logits, target)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"--config.loss cannot score {what} of {_by(target)}: {error}"
            ) from error
        if per_example.shape != shape[:1]:
            raise ConfigError(
                f"--config.loss gives {_by(per_example)} instead of a value per example; choose a "
                f"{task} loss by --config.loss.name"
            )
        return shape

    def _check_augment(self, dataset: Dataset) -> None:
        """Raises ConfigError where the augmentation is for other channels than the dataset's."""
        channels = dataset.image.shape[-1]
        groups = getattr(self.augment, "groups", 0)
        if groups and channels % groups:
            raise ConfigError(
                f"--config.augment.groups={groups} sequences, but {dataset.info.name} has {channels} "
                f"({', '.join(dataset.info.channels)}): set it to {channels}"
            )
        synthetic = isinstance(self.augment, augment.HeadSynthesis)
        if synthetic and dataset.info.channels != label_maps.INFO.channels:
            raise ConfigError(
                f"--config.augment.name=HeadSynthesis draws heads from label maps, and {dataset.info.name} has "
                f"{', '.join(dataset.info.channels)}: use --config.augment.name=Augment, or configs/strip.py"
            )


def make_recipe(config: ConfigDict) -> Recipe:
    """Builds and checks every part of `config`.

    Raises:
        ConfigError: what cannot work, in one line that names the fix.
    """
    get = targets()
    seed = config.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 1 << 32:
        raise ConfigError(f"--config.seed={seed} is no whole number from 0 to {(1 << 32) - 1}")
    train = build(config.train, get["train"])
    input = build(config.input, get["input"])
    lookup(input.feed, dict.fromkeys(feeds.FEEDS), "feed")
    if input.size < 0:
        raise ConfigError(f"--config.input.size={input.size}; use 0 for the images' own size")
    if not 0 <= input.foreground <= 1:
        raise ConfigError(f"--config.input.foreground={input.foreground}; choose 0.0 to 1.0")
    if input.normalize not in normalize.METHODS:
        raise ConfigError(
            f"unknown --config.input.normalize={input.normalize}; choose one of "
            f"{', '.join(normalize.METHODS)}"
        )
    known = dict.fromkeys((*_monitors(False), *_monitors(False, 3), *_monitors(True)))
    if train.monitor not in known:
        raise ConfigError(
            f"unknown --config.train.monitor={train.monitor}: {nearest(train.monitor, known)}"
        )
    if input.context < 1 or input.context % 2 == 0:
        raise ConfigError(f"--config.input.context must be odd, got {input.context}")
    if input.feed == "tfdata" and importlib.util.find_spec("tensorflow") is None:
        raise ConfigError(
            "--config.input.feed=tfdata needs tensorflow: pip install tensorflow-cpu, or choose memory"
        )
    chosen = {k: v for k, v in config.optimizer.items() if k != "name"}
    made = build(config.augment, get["augment"])
    infer = build(config.infer, get["infer"]).for_training_patch(getattr(made, "patch", ()))
    shape = {k: v for k, v in config.schedule.items() if k != "name"}
    if "steps" in shape:
        raise ConfigError("the schedule's length is that of the run: set --config.train.steps")
    schedule = optim.make_schedule(config.schedule.name, train.steps, **shape)
    plain_model = build(config.model, get["model"])
    if config.loss.name == "signed_distance" and getattr(plain_model, "deep_supervision", 0) > 1:
        raise ConfigError(
            "--config.loss.name=signed_distance has the mm of the finest voxels, and is no loss for coarser ones: set "
            "--config.model.deep_supervision=0"
        )
    return Recipe(
        dataset=build(config.data, get["data"]),
        split=bind(config.split, get["split"]),
        input=input,
        train=train,
        infer=infer,
        augment=made,
        model=build(config.model, get["model"], **_axis(config.model, train)),
        plain_model=plain_model,
        loss=bind(config.loss, get["loss"]),
        tx=optim.make(config.optimizer.name, chosen, schedule, clip_norm=train.clip_norm),
    )


def _axis(section: ConfigDict, train: TrainOptions) -> dict[str, str | None]:
    """`axis_name` for the networks that have something to agree on between the devices of a pmap."""
    known = options(models.get(section.name))
    name = parallel.axis_name(train.parallel, train.space)
    return {"axis_name": name} if "axis_name" in known else {}


def _monitors(labels: bool, rank: int = 2) -> list[str]:
    """The validation metrics of which more is better, of labels or of masks of slices or volumes."""
    if labels:
        return ["accuracy", "balanced_accuracy", "f1_macro", "auroc_macro"]
    if rank == 3:
        scores = ("dice", "jaccard", "precision", "recall", "nsd")
        return [f"{score}_volume_{kind}" for score in scores for kind in ("mean", "median")]
    one = overlap.Counts(*np.ones((3, 1, 1), np.int64))
    found = overlap.summarize(one, np.zeros(1, np.int64))
    return [k for k in found if not k.startswith("n_") and k != "per_volume" and "_std" not in k]


def _by(x: jax.ShapeDtypeStruct) -> str:
    return " x ".join(map(str, x.shape))
