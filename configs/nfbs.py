"""Skull stripping by supervised training on T1 heads, as the reference did on NFBS; losses side by side.

    python -m experiments.train --config=configs/nfbs.py
        A small 3D U-Net on the embedded synthetic heads; no download, for CPUs.
    python -m experiments.train --config=configs/nfbs.py:nfbs --config.data.dir=DIR
        The 125 heads of NFBS as distributed, resampled to 2 mm.

The reference trained with the mean squared error and wished for a Dice and a signed distance. Variants: mse, sdt, each on
the embedded heads as the default, which is Dice with cross-entropy, and all from the same seed with the same budget.
Scores are not measured yet. The stripper that brainjax ships is another: configs/strip.py.
"""

from ml_collections import ConfigDict

from brainjax import losses
from brainjax.config import spec
from brainjax.datasets import NFBS, SyntheticHeads, splits
from brainjax.models import UNet
from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """The experiment called `variant`, see the top of this file."""
    return base.choose(variant, VARIANTS)


def _heads(name: str, loss: ConfigDict | None = None) -> ConfigDict:
    model = spec(
        UNet, features=(8, 16, 32, 64), norm="instance", activation="leaky_relu", upsample="resize"
    )
    config = base.volumes(name, model).copy_and_resolve_references()
    with config.unlocked():
        config.data = spec(SyntheticHeads)
        # The brain fills half of every patch, wherever it lies.
        config.augment.update(patch=(64, 64, 64), foreground=0.0)
        config.loss = loss or config.loss
        config.train.steps = 300
        config.infer.update(keep_largest=True, fill=True, lesions=False)
    return config.lock()


def _nfbs() -> ConfigDict:
    config = _heads("nfbs").copy_and_resolve_references()
    with config.unlocked():
        config.data = spec(NFBS, dir="data/NFBS_Dataset", spacing=2.0)
        config.split = spec(splits.by_patient, test=25, val=5)
        config.train.update(steps=3000, eval_every=1000)
    return config.lock()


VARIANTS = {
    "": lambda: _heads("nfbs_synthetic"),
    "nfbs": _nfbs,
    "mse": lambda: _heads("nfbs_mse", spec(losses.mse)),
    # The embedded heads have voxels of 2.5 x 2.5 x 2.4 mm, about.
    "sdt": lambda: _heads("nfbs_sdt", spec(losses.signed_distance, radius=10.0, spacing=2.5)),
}
