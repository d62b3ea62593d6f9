"""Skull stripping by supervised training on T1 heads, as the reference did on NFBS, with its residual U-Nets.

    python -m experiments.train --config=configs/nfbs.py
        The second version of the residual U-Net, narrow, on the embedded synthetic heads; no download, for CPUs.
    python -m experiments.train --config=configs/nfbs.py:nfbs --config.data.dir=DIR
        The same at the reference's width (35.5 M parameters) on the 125 heads of NFBS as distributed, at 2 mm.
    python -m experiments.sweep --config=configs/nfbs.py --sweep=configs/sweeps/r0_strip.py --workdir=DIR
        Both versions of the network x three losses on the embedded heads, the same seed and budget: 35 minutes on two busy
        CPU cores. Dice 0.98 with the mean squared error and with Dice's loss, 0.97 with signed distances (table: README).

Variant: first (the first version, otherwise as the default). Not measured on NFBS. The stripper that brainjax ships is
another: configs/strip.py.
"""

from ml_collections import ConfigDict

from brainjax.config import spec
from brainjax.datasets import NFBS, SyntheticHeads, splits
from brainjax.models import ResidualUNet
from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """The experiment called `variant`, see the top of this file."""
    return base.choose(variant, VARIANTS)


def _heads(name: str, **shape: object) -> ConfigDict:
    config = base.volumes(name, spec(ResidualUNet, **shape)).copy_and_resolve_references()
    with config.unlocked():
        config.data = spec(SyntheticHeads)
        # The brain fills half of every patch, wherever it lies.
        config.augment.update(patch=(64, 64, 64), foreground=0.0)
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


NARROW = {"features": (8, 16, 32, 64)}
VARIANTS = {
    "": lambda: _heads("nfbs_synthetic", **NARROW),
    "first": lambda: _heads("nfbs_synthetic_first", variant="first", **NARROW),
    "nfbs": _nfbs,
}
