"""Published weights: the reference's logits, without the reference."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import parity
import pytest
from safetensors.numpy import save_file
from weight_files import write_keras, write_pth

from brainjax import models
from brainjax.models import UNet
from brainjax.models.vgg import VGGEncoder
from brainjax.types import CheckpointError, ConfigError
from brainjax.weights import load_pretrained

GOLDENS = json.loads(parity.GOLDENS.read_text())
PORTS = json.loads(parity.PORTS.read_text())
# The variant of our network that has Keras's padding, strides and norms.
KERAS = {"ResNet": {"variant": "v1"}, "VGG": {}}
each = pytest.mark.parametrize("network", parity.NETWORKS)
TOLERANCE = {"atol": 1e-4, "rtol": 0}


def ours(network, *, keras=False, **fields):
    more = KERAS.get(network, {"variant": "keras"}) if keras else {}
    return models.get(network)(num_classes=parity.CLASSES, **{**more, **fields})


def empty(model, channels=3):
    """Variables of zeros: what is not filled shows."""
    x = jnp.zeros((1, 64, 64, channels))
    shapes = jax.eval_shape(lambda k: model.init(k, x, train=False), jax.random.key(0))
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)


def logits(model, variables, x):
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False))
    return np.asarray(apply(variables, x))


def torch_tensors(network, goldens=GOLDENS):
    shapes = {n: tuple(s) for n, s in goldens[network]["torch"].items()}
    return {n: parity.weights(n, s, parity.torch_kind(n, s)) for n, s in shapes.items()}


def keras_layers(network):
    """[(class, name, arrays)] of the golden network."""
    return [
        (
            kind,
            name,
            [
                parity.weights(f"{name}/{i}", tuple(s), k)
                for i, (s, k) in enumerate(
                    zip(shapes, parity.keras_kinds(kind, shapes), strict=True)
                )
            ],
        )
        for kind, name, shapes in GOLDENS[network]["keras"]
    ]


def with_vgg_s_head(filled, network, kernel, bias):
    """Published VGGs end in three dense layers; those of the goldens in one, which is put in by hand."""
    if network != "VGG":
        assert not filled.kept
        return filled.variables
    assert filled.kept == {"head/out": "not in these weights"}
    filled.variables["params"]["head"]["out"] = {"kernel": kernel, "bias": bias}
    return filled.variables


@each
def test_torchvision_s_weights_give_torchvision_s_logits(network, tmp_path):
    model, x, tensors = ours(network), parity.image(64), torch_tensors(network)
    filled = load_pretrained(write_pth(tmp_path / "w.pth", tensors), model, empty(model))
    head = (
        [tensors[f"classifier.0.{k}"].T for k in ("weight", "bias")] if network == "VGG" else (0, 0)
    )
    found = logits(model, with_vgg_s_head(filled, network, *head), x)[0]
    np.testing.assert_allclose(found, GOLDENS[network]["torch_logits"], **TOLERANCE)


@pytest.mark.parametrize("network", parity.PORTED)
def test_ported_weights_give_their_package_s_logits(network, tmp_path):
    """efficientnet-pytorch's names, for TensorFlow's EfficientNet and EfficientNet-Lite."""
    model = models.EfficientNet(num_classes=parity.CLASSES, **parity.PORTED[network])
    file = write_pth(tmp_path / "w.pth", torch_tensors(network, PORTS))
    filled = load_pretrained(file, model, empty(model))
    assert not filled.kept
    assert filled.normalize == ("symmetric" if model.variant == "lite" else "imagenet")
    found = logits(model, filled.variables, parity.image(64))[0]
    np.testing.assert_allclose(found, PORTS[network]["torch_logits"], **TOLERANCE)


def efficientnet_tensors(variant):
    """B0's, as torchvision names them or, of Keras's variant, efficientnet-pytorch."""
    ported = variant == "keras"
    return torch_tensors("efficientnet-b0", PORTS) if ported else torch_tensors("EfficientNet")


def efficientnet_file(variant, suffix, folder):
    """B0's weights as PyTorch or Keras store them."""
    file = folder / f"w{suffix}"
    if suffix != ".pth":
        return write_keras(file, keras_layers("EfficientNet"))
    return write_pth(file, efficientnet_tensors(variant))


