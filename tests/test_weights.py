"""Published weights: the reference's logits, without the reference; and nothing but tensors out of a pickle."""

import functools
import importlib.util
import io
import json
import os
import pickle
import struct
import zipfile

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import parity
import pytest
from safetensors.numpy import save_file

from brainjax import models
from brainjax.models import ResNetUNet, UNet
from brainjax.models.vgg import VGGEncoder
from brainjax.types import CheckpointError, ConfigError
from brainjax.weights import load_pretrained
from brainjax.weights.keras_file import class_name, read_keras
from brainjax.weights.torch_file import read_torch

GOLDENS = json.loads(parity.GOLDENS.read_text())
# The variant of our network that has Keras's padding, strides and norms.
KERAS = {"ResNet": {"variant": "v1"}, "VGG": {}}
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
each = pytest.mark.parametrize("network", parity.NETWORKS)
TOLERANCE = {"atol": 1e-4, "rtol": 1e-5}


def ours(network, *, keras=False, **fields):
    more = KERAS.get(network, {"variant": "keras"}) if keras else {}
    return models.get(network)(num_classes=parity.CLASSES, **{**more, **fields})


def empty(model, channels=3):
    """Variables of zeros: what is not filled shows."""
    x = jnp.zeros((1, 64, 64, channels))
    shapes = jax.eval_shape(lambda k: model.init(k, x, train=False), jax.random.key(0))
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)


def logits(model, variables, x):
    apply = jit(lambda v, x: model.apply(v, x, train=False))
    return np.asarray(apply(variables, x))


def torch_tensors(network):
    shapes = {n: tuple(s) for n, s in GOLDENS[network]["torch"].items()}
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


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def numbers(values):
    return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"


def pickled_tensor(key, count, shape, strides, offset=0, storage=b"FloatStorage"):
    """What torch.save writes of one tensor, opcode by opcode."""
    where = b"(" + text("storage") + b"ctorch\n" + storage + b"\n" + text(key) + text("cpu")
    where += b"J" + struct.pack("<i", count) + b"tQ"
    ordered = b"ccollections\nOrderedDict\n)R"
    place = where + b"J" + struct.pack("<i", offset) + numbers(shape) + numbers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + place + b"\x89" + ordered + b"tR"


def write_pth(path, tensors, *, listing=None):
    """A .pth file as PyTorch writes it; `listing` replaces its pickle."""
    if listing is None:
        body = b""
        for i, (name, value) in enumerate(tensors.items()):
            strides = [s // value.itemsize for s in value.strides]
            body += text(name) + pickled_tensor(str(i), value.size, value.shape, strides) + b"s"
        listing = b"\x80\x02ccollections\nOrderedDict\n)R" + body + b"."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", listing)
        archive.writestr("archive/byteorder", "little")
        for i, value in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{i}", value.tobytes())
    return path


def write_keras3(file, layers):
    """The layout of Keras 3: layers by class and number."""
    count = {}
    with h5py.File(file, "w") as h5:
        for kind, _, arrays in layers:
            kind = class_name(kind)
            number = count[kind] = count.get(kind, -1) + 1
            group = h5.create_group(
                f"layers/{kind}_{number}/vars" if number else f"layers/{kind}/vars"
            )
            for i, array in enumerate(arrays):
                group[str(i)] = array


def write_keras(path, layers):
    """A file of the layout that its suffix says."""
    if path.suffix == ".keras":
        buffer = io.BytesIO()
        write_keras3(buffer, layers)
        config = [{"class_name": kind, "config": {"name": name}} for kind, name, _ in layers]
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps({"config": {"layers": config}}))
            archive.writestr("model.weights.h5", buffer.getvalue())
    elif path.name.endswith(".weights.h5"):
        write_keras3(path, layers)
    else:
        with h5py.File(path, "w") as h5:
            group = h5.create_group("model_weights")
            group.attrs["layer_names"] = [name.encode() for _, name, _ in layers]
            for _, name, arrays in layers:
                names = [f"{name}/w{i}" for i in range(len(arrays))]
                own = group.create_group(name)
                own.attrs["weight_names"] = names
                for weight, array in zip(names, arrays, strict=True):
                    own[weight] = array
    return path


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
    first, *others = [load_pretrained(f, model, empty(model)).variables for f in files]
    for other in others:
        same(other, first)


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


def test_a_classifier_s_encoder_fills_that_of_a_segmenter(tmp_path):
    model = ResNetUNet()
    file = write_pth(tmp_path / "w.pth", torch_tensors("ResNet"))
    filled = load_pretrained(file, model, empty(model))
    whole = load_pretrained(file, ours("ResNet"), empty(ours("ResNet"))).variables
    for part in ("params", "batch_stats"):
        jax.tree.map(
            np.testing.assert_array_equal,
            filled.variables[part]["encoder"],
            whole[part]["encoder"],
        )
    assert filled.kept and not any(path.startswith("encoder") for path in filled.kept)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch pwned",)


