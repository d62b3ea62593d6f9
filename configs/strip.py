"""Skull stripping of any contrast, trained on synthetic heads alone (after SynthStrip, Hoopes et al. 2022, arXiv:2203.09974).

    python -m experiments.train --config=configs/strip.py --config.data.dir=DIR
        DIR is a folder of whole-head label maps with FreeSurfer's numbers. Every step images new heads from them: posed,
        warped, in random contrasts and in those of T1, T1ce, T2 and FLAIR. No scan of a patient is used. 1200 steps of one
        head, 61 minutes on two busy CPU cores: Dice 0.932 on a T1 of an adult, 0.851 on one of an infant.
    python -m experiments.train --config=configs/strip.py:fine --config.data.dir=DIR
        Goes on from that run, in checkpoints/runs/strip_unet, for 2600 steps (81 minutes): 0.958 and 0.927.
    python -m experiments.train --config=configs/strip.py:last --config.data.dir=DIR
        Goes on from that one, in checkpoints/runs/strip_unet_fine, for 900 steps (31 minutes): 0.960 and 0.925.
    python -m experiments.train --config=configs/strip.py:detail --config.data.dir=DIR
        Goes on from that one, in checkpoints/runs/strip_unet_last, with two convolutions more at 1.5 mm, for 1000 steps (36
        minutes): 0.963 and 0.926.
    python -m experiments.train --config=configs/strip.py:tight --config.data.dir=DIR
        Goes on from that one, in checkpoints/runs/strip_unet_detail, for brains that end 2 mm around their closed surface
        and, every other head, in thin skulls. 2200 steps (86 minutes): 0.963 and 0.942.
    python -m experiments.train --config=configs/strip.py:cisterns --config.data.dir=DIR
        Goes on from that one, in checkpoints/runs/strip_unet_tight, for brains that keep all the fluid around their stem.
        1200 steps (87 minutes beside much other work): 0.971 and 0.941.
    python -m experiments.train --config=configs/strip.py:bridge --config.data.dir=DIR
        Goes on from that one, in checkpoints/runs/strip_unet_cisterns, for brains that pass over the hollows of the skull's
        base. 1200 steps (49 minutes beside other work): 0.976 and 0.936; the released `checkpoints/strip_unet`.
    python -m experiments.strip_heads --checkpoint=RUN --data_dir=HEADS
        Scores the run on real heads (HEADS/CASE/image.nii.gz and mask.nii.gz).

The network works on a box of 168 x 216 x 192 mm at 1.5 mm, in patches of 2 x 2 x 2 voxels: at a quarter of the cost of
a U-Net that begins at 1.5 mm. `detail` corrects it voxel by voxel, from the image and what the patches know.
"""

import optax
from ml_collections import ConfigDict

from brainjax import losses, optim
from brainjax.config import spec
from brainjax.data import Input
from brainjax.datasets import LabelMaps, splits
from brainjax.infer import Inference
from brainjax.models import UNet
from brainjax.synth.head import HeadSynthesis
from brainjax.train.options import TrainOptions
from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """The experiment called `variant`, see the top of this file."""
    return base.choose(variant, VARIANTS)


def _unet() -> ConfigDict:
    return ConfigDict(
        {
            "name": "strip_unet",
            "seed": 0,
            "data": spec(LabelMaps, dir="data/head_label_maps"),
            # Judged on real heads, not on synthetic ones: every map trains.
            "split": spec(splits.by_patient, test=0, val=0),
            "input": spec(Input, size=0, normalize="none", foreground=0.0, feed="memory"),
            "augment": spec(HeadSynthesis),
            "model": spec(
                UNet,
                features=(24, 48, 96, 128),
                patch=2,
                norm="instance",
                activation="leaky_relu",
                upsample="linear",
            ),
            "loss": spec(losses.bce_dice),
            "optimizer": spec(optax.adamw, learning_rate=1e-3, weight_decay=1e-4),
            "schedule": spec(optim.cosine),
            "train": spec(
                TrainOptions, steps=1200, batch_size=1, ema=0.998, checkpoint_every=100, keep="last"
            ),
            "infer": spec(Inference),
        }
    ).lock()


def _fine() -> ConfigDict:
    config = base.goes_on(_unet(), "strip_unet_fine", steps=2600)
    with config.unlocked():
        # The first stage went too far out at the vertex, where the sinus was closed over.
        config.data.closing = 3.0
        config.optimizer.learning_rate = 8e-4
    return config.lock()


def _last() -> ConfigDict:
    config = base.goes_on(_fine(), "strip_unet_last", steps=900)
    with config.unlocked():
        # The falx is to be closed over, the sagittal sinus above it not.
        config.data.closing = 1.0
        config.optimizer.learning_rate = 6e-4
    return config.lock()


def _tight() -> ConfigDict:
    config = base.goes_on(_detail(), "strip_unet_tight", steps=2200)
    with config.unlocked():
        # The maps' fluid is 5 mm deep at the vertex, where masks made by hand and other tools end after 2. With that, gaps
        # inside may be closed again.
        config.data.closing = 5.0
        config.data.fluid = 2.0
        # An infant's skull is thin, and so is the fluid below it.
        config.data.thin = 1.8
        config.optimizer.learning_rate = 8e-4
    return config.lock()


def _cisterns() -> ConfigDict:
    config = base.goes_on(_tight(), "strip_unet_cisterns", steps=1200)
    with config.unlocked():
        # What `fluid` takes off the vertex it is not to take from the fluid around the brain stem.
        config.data.cisterns = 20.0
        config.optimizer.learning_rate = 6e-4
    return config.lock()


def _bridge() -> ConfigDict:
    config = base.goes_on(_cisterns(), "strip_unet_bridge", steps=1200)
    with config.unlocked():
        # Masks made by hand pass over the sella and what lies between the frontal and the temporal lobes.
        config.data.cisterns = 40.0
        config.data.bridge = 20.0
    return config.lock()


def _detail() -> ConfigDict:
    config = base.goes_on(_last(), "strip_unet_detail", steps=1000)
    with config.unlocked():
        config.model.detail = 16
    return config.lock()


VARIANTS = {
    "": _unet,
    "fine": _fine,
    "last": _last,
    "detail": _detail,
    "tight": _tight,
    "cisterns": _cisterns,
    "bridge": _bridge,
}
