"""Trials on the tiny data of `tiny`, for the tests of packs and sweeps."""

import dataclasses

import flax.linen as nn
import jax
from tiny import make_class_config, make_config, make_dataset, make_labelled

from brainjax.models.layers import Dropout, Norm
from brainjax.sweep import product
from brainjax.train.trial import Trial, make_trials

# Noise alone: enough to see whether every example draws its own, and it compiles fast.
OFF = ("rotate", "scale", "anisotropy", "shear", "translate", "gamma", "contrast", "brightness")
AUGMENT = {**dict.fromkeys(OFF, 0.0), "flip": (0.0, 0.0), "noise": 0.2, "p_degrade": 1.0}

# Adam and its kin divide by the gradient's size: these rates keep what rounding does to that small.
OPTIMIZERS = [
    {"optimizer.name": "adamw", "optimizer.learning_rate": 1e-3, "optimizer.weight_decay": 0.1},
    {"optimizer.name": "nadam", "optimizer.learning_rate": 2e-3, "schedule.name": "constant"},
    {"optimizer.name": "sgd", "optimizer.learning_rate": 0.05, "optimizer.momentum": 0.9},
]
LOSSES = [{"loss.name": "bce_dice", "seed": 1}, {"loss.name": "jaccard", "split.seed": 3}]
SIX = product(LOSSES, OPTIMIZERS)


class Net(nn.Module):
    """BatchNorm and dropout in the least that has both; compiles in a blink."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        # Without a bias: that of a convolution before a norm has a gradient of rounding alone.
        x = nn.Conv(4, (3, 3), use_bias=False)(x)
        x = Dropout(0.2)(nn.relu(Norm("batch")(x, train=train)), train=train)
        return nn.Conv(1, (1, 1))(x)


@dataclasses.dataclass(frozen=True)
class InMemory:
    """A dataset that is there."""

    slices: tuple[int, ...] = (5, 3, 6, 4)

    def load(self):
        return make_dataset(self.slices)


def tiny_trials(overrides, **sections) -> list[Trial]:
    """Trials of `Net` on `make_dataset`, 6 steps each unless `sections` say otherwise."""
    sections["train"] = {"steps": 6, "ema": 0.9, **sections.get("train", {})}
    trials = make_trials(make_config(augment=AUGMENT, **sections), overrides)
    change = {"dataset": InMemory(), "model": Net(), "plain_model": Net()}
    return [dataclasses.replace(t, recipe=dataclasses.replace(t.recipe, **change)) for t in trials]


class ClassNet(nn.Module):
    """Three linear layers: enough for weights to overflow what they multiply."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = x.reshape(len(x), -1)
        for i, width in enumerate((4, 4, 3)):
            x = nn.Dense(width, name=f"layer{i}")(x)
        return x


class Still:
    """An augmentation that leaves all as it is; compiles in a blink."""

    def batch(self, keys: jax.Array, image: jax.Array, mask: jax.Array):
        return image, mask


class Labelled:
    """A dataset of pictures that is there."""

    def load(self):
        return make_labelled(size=8)


def class_trials(overrides, **train) -> list[Trial]:
    """Trials of `ClassNet` on `make_labelled`, without augmentation."""
    config = make_class_config(input={"size": 0}, train={"ema": 0.0, "mixup": 0.0, **train})
    change = {"dataset": Labelled(), "augment": Still()}
    change |= {"model": ClassNet(), "plain_model": ClassNet()}
    return [
        dataclasses.replace(t, recipe=dataclasses.replace(t.recipe, **change))
        for t in make_trials(config, overrides)
    ]
