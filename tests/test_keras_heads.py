"""Keras's files as people have them: without a head, with one of their own, or with the network nested in a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weight_files import write_keras

from brainjax import models
from brainjax.types import CheckpointError
from brainjax.weights import load_pretrained
from brainjax.weights.keras_file import read_keras
from brainjax.weights.names import layers

SUFFIXES = (".h5", ".keras", ".weights.h5")
MODEL = models.ResNet(num_classes=3, stages=(1,), width=4, variant="v1")
KINDS = {"conv": "Conv2D", "norm": "BatchNormalization", "dense": "Dense", "flattened": "Dense"}
EMPTY = ("Dropout", "drop", [])
each_layout = pytest.mark.parametrize("suffix", SUFFIXES)


def zeros(model, size=32):
    """Variables of zeros: what is not filled shows."""
    x = jnp.zeros((1, size, size, 3))
    shapes = jax.eval_shape(lambda k: model.init(k, x, train=False), jax.random.key(0))
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)


def numbered(*shapes):
    """Arrays of ones, twos, and so on."""
    return [np.full(shape, i + 1, np.float32) for i, shape in enumerate(shapes)]


def backbone(model, variables):
    """[(class, name, arrays)] of the network below its head, as Keras would save it."""
    found = []
    for layer in layers(model):
        if layer.path.startswith("head/"):
            continue
        at = variables
        for step in layer.path.split("/"):
            at = {part: tree[step] for part, tree in at.items() if step in tree}
        if layer.kind == "norm":
            (width,) = at["params"]["norm"]["scale"].shape
            shapes = [(width,)] * 4
        else:
            shapes = [value.shape for value in (at["params"][k] for k in ("kernel", "bias"))]
        found.append((KINDS[layer.kind], layer.keras, numbered(*shapes)))
    return found


def dense(name, width, classes, value=1.0):
    kernel = np.full((width, classes), value, np.float32)
    return "Dense", name, [kernel, np.full(classes, value, np.float32)]


def loaded(tmp_path, suffix, there, model=MODEL):
    return load_pretrained(write_keras(tmp_path / f"w{suffix}", there), model, zeros(model))


def is_filled(filled):
    """Whether the backbone was taken over, all of it."""
    return all(np.all(leaf) for leaf in jax.tree.leaves(filled.variables["params"]["encoder"]))


def head_of(filled):
    return filled.variables["params"]["head"]["out"]


BODY = backbone(MODEL, zeros(MODEL))
WIDTH = zeros(MODEL)["params"]["head"]["out"]["kernel"].shape[0]


@each_layout
def test_a_file_without_a_head_leaves_the_head_as_it_is(suffix, tmp_path):
    """Keras's include_top=False."""
    filled = loaded(tmp_path, suffix, BODY)
    assert filled.kept == {"head/out": "not in these weights"}
    assert is_filled(filled) and not head_of(filled)["kernel"].any()


@pytest.mark.parametrize("name", ["predictions", "dense", "dense_3", "probs", "Logits"])
@each_layout
def test_a_head_of_any_name_is_taken_by_its_shape(suffix, name, tmp_path):
    filled = loaded(tmp_path, suffix, [*BODY, dense(name, WIDTH, 3)])
    assert not filled.kept
    assert is_filled(filled) and head_of(filled)["kernel"].all() and head_of(filled)["bias"].all()


@pytest.mark.parametrize("last", ["predictions", "dense_1"])
@each_layout
def test_a_deeper_head_is_another(suffix, last, tmp_path):
    """Its first layer is no layer of classes, even where their number is the same; nor has its last the width."""
    there = [*BODY, dense("dense", WIDTH, 3), EMPTY, dense(last, 3, 3)]
    filled = loaded(tmp_path, suffix, there)
    assert filled.kept == {"head/out": "the head is another there"}
    assert is_filled(filled) and not head_of(filled)["kernel"].any()


@each_layout
def test_a_network_that_is_one_layer_of_a_model_is_found(suffix, tmp_path):
    own = ("BatchNormalization", "more", numbered(*[(WIDTH,)] * 4))
    there = [("Functional", "resnet50", BODY), own, dense("dense_1", WIDTH, 5)]
    filled = loaded(tmp_path, suffix, there)
    assert filled.kept == {"head/out": "5 classes there, 3 here"}
    assert is_filled(filled)


@each_layout
def test_a_network_that_a_model_has_twice_is_refused(suffix, tmp_path):
    there = [("Functional", "one", BODY), ("Functional", "other", BODY)]
    with pytest.raises(CheckpointError, match="holds this network twice"):
        loaded(tmp_path, suffix, there)


@each_layout
def test_a_missing_layer_below_the_head_is_still_another_network(suffix, tmp_path):
    for there in (BODY[:-1], [("Functional", "resnet50", BODY[1:]), dense("dense", WIDTH, 3)]):
        with pytest.raises(CheckpointError, match="is of another network: it lacks"):
            loaded(tmp_path, suffix, there)


@pytest.mark.parametrize("names", [("fc1", "fc2", "predictions"), ("fc1", "fc2", "out"), "abc"])
@each_layout
def test_vgg_s_three_dense_layers_are_told_apart_by_their_order(suffix, names, tmp_path):
    model = models.VGG(num_classes=2, head="dense", hidden=(6, 6), convs=(1,), width=3)
    variables = zeros(model, 14)
    widths = zip(names, (147, 6, 6), (6, 6, 2), (1, 2, 3), strict=True)
    there = [*backbone(model, variables), *(dense(*layer) for layer in widths)]
    file = write_keras(tmp_path / f"w{suffix}", there)
    head = load_pretrained(file, model, variables).variables["params"]["head"]
    assert [float(head[k]["bias"][0]) for k in ("hidden1", "hidden2", "out")] == [1, 2, 3]
    there = there[:1]
    filled = load_pretrained(write_keras(file, there), model, variables)
    assert sorted(filled.kept) == ["head/hidden1", "head/hidden2", "head/out"]


def test_the_names_in_a_config_are_not_those_of_its_file(tmp_path):
    """Keras counts layers anew in each file: what is 'dense_1' there may be the first, 'dense'."""
    there = [dense("dense_1", 2, 2, 1.0), dense("dense_2", 2, 2, 2.0)]
    found = read_keras(write_keras(tmp_path / "w.keras", there)).layers
    assert [(name, arrays[1][0]) for name, arrays in found.items()] == [
        ("dense_1", 1.0),
        ("dense_2", 2.0),
    ]


def test_pytorch_s_tensors_may_lack_the_head_too(tmp_path):
    from weight_files import write_pth

    model = models.VGG(num_classes=2, head="dense", hidden=(6, 6), convs=(1,), width=3)
    tensors = {
        "features.0.weight": np.ones((3, 3, 3, 3), np.float32),
        "features.0.bias": np.ones(3, np.float32),
    }
    filled = load_pretrained(write_pth(tmp_path / "w.pth", tensors), model, zeros(model, 14))
    assert sorted(filled.kept) == ["head/hidden1", "head/hidden2", "head/out"]
    assert is_filled(filled)
