"""Classifiers of whole heads: glioma, meningioma, pituitary tumour or none, by a 3D encoder with a dense head.

    python -m experiments.train --config=configs/volume_classifier.py
        A small residual encoder, 0.9 M parameters, on embedded synthetic heads in T1 after contrast agent; no download,
        for CPUs.
    python -m experiments.train --config=configs/volume_classifier.py:large
        The six stages of nnU-Net's residual encoder (Isensee et al. 2024, arXiv:2404.09556) on five times as many heads,
        for accelerators; not scored yet.
    python -m experiments.compare_volumes --volumes=RUN
        Beside the vote of a classifier of slices, on heads of another seed.

The first takes 10 minutes on two busy CPU cores, and 7 to generate the heads. Accuracy 0.54 on 180 heads (0.47 to 0.62),
AUROC 0.79, November 2026: it finds every pituitary tumour and hardly tells the other classes apart. Another 600 steps
changed nothing; it is not released.
"""

import optax
from ml_collections import ConfigDict

from brainjax import losses, optim
from brainjax.augment import Augment
from brainjax.config import spec
from brainjax.data import Input
from brainjax.datasets import SyntheticTumors, label_splits
from brainjax.infer import Inference
from brainjax.models import VolumeClassifier
from brainjax.train.options import TrainOptions
from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """The experiment called `variant`, see the top of this file."""
    return base.choose(variant, VARIANTS)


def _small() -> ConfigDict:
    return ConfigDict(
        {
            "name": "tumor4_volume",
            "seed": 0,
            "data": spec(SyntheticTumors),
            "split": spec(label_splits.stratified, test=0.15, val=0.1),
            "input": spec(Input, size=0, foreground=0.0, feed="memory"),
            # Heads, shading and noise are drawn anew for every scan already; and at 3.75 mm a blur hides small tumours.
            "augment": spec(
                Augment,
                rotate=8.0,
                scale=0.1,
                flip=(0.5, 0.0, 0.0),
                p_affine=0.3,
                p_elastic=0.0,
                bias=0.0,
                p_intensity=0.2,
                p_degrade=0.0,
            ),
            "model": spec(VolumeClassifier, num_classes=4),
            "loss": spec(losses.softmax_ce, label_smoothing=0.05),
            "optimizer": spec(optax.adamw, learning_rate=2e-3, weight_decay=2e-2),
            "schedule": spec(optim.cosine),
            "train": spec(
                TrainOptions,
                steps=900,
                batch_size=12,
                ema=0.98,
                eval_every=150,
                checkpoint_every=100,
                monitor="accuracy",
                keep="last",
            ),
            "infer": spec(Inference, batch_size=4, tta="flip"),
        }
    ).lock()


def _large() -> ConfigDict:
    config = _small().copy_and_resolve_references()
    with config.unlocked():
        config.name = "tumor4_volume_large"
        config.data.update(subjects=6000, shape=(96, 128, 96), spacing=1.875, size=160, slices=96)
        config.model.update(width=32, blocks=(1, 3, 4, 6, 6, 6), stem=1)
        config.train.update(steps=20_000, ema=0.999, eval_every=1000, checkpoint_every=500)
    return config.lock()


VARIANTS = {"": _small, "large": _large}
