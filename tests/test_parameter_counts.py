"""Parameter counts of the published shapes, from shapes alone: nothing is compiled or allocated."""

import math

import jax
import jax.numpy as jnp
import pytest

from brainjax.models import (
    VGG,
    EfficientNet,
    MobileNetV2,
    ResidualEncoderUNet,
    ResidualUNet,
    ResNet,
    ResNetUNet,
    TransUNet,
    UNet,
    ViT,
)
from brainjax.models.transunet import CONV_VIT_B, R50_VIT_B16
from brainjax.models.unet import BRATS_NARROW, BRATS_PLAIN


def shapes(model, *shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda k, x: model.init(k, x, train=False), jax.random.key(0), x)


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_unet_model_1_counts_its_moving_statistics():
    assert count(shapes(UNet(), 1, 256, 256, 3)) == 7_774_049


def test_unet_model_2_counts_what_it_trains():
    model = UNet(features=(64, 128, 256, 512), convs=(2, 2, 3, 3))
    assert count(shapes(model, 1, 256, 256, 3)["params"]) == 10_655_809


def test_resnet_50_equals_torchvision():
    variables = shapes(ResNet(num_classes=1000), 1, 224, 224, 3)
    assert count(variables["params"]) == 25_557_032
    assert count(variables["batch_stats"]) == 53_120


def test_resnet_101_equals_torchvision():
    model = ResNet(num_classes=1000, stages=(3, 4, 23, 3))
    assert count(shapes(model, 1, 64, 64, 3)["params"]) == 44_549_160


@pytest.mark.parametrize(
    "model, size, trained, statistics",
    [
        (VGG(num_classes=1000, head="dense"), 224, 138_357_544, 0),
        (VGG(num_classes=1000, head="dense", convs=(2, 2, 4, 4, 4)), 224, 143_667_240, 0),
        (MobileNetV2(num_classes=1000), 64, 3_504_872, 34_112),
        (EfficientNet(num_classes=1000), 64, 5_288_548, 42_016),
        (EfficientNet(num_classes=1000, depth=1.1), 64, 7_794_184, 62_048),
        (EfficientNet(num_classes=1000, variant="lite"), 64, 4_652_008, 42_016),
    ],
    ids=["VGG-16", "VGG-19", "MobileNetV2", "EfficientNetB0", "EfficientNetB1", "Lite0"],
)
def test_classifiers_equal_torchvision_and_keras(model, size, trained, statistics):
    variables = shapes(model, 1, size, size, 3)
    assert count(variables["params"]) == trained
    assert count(variables.get("batch_stats", {})) == statistics


def test_resnet_50_in_its_first_form_equals_keras():
    variables = shapes(ResNet(num_classes=1000, variant="v1"), 1, 64, 64, 3)
    assert count(variables) == 25_636_712


def test_vit_b_16_equals_torchvision():
    assert count(shapes(ViT(num_classes=1000), 1, 224, 224, 3)["params"]) == 86_567_656


def test_transunet_r50_vit_b16_equals_the_papers():
    params = shapes(TransUNet(num_classes=2, **R50_VIT_B16), 1, 224, 224, 3)["params"]
    parts = {
        "encoder": 11_894_848,  # hybrid ResNet, stages 3-4-9
        "transformer": 85_993_728,  # patches 787,200; positions 150,528; 12 x 7,087,872; norm 1,536
        "bridge": 3_539_968,  # 3x3 from 768 to 512
        "up3": 2_950_144,  # 512 + 512 (skip, stride 8) -> 256
        "up2": 737_792,  # 256 + 256 (stride 4) -> 128
        "up1": 147_712,  # 128 + 64 (stride 2) -> 64
        "up0": 11_584,  # 64 -> 16, no skip
        "head": 290,
    }
    assert {name: count(tree) for name, tree in params.items()} == parts
    assert count(params) == 105_276_066


def test_transunet_r50_vit_b16_at_nine_classes():
    model = TransUNet(num_classes=9, **R50_VIT_B16)
    assert count(shapes(model, 1, 224, 224, 3)["params"]) == 105_277_081


def test_transunet_with_plain_encoder_is_ten_times_unet_model_2():
    params = shapes(TransUNet(**CONV_VIT_B), 1, 256, 256, 3)["params"]
    assert count(params) == 98_152_449


def test_compact_defaults_stay_compact():
    assert count(shapes(TransUNet(), 1, 128, 128, 4)["params"]) == 1_478_609


def test_transunet_on_imagenet_s_resnet_50_has_its_first_three_stages():
    fields = {**R50_VIT_B16, "variant": "v1.5", "stages": (3, 4, 6)}
    segmenter = shapes(TransUNet(num_classes=2, **fields), 1, 224, 224, 3)
    classifier = shapes(ResNet(stages=(3, 4, 6)), 1, 64, 64, 3)
    for collection in ("params", "batch_stats"):
        assert segmenter[collection]["encoder"] == classifier[collection]["encoder"]
    assert count(segmenter["params"]["encoder"]) == 8_543_296  # torchvision's conv1 to layer3


@pytest.mark.parametrize("attention", [False, True])
def test_resnet_unet_encoder_is_the_classifiers(attention):
    segmenter = shapes(ResNetUNet(attention=attention), 1, 64, 64, 3)
    classifier = shapes(ResNet(), 1, 64, 64, 3)
    for collection in ("params", "batch_stats"):
        assert segmenter[collection]["encoder"] == classifier[collection]["encoder"]
    assert count(segmenter["params"]) == (44_318_982 if attention else 40_933_121)


@pytest.mark.parametrize(
    "model, channels, trained",
    [
        (ResidualUNet(), 1, 35_504_451),
        (ResidualUNet(variant="first"), 1, 23_780_291),
        (ResidualEncoderUNet(), 1, 102_348_961),
        (UNet(**BRATS_NARROW), 4, 1_414_156),
        (UNet(**BRATS_PLAIN), 3, 5_645_828),  # Keras's count of the same layers
    ],
    ids=["ResidualUNet", "ResidualUNet-first", "ResidualEncoderUNet", "narrow", "plain"],
)
def test_networks_for_volumes(model, channels, trained):
    assert count(shapes(model, 1, 64, 64, 64, channels)["params"]) == trained


def test_deep_supervision_adds_a_pointwise_head_for_each_further_resolution():
    alone, deep = (
        shapes(ResidualEncoderUNet(num_classes=4, deep_supervision=n), 1, 64, 64, 64, 1)
        for n in (0, 3)
    )
    heads = {"head1": (64 + 1) * 4, "head2": (128 + 1) * 4}
    more = {k: count(v) for k, v in deep["params"].items() if k not in alone["params"]}
    assert more == heads
