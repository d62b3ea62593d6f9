"""Trials on the tiny data of `tiny`, for the tests of packs and sweeps."""

import dataclasses

import flax.linen as nn
import jax
from tiny import make_config, make_dataset

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
