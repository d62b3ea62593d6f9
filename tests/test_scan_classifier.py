"""A classifier of whole heads: its network, what it makes of scans, and what it refuses."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from heads import head

from brainjax.config import load, to_dict
from brainjax.infer import Classifier, ScanClassifier, release
from brainjax.infer.evaluate import evaluate
from brainjax.models import ResidualEncoderUNet, VolumeClassifier
from brainjax.train.restore import open_model
from brainjax.types import CheckpointError, ConfigError, DataError

CLASSES = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")


@pytest.fixture(scope="module")
def stored():
    """A release with random weights."""
    config = load("configs/volume_classifier.py").copy_and_resolve_references()
    with config.unlocked():
        config.data.update(shape=(16, 16, 16), spacing=14.0)
        config.model.update(width=4, blocks=(1, 1))
    model = VolumeClassifier(num_classes=4, width=4, blocks=(1, 1))
    init = jax.jit(lambda key: model.init(key, jnp.zeros((1, 16, 16, 16, 1)), train=False))
    facts = {"task": "classification", "rank": 3, "channels": ["t1ce"], "classes": list(CLASSES)}
    return release.Release(to_dict(config), facts, init(jax.random.key(0)))


@pytest.fixture(scope="module")
def model(stored):
    return ScanClassifier(stored.config, stored.facts, stored.variables)


def names(model):
    shapes = jax.eval_shape(
        lambda key: model.init(key, jnp.zeros((1, 16, 16, 16, 1)), train=False), jax.random.key(0)
    )
    flat = flax.traverse_util.flatten_dict(shapes["params"], sep="/")
    return {name: leaf.shape for name, leaf in flat.items()}


def test_the_encoder_is_that_of_the_segmenter_name_by_name():
    ours = names(VolumeClassifier(width=4, blocks=(1, 2), stem=1))
    theirs = names(
        ResidualEncoderUNet(features=(4, 8), blocks=(1, 2), strides=(1, 2), norm="batch")
    )
    encoder = {n: s for n, s in ours.items() if not n.startswith("head/")}
    assert encoder and encoder.items() <= theirs.items()


@pytest.mark.parametrize("fields", [{"blocks": ()}, {"blocks": (0, 1)}, {"stem": 0}])
def test_a_network_without_stages_is_refused(fields):
    with pytest.raises(ConfigError, match="must be 1 or more"):
        names(VolumeClassifier(**fields))


def test_a_scan_gets_a_probability_of_every_class_however_it_is_stored(model):
    found = model(head())
    assert tuple(found) == CLASSES and sum(found.values()) == pytest.approx(1, abs=1e-5)
    turned = model.probabilities([head(codes="PIL"), head(shape=(64, 80, 70), spacing=(3, 3, 3))])
    np.testing.assert_allclose(turned[0], list(found.values()), atol=0.02)


def test_mirror_averaging_is_of_left_and_right(model):
    dataset = model.dataset([head()])
    mirrored = model.dataset([head()])
    mirrored.image[:] = dataset.image[:, ::-1]
    row = np.zeros(1, np.int64)
    both = [
        model.predictor.probabilities(model.variables, model.source(one), row)
        for one in (dataset, mirrored)
    ]
    np.testing.assert_allclose(*both, atol=1e-5)


def test_the_evidence_lies_on_the_scan_s_own_grid(model):
    scan = head(codes="LSA")
    heat = model.heat(scan, "pituitary_tumor")
    assert heat.data.shape == scan.data.shape and np.array_equal(heat.affine, scan.affine)
    assert heat.data.min() >= 0 and heat.data.max() <= 1
    with pytest.raises(DataError, match="choose one of glioma_tumor"):
        model.heat(scan, "cat")


def test_scores_of_labelled_volumes(model):
    dataset = model.dataset([head(), head(shift=(9.0, 0.0, 0.0))])
    scores = evaluate(model.predictor, model.variables, model.source(dataset), np.arange(2))
    assert scores.metrics["n_images"] == 2 and scores.probabilities.shape == (2, 4)


def test_nothing_to_classify_and_an_empty_scan_are_refused(model):
    with pytest.raises(DataError, match="no scans"):
        model.probabilities([])
    with pytest.raises(DataError, match="every voxel"):
        model(head().with_data(np.zeros((80, 96, 84))))


def test_a_release_is_opened_by_the_class_it_is_for(stored, tmp_path):
    release.save(tmp_path, stored)
    assert isinstance(open_model(tmp_path), ScanClassifier)
    assert ScanClassifier.load(tmp_path).classes == CLASSES
    with pytest.raises(
        CheckpointError, match=r"classification of volumes; .*infer\.ScanClassifier"
    ):
        Classifier.load(tmp_path)
