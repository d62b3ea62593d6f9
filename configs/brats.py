"""Gliomas in whole volumes: whole tumour, tumour core and enhancing tumour, each a sigmoid of its own.

    python -m experiments.train --config=configs/brats.py
        A small 3D U-Net on the embedded synthetic heads with four modalities; no download, for CPUs.
    python -m experiments.train --config=configs/brats.py:four
        For longer, on more heads, now and then without one or two sequences. 1600 steps, some 30 minutes on two busy CPU
        cores: whole tumour 0.724, core 0.435, enhancing 0.917 on eight held-out synthetic heads.
    python -m experiments.train --config=configs/brats.py:complete
        Goes on from that run, in checkpoints/runs/brats_four, with all four sequences and a smoother Dice. 1600 steps, 29
        minutes beside other work: 0.927, 0.835 and 0.971 on eight held-out synthetic heads after clean-up.
    python -m experiments.train --config=configs/brats.py:vessels
        Goes on from that run, in checkpoints/runs/brats_complete, on heads with veins, sinuses and choroid plexus, and with
        any selection of the sequences. 1400 steps, 22 minutes beside other work: 0.912, 0.829 and 0.971.
    python -m experiments.train --config=configs/brats.py:any
        With any selection of the four sequences, one alone too. 1800 steps, 26 minutes likewise: 0.633, 0.566 and 0.781.
    python -m experiments.train --config=configs/brats.py:brats --config.data.dir=DIR
        BraTS 2018 to 2021 or 2023 as distributed, with nnU-Net's residual encoder (Isensee et al. 2024, arXiv:2404.09556)
        and deep supervision, patches of 128; for accelerators. experiments.prepare --plan fits it to another memory.
    python -m experiments.train --config=configs/brats.py:brats2013 --config.data.dir=DIR
        The two patients of BRATS 2013 that DeepMedic shares, FLAIR and T1ce: one trains, the other tests, and with
        --config.split.fold=1 the other way round: whole tumour 0.376 and 0.160, one patient is not enough.

Other variants: narrow and plain, the networks of two reference systems on BraTS (8 to 128 features with batch norm, trained
on TPUs; 16 to 256 without any norm), each with our three regions and all four modalities; their scores are not measured
yet. None of the networks trained on synthetic heads is good enough for real scans: they call venous sinuses, which the stripped
heads of all but `vessels` lack, enhancing tumour, and `vessels` takes bright oedema for the core.
"""

from ml_collections import ConfigDict

from brainjax.config import spec
from brainjax.datasets import Brats, Brats2013, splits
from brainjax.models import ResidualEncoderUNet, UNet
from brainjax.models.unet import BRATS_NARROW, BRATS_PLAIN
from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """The experiment called `variant`, see the top of this file."""
    return base.choose(variant, VARIANTS)


def _small() -> ConfigDict:
    return spec(
        UNet,
        num_classes=3,
        features=(16, 32, 64, 128),
        norm="instance",
        activation="leaky_relu",
        upsample="resize",
    )


def _four() -> ConfigDict:
    """The small network for longer, on more heads; now and then without one or two of the sequences."""
    config = base.volumes("brats_four", _small()).copy_and_resolve_references()
    with config.unlocked():
        config.data.update(subjects=160, size=112, slices=72, healthy=0.15)
        config.augment.update(missing=0.3, missing_most=2, gamma=0.4, contrast=0.3, p_intensity=0.4)
        config.train.update(steps=1600, ema=0.995, eval_every=1600, keep="last")
    return config.lock()


def _any() -> ConfigDict:
    """One network for whatever was scanned: sequences are lost in training as they are missing in clinics."""
    # As the stripper's: the network works at half the resolution and sees and gives every voxel.
    network = spec(
        UNet,
        num_classes=3,
        features=(32, 64, 96, 128),
        patch=2,
        norm="instance",
        activation="leaky_relu",
        upsample="linear",
    )
    config = base.volumes("brats_any", network).copy_and_resolve_references()
    with config.unlocked():
        config.data.update(subjects=200, size=112, slices=72, healthy=0.1)
        config.augment.update(
            patch=(64, 64, 64),
            missing=0.6,
            missing_most=3,
            gamma=0.5,
            contrast=0.3,
            p_intensity=0.5,
        )
        config.optimizer.learning_rate = 1.5e-3
        config.train.update(steps=1800, ema=0.995, eval_every=1800, keep="last")
    return config.lock()


def _brats(name: str, model: ConfigDict) -> ConfigDict:
    config = base.volumes(name, model).copy_and_resolve_references()
    with config.unlocked():
        config.data = spec(Brats, dir="data/brats")
        config.split = spec(splits.by_patient, test=0.2, val=0.03)
        config.augment.update(
            patch=(128, 128, 128),
            foreground=0.33,
            flip=(0.5, 0.5, 0.5),
            p_affine=0.3,
            p_elastic=0.1,
        )
        config.train.update(steps=50_000, ema=0.999, eval_every=5000, checkpoint_every=1000)
        config.optimizer.learning_rate = 1e-3
        config.infer.update(tta="flip", mirror=(0, 1, 2), min_voxels=50)
    return config.lock()


def _brats2013() -> ConfigDict:
    config = base.volumes("brats2013", _small()).copy_and_resolve_references()
    with config.unlocked():
        config.data = spec(Brats2013, dir="data/brats_2013")
        config.split = spec(splits.k_fold, folds=2, val=0)
        # One patient is seen for the whole run: distort much.
        config.augment.update(patch=(64, 64, 64), flip=(0.5, 0.5, 0.5), p_affine=0.8, p_elastic=0.3)
        config.train.update(steps=400, keep="last")
    return config.lock()


def _reference(name: str, shape: dict) -> ConfigDict:
    return _brats(f"brats_{name}", spec(UNet, **{**shape, "num_classes": 3}))


def _complete() -> ConfigDict:
    """Goes on from `four` with all four sequences, as they are."""
    config = base.goes_on(_four(), "brats_complete", steps=1600)
    with config.unlocked():
        config.data.update(subjects=320, healthy=0.1)
        config.augment.update(missing=0.0, p_intensity=0.0, p_affine=0.0)
        config.optimizer.learning_rate = 1.5e-3
        # Most patches lack a region. With 1 instead, probabilities that sum to one voxel of 200,000 cost such a patch half
        # its Dice.
        config.loss.smooth = 100.0
        # 0.3 ml: fewer voxels of a region are taken for none.
        config.infer.min_voxels = 30
    return config.lock()


def _vessels() -> ConfigDict:
    """Goes on from `complete` on heads with veins, sinuses and choroid plexus, and with any selection of sequences."""
    config = base.goes_on(_complete(), "brats_vessels", steps=1400)
    with config.unlocked():
        config.data.vessels = True
        config.augment.update(missing=0.5, missing_most=3, p_intensity=0.4, p_affine=0.4)
    return config.lock()


VARIANTS = {
    "": lambda: base.volumes("brats_synthetic", _small()),
    "four": _four,
    "complete": _complete,
    "vessels": _vessels,
    "any": _any,
    "brats": lambda: _brats(
        "brats", spec(ResidualEncoderUNet, num_classes=3, deep_supervision=4, remat=True)
    ),
    "brats2013": _brats2013,
    "narrow": lambda: _reference("narrow", BRATS_NARROW),
    "plain": lambda: _reference("plain", BRATS_PLAIN),
}