HOSTILE = {
    "a call": pickle.dumps({"w": Hostile()}, protocol=2),
    "a newer pickle": pickle.dumps({"w": Hostile()}, protocol=4),
    "eval": b"\x80\x02cbuiltins\neval\n" + text("open('pwned', 'w')") + b"\x85R.",
    "an attribute of an allowed name": b"\x80\x02ctorch\nload\n)R.",
    "an instance": b"(ios\nsystem\nS'touch pwned'\n.",
    "a new object": b"\x80\x02cos\nsystem\n)\x81.",
    "an allowed name, wrong arguments": b"\x80\x02ccollections\nOrderedDict\n"
    + numbers([1])
    + b"R.",
    "a call of a result": b"\x80\x02ccollections\nOrderedDict\n)R)R.",
    "an object's state": b"\x80\x02]}b.",
    "a persistent object": b"\x80\x02" + text("x") + b"Q.",
    "an extension": b"\x80\x02\x82\x01.",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_pickle_creates_nothing(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write_pth(tmp_path / "w.pth", {}, listing=HOSTILE[kind])
    with pytest.raises(CheckpointError, match=r"w\.pth") as e:
        read_torch(file)
    assert "\n" not in str(e.value) and sorted(p.name for p in tmp_path.iterdir()) == ["w.pth"]


ONE = {"w": np.arange(6, dtype=np.float32)}


def listing(*arguments, **more):
    return b"\x80\x02}" + text("w") + pickled_tensor(*arguments, **more) + b"s."


def test_views_are_read_as_they_lie(tmp_path):
    file = write_pth(tmp_path / "w.pth", ONE, listing=listing("0", 6, (3, 2), (1, 3)))
    np.testing.assert_array_equal(read_torch(file)["w"], ONE["w"].reshape(2, 3).T)
    file = write_pth(tmp_path / "w.pth", ONE, listing=listing("0", 6, (2,), (2,), offset=1))
    np.testing.assert_array_equal(read_torch(file)["w"], [1, 3])


@pytest.mark.parametrize(
    "wrong",
    [
        listing("0", 6, (7,), (1,)),
        listing("0", 6, (2,), (1,), offset=5),
        listing("0", 6, (2,), (1,), offset=-1),
        listing("0", 6, (2,), (-1,)),
        listing("0", 6, (2**30, 2**30), (0, 0)),
        listing("0", 7, (6,), (1,)),
        listing("1", 6, (6,), (1,)),
        listing("0", 6, (6,), (1,), storage=b"QUInt8Storage"),
        listing("0", 6, (6,), (1,))[:-1],
        b"\x80\x02}\x94h\x00h\x00s.",
        b"",
    ],
)
def test_a_tensor_that_is_not_there_is_refused(wrong, tmp_path):
    with pytest.raises(CheckpointError, match=r"w\.pth"):
        read_torch(write_pth(tmp_path / "w.pth", ONE, listing=wrong))


def test_damaged_files_are_one_clear_error(tmp_path):
    whole = write_pth(tmp_path / "w.pth", ONE).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[whole.index(ONE["w"].tobytes()) + 3] ^= 1
    (tmp_path / "flipped.pth").write_bytes(flipped)
    (tmp_path / "w.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 50)
    (tmp_path / "w.keras").write_bytes(whole)
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 20)
    model = ours("MobileNetV2")
    for name in ("cut.pth", "flipped.pth", "w.h5", "w.keras", "w.safetensors", "w.txt", "no.pth"):
        with pytest.raises(CheckpointError, match=name) as e:
            load_pretrained(tmp_path / name, model, {})
        assert "\n" not in str(e.value)


def test_weights_of_another_network_are_refused(tmp_path):
    file = write_pth(tmp_path / "w.pth", torch_tensors("MobileNetV2"))
    with pytest.raises(CheckpointError, match=r"another network: it lacks conv1.weight"):
        load_pretrained(file, ours("ResNet"), {})
    wide = ours("MobileNetV2", width=0.5)
    with pytest.raises(CheckpointError, match=r"another network: params/.* there, .* here"):
        load_pretrained(file, wide, empty(wide))
    with pytest.raises(ConfigError, match="no published weights for UNet"):
        load_pretrained(file, UNet(), {})


needs = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("torch", "torchvision", "keras"))),
    reason="torch, torchvision and keras are not installed; pip install -e '.[parity]' for the full parity tests",
)


@needs
@pytest.mark.slow
@each
def test_parity_with_torchvision_itself(network, tmp_path):
    import torch

    reference, x = parity.torch_model(network), parity.image(96)
    torch.save(reference.state_dict(), tmp_path / "w.pth")
    model = ours(network)
    filled = load_pretrained(tmp_path / "w.pth", model, empty(model))
    head = reference.classifier[0] if network == "VGG" else None
    head = (head.weight.detach().numpy().T, head.bias.detach().numpy()) if head else (0, 0)
    expected = parity.torch_logits(reference, x)
    found = logits(model, with_vgg_s_head(filled, network, *head), x)
    np.testing.assert_allclose(found, expected, **TOLERANCE)


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
    found = logits(model, with_vgg_s_head(filled, network, *head), x)
    np.testing.assert_allclose(found, expected, **TOLERANCE)
    assert read_keras(file).layers
