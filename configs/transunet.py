"""TransUNet (Chen et al. 2021, arXiv:2102.04306).

    python -m experiments.train --config=configs/transunet.py
        A compact TransUNet on the embedded synthetic heads: no download, a few minutes on two CPU cores,
        Dice above 0.85 on held-out heads.
    python -m experiments.train --config=configs/transunet.py:lgg --config.data.dir=DIR
        The same network on the LGG data, split by patient.

Other variants, for accelerators: paper (the published R50-ViT-B/16, 105 M parameters, at 224 x 224) and conv (the LGG
reference system's plain convolutional encoder with ViT-B at the bottom, 98 M), both on LGG.
"""

from ml_collections import ConfigDict

from brainjax.config import spec
from brainjax.models import TransUNet
from brainjax.models.transunet import CONV_VIT_B, R50_VIT_B16
from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """The experiment called `variant`, see the top of this file."""
    return base.choose(variant, VARIANTS)


def _large(name: str, shape: dict, size: int) -> ConfigDict:
    config = base.lgg(name, spec(TransUNet, **shape)).copy_and_resolve_references()
    with config.unlocked():
        config.input.update(size=size, context=1)
        config.optimizer.learning_rate = 3e-4
    return config.lock()


VARIANTS = {
    "": lambda: base.synthetic("transunet", spec(TransUNet)),
    "lgg": lambda: base.lgg("transunet_lgg", spec(TransUNet)),
    "paper": lambda: _large("transunet_paper_lgg", R50_VIT_B16, 224),
    "conv": lambda: _large("transunet_conv_lgg", CONV_VIT_B, 256),
}