@pytest.mark.parametrize(
    "variant, suffix",
    [("torchvision", ".pth"), *(("keras", s) for s in (".pth", ".h5", ".weights.h5"))],
)
def test_the_first_stages_of_an_efficientnet_take_theirs(variant, suffix, tmp_path):
    file = efficientnet_file(variant, suffix, tmp_path)
    whole = models.EfficientNet(num_classes=parity.CLASSES, variant=variant)
    whole = load_pretrained(file, whole, empty(whole)).variables
    model = models.EfficientNet(variant=variant, stages=6, last=False)
    filled = load_pretrained(file, model, empty(model))
    why = "not in these weights" if suffix == ".pth" else "the head is another there"
    assert filled.kept == {"head/out": why}
    for part, found in filled.variables.items():
        layers = {name: arrays for name, arrays in found.items() if name != "head"}
        jax.tree.map(np.testing.assert_array_equal, layers, {n: whole[part][n] for n in layers})
        assert "stage6_block4" in layers and "stage7_block1" not in layers
    deeper = models.EfficientNet(variant=variant, stages=6, last=False, depth=1.1)
    with pytest.raises(CheckpointError, match="of another network"):
        load_pretrained(file, deeper, empty(deeper))


EXTRA = {"torchvision": "features.1.1.block.0.0", "keras": "_blocks.16._expand_conv"}


@pytest.mark.parametrize("variant", EXTRA)
def test_a_deeper_efficientnet_is_not_taken_in_part(variant, tmp_path):
    extra, tensors = EXTRA[variant], efficientnet_tensors(variant)
    tensors[f"{extra}.weight"] = np.zeros((32, 1, 3, 3), np.float32)
    file = write_pth(tmp_path / "w.pth", tensors)
    for cut in ({}, {"stages": 6, "last": False}):
        model = models.EfficientNet(variant=variant, **cut)
        with pytest.raises(CheckpointError, match=f"goes on with '{extra}'"):
            load_pretrained(file, model, empty(model))


@each
def test_keras_s_weights_give_keras_s_logits(network, tmp_path):
    model, x, layers = ours(network, keras=True), parity.image(64), keras_layers(network)
    filled = load_pretrained(write_keras(tmp_path / "w.weights.h5", layers), model, empty(model))
    found = logits(model, with_vgg_s_head(filled, network, *layers[-1][2]), x)[0]
    np.testing.assert_allclose(found, GOLDENS[network]["keras_logits"], **TOLERANCE)


def test_vgg_s_dense_layers_read_the_grid_as_pytorch_flattens_it(tmp_path):
    model = models.VGG(num_classes=2, head="dense", hidden=(6, 4), convs=(1,), width=3)
    sizes = {
        **{"features.0": (3, 3, 3, 3), "classifier.0": (6, 3 * 7 * 7)},
        **{"classifier.3": (4, 6), "classifier.6": (2, 4)},
    }
    tensors = {f"{n}.weight": parity.weights(n, s, "weight") for n, s in sizes.items()}
    tensors |= {f"{n}.bias": parity.weights(f"{n}.bias", s[:1], "small") for n, s in sizes.items()}
    x = parity.image(14)
    shapes = jax.eval_shape(lambda k: model.init(k, x, train=False), jax.random.key(0))
    file = write_pth(tmp_path / "w.pth", tensors)
    variables = load_pretrained(file, model, shapes).variables
    encoder = VGGEncoder((1,), 3)
    y = encoder.apply({"params": variables["params"]["encoder"]}, x)  # [1 7 7 3]
    y = np.asarray(y).transpose(0, 3, 1, 2).reshape(1, -1)
    for name in ("classifier.0", "classifier.3", "classifier.6"):
        y = y @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]
        y = y if name.endswith("6") else np.maximum(y, 0)
    np.testing.assert_allclose(logits(model, variables, x), y, atol=1e-5)


@each
def test_every_layout_holds_the_same(network, tmp_path):
    same = jax.tree_util.Partial(jax.tree.map, np.testing.assert_array_equal)
    model = ours(network)
    pth = load_pretrained(
        write_pth(tmp_path / "w.pth", torch_tensors(network)), model, empty(model)
    )
    save_file(torch_tensors(network), tmp_path / "w.safetensors")
    same(load_pretrained(tmp_path / "w.safetensors", model, empty(model)).variables, pth.variables)
    model = ours(network, keras=True)
    files = [
        write_keras(tmp_path / f"w{s}", keras_layers(network))
        for s in (".h5", ".keras", ".weights.h5")
    ]
    first, *others = [load_pretrained(f, model, empty(model)) for f in files]
    for other in others:
        same(other.variables, first.variables)
    # What the libraries' own preprocessing makes of an image.
    others = {"MobileNetV2": "symmetric", "EfficientNet": "imagenet"}
    assert (pth.normalize, first.normalize) == ("imagenet", others.get(network, "caffe"))


