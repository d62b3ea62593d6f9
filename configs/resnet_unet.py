"""ResNet50-U-Net, with and without attention gates on its skips (Oktay et al. 2018, arXiv:1804.03999).

    python -m experiments.train --config=configs/resnet_unet.py
        A slim one on the embedded synthetic heads.
    python -m experiments.train --config=configs/resnet_unet.py:lgg --config.data.dir=DIR
        ResNet50-U-Net on LGG; `lgg_attention` adds the gates. Made for a GPU.

The reference system reports validation Dice 0.9147 without and 0.9205 with gates, ImageNet encoder, split by slice,
which leaks patients: `lgg_slice` and `lgg_attention_slice` follow that protocol, from random weights.
"""

from ml_collections import ConfigDict

from brainjax.config import spec
from brainjax.models import ResNetUNet
from configs import base

# A twentieth of ResNet50-U-Net's arithmetic, for two CPU cores.
SLIM = {"stages": (1, 1, 1, 1), "width": 16, "features": (16, 16, 32, 64, 128)}


def get_config(variant: str = "") -> ConfigDict:
    """The experiment called `variant`, see the top of this file."""
    return base.choose(variant, VARIANTS)


def _lgg(attention: bool) -> ConfigDict:
    name = "resnet_unet_attention_lgg" if attention else "resnet_unet_lgg"
    return base.lgg(name, spec(ResNetUNet, attention=attention))


VARIANTS = {
    "": lambda: base.synthetic("resnet_unet", spec(ResNetUNet, **SLIM)),
    "attention": lambda: base.synthetic(
        "resnet_unet_attention", spec(ResNetUNet, attention=True, **SLIM)
    ),
    "lgg": lambda: _lgg(False),
    "lgg_attention": lambda: _lgg(True),
    "lgg_slice": lambda: base.leaky(_lgg(False)),
    "lgg_attention_slice": lambda: base.leaky(_lgg(True)),
}
