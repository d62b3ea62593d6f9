"""U-Net (Ronneberger et al. 2015) and the U-Nets of the LGG reference systems.

    python -m experiments.train --config=configs/unet.py
        The first U-Net of the reference on the embedded data, with four channels instead of its three.
    python -m experiments.train --config=configs/unet.py:lgg --config.data.dir=DIR
        3.1 M parameters, three neighbouring slices, 2800 steps of 16 at 128 x 128; 82 minutes on two busy CPU cores;
        Dice 0.823 per volume on 12 patients.
    python -m experiments.train --config=configs/unet.py:lgg_fine --config.data.dir=DIR
        Goes on from that run, in checkpoints/runs/unet_lgg: 2400 steps of 16 at 160 x 160, distorted more, every patient's
        lesion drawn equally often. 95 minutes likewise; Dice 0.854. The released `checkpoints/lgg_unet`.
    python -m experiments.train --config=configs/unet.py:lgg_t1 --config.data.dir=DIR
        Goes on from that one, in checkpoints/runs/unet_lgg_fine, without FLAIR: T1 before and after contrast, either of
        which may be missing. 1200 steps, 81 minutes beside other work; Dice 0.453. The released `checkpoints/lgg_t1_unet`.
    python -m experiments.train --config=configs/unet.py:lgg_slice --config.data.dir=DIR
        The same, split by slice as the reference systems did. This leaks.

Other variants: model1, model2 (both reference U-Nets on LGG, one slice at a time: 7,774,049 parameters with the moving
statistics, 10,655,809 trained ones; not trained here), lgg_monitored (4 of the training patients validate, for
early stopping and learning curves).
"""

from ml_collections import ConfigDict

from brainjax.config import spec
from brainjax.models import UNet
from configs import base

RELEASED = {"features": (24, 48, 96, 192, 256), "upsample": "resize"}


def get_config(variant: str = "") -> ConfigDict:
    """The experiment called `variant`, see the top of this file."""
    return base.choose(variant, VARIANTS)


def _lgg() -> ConfigDict:
    return base.lgg("unet_lgg", spec(UNet, **RELEASED))


def _one_slice(name: str, model: ConfigDict) -> ConfigDict:
    """One slice at a time, as the reference's networks see them: their parameter counts hold for 3 channels."""
    config = base.lgg(name, model).copy_and_resolve_references()
    config.input.context = 1
    return config.lock()


def _fine() -> ConfigDict:
    config = base.goes_on(_lgg(), "unet_lgg_fine", steps=2400)
    with config.unlocked():
        config.input.update(size=160, balance=True)
        # Few patients, seen for long: distort more than on the coarse grid.
        config.augment.update(
            rotate=25.0,
            scale=0.2,
            p_affine=0.9,
            p_elastic=0.4,
            gamma=0.4,
            contrast=0.3,
            brightness=0.3,
        )
        config.augment.update(p_intensity=0.5, p_degrade=0.3)
        config.optimizer.learning_rate = 1e-3
    return config.lock()


def _t1() -> ConfigDict:
    """For scans without FLAIR, where little of a lower-grade glioma shows."""
    config = base.goes_on(_fine(), "unet_lgg_t1", steps=1200)
    with config.unlocked():
        config.data.sequences = "t1"
        config.input.size = 128
        # As above, less two who have FLAIR alone: the other ten stay the same.
        config.split.test = 10
        config.augment.update(groups=2, missing=0.6, missing_source=-1)
    return config.lock()


def _monitored() -> ConfigDict:
    config = _lgg().copy_and_resolve_references()
    with config.unlocked():
        config.name = "unet_lgg_monitored"
        config.split.val = 4
        config.train.update(eval_every=200, patience=5)
    return config.lock()


VARIANTS = {
    "": lambda: base.synthetic("unet", spec(UNet)),
    "lgg": _lgg,
    "lgg_fine": _fine,
    "lgg_t1": _t1,
    "lgg_slice": lambda: base.leaky(_lgg()),
    "lgg_monitored": _monitored,
    "model1": lambda: _one_slice("unet_model1_lgg", spec(UNet)),
    "model2": lambda: _one_slice(
        "unet_model2_lgg", spec(UNet, features=(64, 128, 256, 512), convs=(2, 2, 3, 3))
    ),
}