def test_a_grey_image_needs_one_channel_only(tmp_path):
    file = write_pth(tmp_path / "w.pth", torch_tensors("MobileNetV2"))
    grey = parity.image(64)[..., :1]
    model = ours("MobileNetV2")
    three = load_pretrained(file, model, empty(model)).variables
    one = load_pretrained(file, model, empty(model, channels=1)).variables
    expected = logits(model, three, np.repeat(grey, 3, -1))
    np.testing.assert_allclose(logits(model, one, grey), expected, atol=1e-5)


def test_another_number_of_classes_keeps_the_last_layer(tmp_path):
    model = models.MobileNetV2(num_classes=2)
    file = write_pth(tmp_path / "w.pth", torch_tensors("MobileNetV2"))
    filled = load_pretrained(file, model, empty(model))
    assert filled.kept == {"head/out": "5 classes there, 2 here"}
    assert not filled.variables["params"]["head"]["out"]["kernel"].any()
    assert filled.variables["params"]["last_conv"]["kernel"].any()


SEGMENTERS = {
    "ResNetUNet": {},
    "TransUNet": {
        **{"encoder": "resnet", "stages": (3, 4, 6), "width": 8, "depth": 1, "heads": 2},
        "decoder": (4, 4, 4, 4, 4),
    },
}


@pytest.mark.parametrize("suffix", [".pth", ".h5"])
@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_classifier_s_encoder_fills_that_of_a_segmenter(name, suffix, tmp_path):
    keras = suffix == ".h5"
    model = models.get(name)(variant="v1" if keras else "v1.5", **SEGMENTERS[name])
    classifier, file = ours("ResNet", keras=keras), tmp_path / f"w{suffix}"
    if keras:
        write_keras(file, keras_layers("ResNet"))
    else:
        write_pth(file, torch_tensors("ResNet"))
    filled = load_pretrained(file, model, empty(model))
    whole = load_pretrained(file, classifier, empty(classifier)).variables
    stages = [f"stage{i + 1}" for i in range(len(model.stages))]
    for part in ("params", "batch_stats"):
        found = filled.variables[part]["encoder"]
        expected = {
            layer: arrays
            for layer, arrays in whole[part]["encoder"].items()
            if layer.startswith(("stem", *stages))
        }
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert filled.kept and not any(path.startswith("encoder") for path in filled.kept)


@pytest.mark.parametrize("suffix", [".pth", ".h5", ".weights.h5"])
def test_a_stage_of_a_deeper_network_is_not_taken_in_part(suffix, tmp_path):
    """ResNet-101's third stage begins like ResNet-50's; its first six blocks are no network."""
    keras = "h5" in suffix
    fields = {**SEGMENTERS["TransUNet"], "stages": (3, 3), "decoder": (4, 4, 4, 4)}
    model = models.TransUNet(variant="v1" if keras else "v1.5", **fields)
    if keras:
        file = write_keras(tmp_path / f"w{suffix}", keras_layers("ResNet"))
    else:
        file = write_pth(tmp_path / f"w{suffix}", torch_tensors("ResNet"))
    with pytest.raises(CheckpointError, match=r"another network: (it|its last stage) goes on"):
        load_pretrained(file, model, empty(model))


def test_every_tensor_is_needed(tmp_path):
    """None is left at its first value unnoticed: neither a layer nor the half of one."""
    tensors = torch_tensors("MobileNetV2")
    model = ours("MobileNetV2")
    variables = empty(model)
    for name in list(tensors)[::17] + ["classifier.1.bias", "features.0.1.running_var"]:
        less = {n: t for n, t in tensors.items() if n != name}
        save_file(less, tmp_path / "w.safetensors")
        with pytest.raises(CheckpointError, match="another network"):
            load_pretrained(tmp_path / "w.safetensors", model, variables)


