"""What the author of the LGG reference U-Nets wished to try, each at the same small budget.

One run per variant, split by patient, 200 steps of 16 slices at 64 x 64, one slice at a time, the same seed:

    for v in bce dice bce_dice jaccard flair transunet attention; do
      python -m experiments.train --config=configs/wishlist.py:$v --config.data.dir=DIR \
        --workdir=checkpoints/runs/wishlist/$v
    done
    python -m experiments.compare checkpoints/runs/wishlist/*

bce, dice, bce_dice and jaccard differ in the loss alone; flair, transunet and attention in one thing each from
bce_dice. The scores with and without 3D post-processing stand side by side in every run. At this budget
nothing has converged: the table says what learns fastest, not what ends best.
"""

import optax
from ml_collections import ConfigDict

from brainjax import losses
from brainjax.config import spec
from brainjax.models import TransUNet, UNet
from configs import base


def get_config(variant: str = "bce_dice") -> ConfigDict:
    """The experiment called `variant`, see the top of this file."""
    return base.choose(variant or "bce_dice", VARIANTS)


def _wish(name: str, **sections: ConfigDict) -> ConfigDict:
    config = base.lgg(f"wishlist_{name}", spec(UNet)).copy_and_resolve_references()
    with config.unlocked():
        config.input.update(size=64, context=1)
        config.optimizer = spec(optax.adamw, learning_rate=1e-3, weight_decay=1e-2)
        config.train.update(steps=200, ema=0.97, checkpoint_every=100)
        for section, value in sections.items():
            config[section] = value  # not update(), which would keep the old section's options
    return config.lock()


def _flair() -> ConfigDict:
    config = _wish("flair").copy_and_resolve_references()
    with config.unlocked():
        config.data.sequences = "flair"
        config.augment.update(groups=1, missing=0.0)
    return config.lock()


VARIANTS = {
    "bce": lambda: _wish("bce", loss=spec(losses.bce)),
    "dice": lambda: _wish("dice", loss=spec(losses.dice)),
    "bce_dice": lambda: _wish("bce_dice"),
    "jaccard": lambda: _wish("jaccard", loss=spec(losses.jaccard)),
    "flair": _flair,
    "transunet": lambda: _wish("transunet", model=spec(TransUNet)),
    "attention": lambda: _wish("attention", model=spec(UNet, attention=True)),
}