def test_a_transunet_names_the_fields_that_take_a_resnet_s_weights(tmp_path):
    file = write_pth(tmp_path / "w.pth", {"w": np.zeros(1, np.float32)})
    for fields in ({}, {"encoder": "resnet"}):
        with pytest.raises(ConfigError, match=r"variant='v1.5'.*stages=\(3, 4, 6\)"):
            load_pretrained(file, models.TransUNet(**fields), {})


def test_weights_of_another_network_are_refused(tmp_path):
    file = write_pth(tmp_path / "w.pth", torch_tensors("MobileNetV2"))
    with pytest.raises(CheckpointError, match=r"another network: it lacks conv1.weight"):
        load_pretrained(file, ours("ResNet"), {})
    wide = ours("MobileNetV2", width=0.5)
    with pytest.raises(CheckpointError, match=r"another network: params/.* there, .* here"):
        load_pretrained(file, wide, empty(wide))
    with pytest.raises(ConfigError, match="no published weights for UNet"):
        load_pretrained(file, UNet(), {})


def test_the_other_library_s_variant_is_named(tmp_path):
    pth = write_pth(tmp_path / "w.pth", torch_tensors("ResNet"))
    h5 = write_keras(tmp_path / "w.h5", keras_layers("ResNet"))
    for file, model in ((pth, ours("ResNet", keras=True)), (h5, ours("ResNet"))):
        with pytest.raises(CheckpointError, match="is `variant` that of the file's library?"):
            load_pretrained(file, model, empty(model))


needs = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("torch", "torchvision", "keras"))),
    reason="torch, torchvision and keras are not installed; pip install -e '.[parity]' for the full parity tests",
)


def agree(found, expected):
    """To 1e-4, where logits are neither so large that rounding is more, nor so small that anything agrees."""
    assert 0.1 < np.abs(expected).max() < 20
    np.testing.assert_allclose(found, expected, **TOLERANCE)


@needs
@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@each
def test_parity_with_torchvision_itself(network, suffix, tmp_path):
    import torch
    from safetensors.torch import save_file

    reference, x, file = parity.torch_model(network), parity.image(96), tmp_path / f"w{suffix}"
    (torch.save if suffix == ".pth" else save_file)(reference.state_dict(), file)
    model = ours(network)
    filled = load_pretrained(file, model, empty(model))
    head = reference.classifier[0] if network == "VGG" else None
    head = (head.weight.detach().numpy().T, head.bias.detach().numpy()) if head else (0, 0)
    expected = parity.torch_logits(reference, x)
    agree(logits(model, with_vgg_s_head(filled, network, *head), x), expected)


@needs
@pytest.mark.slow
@pytest.mark.parametrize("network", parity.PORTED)
def test_parity_with_the_ported_efficientnets_themselves(network, tmp_path):
    import torch

    pytest.importorskip("efficientnet_lite_pytorch", reason="pip install -e '.[parity]'")
    reference, x, file = parity.ported_model(network), parity.image(64), tmp_path / "w.pth"
    torch.save(reference.state_dict(), file)
    model = models.EfficientNet(num_classes=parity.CLASSES, **parity.PORTED[network])
    filled = load_pretrained(file, model, empty(model))
    agree(logits(model, filled.variables, x), parity.torch_logits(reference, x))


@needs
@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
@each
def test_parity_with_keras_itself(network, suffix, tmp_path):
    reference, x = parity.keras_model(network), parity.image(64)
    file = tmp_path / f"w{suffix}"
    reference.save_weights(file) if suffix == ".weights.h5" else reference.save(file)
    model = ours(network, keras=True)
    filled = load_pretrained(file, model, empty(model))
    head = reference.layers[-1].get_weights() if network == "VGG" else (0, 0)
    expected = parity.keras_logits(reference, network, x)
    agree(logits(model, with_vgg_s_head(filled, network, *head), x), expected)


@needs
@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
def test_parity_with_keras_s_vgg_and_its_three_dense_layers(suffix, tmp_path):
    """The network as published, at a smaller size: fc1, fc2 and predictions."""
    reference, x = (
        parity.keras_vgg(),
        parity.image(64) / 4,
    )  # logits of order one behind sixteen layers
    file = tmp_path / f"w{suffix}"
    reference.save_weights(file) if suffix == ".weights.h5" else reference.save(file)
    model = models.VGG(num_classes=parity.CLASSES, head="dense")
    filled = load_pretrained(file, model, empty(model))
    assert not filled.kept
    agree(logits(model, filled.variables, x), parity.keras_logits(reference, "VGG", x))
