"""The vote of slices: which slices, how they hang, what they add up to, and scans that are hard to slice."""

import types

import jax
import numpy as np
import pytest
from heads import CENTRE, head
from tiny import make_class_config

from brainjax.config import to_dict
from brainjax.infer import Classifier
from brainjax.infer.vote import AXES, OFFSETS, explain, hung, slices, vote
from brainjax.models import ResNet
from brainjax.types import ConfigError, DataError

CLASSES = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")


def says(*probabilities):
    """A classifier that gives slice i the i-th of these in turn."""

    def answer(images):
        rows = [probabilities[i % len(probabilities)] for i in range(len(images))]
        return np.array(rows, np.float32)

    return types.SimpleNamespace(classes=CLASSES, probabilities=answer)


@pytest.fixture(scope="module")
def tiny():
    """A real classifier of four classes with random weights."""
    config = make_class_config(
        data={"size": 32}, model={"num_classes": 4, "stages": (1,), "width": 4}
    )
    shape = jax.ShapeDtypeStruct((1, 32, 32, 1), np.float32)
    model = ResNet(num_classes=4, stages=(1,), width=4)
    variables = jax.jit(lambda key: model.init(key, np.zeros(shape.shape, np.float32), train=False))
    facts = {"task": "classification", "channels": ["grey"], "classes": list(CLASSES)}
    return Classifier(to_dict(config), facts, variables(jax.random.key(0)))


def test_27_slices_about_the_middle_of_a_whole_head():
    scan = head()
    places, images, notes = slices(scan)
    assert [(axis, offset) for axis, _, offset in places] == [
        (axis, offset) for axis in AXES for offset in OFFSETS
    ]
    assert notes == () and all(x.dtype == np.uint8 and x.ndim == 2 for x in images)
    # Of 1 mm pixels, whatever the voxels: 80 x 96 x 84 voxels of 2.5 mm.
    assert images[0].shape == (210, 240) and images[9].shape == (210, 200)
    assert images[18].shape == (240, 200)
    for a, axis in enumerate(AXES):
        own = [index for name, index, _ in places if name == axis]
        assert own == sorted(own) and own[-1] - own[0] == 16
        world = scan.affine[a, a] * own[4] + scan.affine[a, 3]
        assert abs(world - CENTRE[a]) < 15


@pytest.mark.parametrize("codes", ["LPI", "ASL", "IRP"])
def test_the_way_a_file_is_stored_changes_no_slice(codes):
    _, upright, _ = slices(head())
    places, turned, _ = slices(head(codes=codes))
    assert len(turned) == len(upright)
    for one, other in zip(turned, upright, strict=True):
        assert one.shape == other.shape and np.mean(np.abs(one.astype(int) - other) > 3) < 0.02
    assert all(0 <= index < 96 for _, index, _ in places)


def test_slices_hang_as_radiologists_do():
    x, y, z = 5, 6, 7
    volume = np.zeros((10, 12, 14))
    volume[-1, y, z], volume[x, -1, z], volume[x, y, -1] = 1, 2, 3  # right, front, top
    axial, coronal, sagittal = (hung(volume, a, at) for a, at in ((2, z), (1, y), (0, x)))
    assert axial[12 - 1 - y, 0] == 1 and axial[0, 10 - 1 - x] == 2
    assert coronal[14 - 1 - z, 0] == 1 and coronal[0, 10 - 1 - x] == 3
    assert sagittal[14 - 1 - z, 0] == 2 and sagittal[0, 12 - 1 - y] == 3


@pytest.mark.parametrize(
    "each, answer",
    [
        ([(0.01, 0.01, 0.96, 0.02)], "no_tumor"),
        ([(0.02, 0.03, 0.94, 0.01)], "meningioma_tumor"),
        ([(0.9, 0.02, 0.03, 0.05), (0.1, 0.2, 0.3, 0.4), (0.1, 0.1, 0.1, 0.7)], "pituitary_tumor"),
    ],
)
def test_healthy_from_95_percent_else_the_likeliest_tumour(each, answer):
    found = vote(says(*each), head(), pictures=0)
    assert found.answer == answer and len(found.slices) == 27 and found.pictures == {}
    np.testing.assert_allclose(
        list(found.probabilities.values()),
        np.mean([each[i % len(each)] for i in range(27)], 0),
        atol=1e-6,
    )


def test_a_brain_mask_places_the_slices_and_must_fit():
    scan = head()
    mask = np.zeros(scan.data.shape, np.uint8)
    mask[30:50, 40:70, 20:61] = 1
    places, _, _ = slices(scan, scan.with_data(mask))
    middles = [index for _, index, offset in places if offset == 0]
    np.testing.assert_allclose(middles, [39.5, 54.5, 40], atol=1)
    _, _, notes = slices(scan, scan.with_data(np.zeros_like(mask)))
    assert "the brain mask is empty" in notes[0]
    with pytest.raises(DataError, match="not on the grid"):
        slices(scan, head(shape=(40, 40, 40)))


def test_thick_slices_thin_slabs_and_numbers_that_are_none_leave_a_note():
    thick = vote(says((0.25,) * 4), head(shape=(80, 96, 35), spacing=(2.5, 2.5, 6.0)), pictures=0)
    assert len(thick.slices) == 27 and any("6.0 mm apart" in note for note in thick.notes)
    _, images, notes = slices(head(shape=(80, 96, 4)))
    assert 18 < len(images) < 27 and "lie outside the scan" in notes[0]
    scan = head()
    scan.data[40, 48, 42] = np.nan
    _, images, notes = slices(scan)
    assert len(images) == 27 and "not finite" in notes[0] and np.isnan(scan.data[40, 48, 42])


@pytest.mark.parametrize("fill", [0.0, 5.0, np.nan])
def test_scans_with_nothing_in_them_are_refused(fill):
    with pytest.raises(DataError, match="every voxel"):
        slices(head().with_data(np.full((80, 96, 84), fill)))


def test_tiny_and_four_dimensional_scans():
    rng = np.random.default_rng(0)
    scan = head(shape=(2, 2, 2))
    places, images, _ = slices(scan.with_data(rng.uniform(0, 1, (2, 2, 2))))
    assert places and all(x.size for x in images)
    with pytest.raises(DataError, match="one sequence"):
        slices(scan.with_data(rng.uniform(0, 1, (2, 2, 2, 3))))


def test_the_healthy_class_is_known_by_its_name_or_named():
    def of(classes, **options):
        model = types.SimpleNamespace(
            classes=classes, probabilities=lambda images: np.array([[0.96, 0.04]] * len(images))
        )
        return vote(model, head(), pictures=0, **options).answer

    assert of(("no", "yes")) == "no"
    assert of(("yes", "no")) == "yes"
    assert of(("glioma", "oedema")) == "glioma", "none is healthy: the likeliest"
    assert of(("glioma", "fine"), healthy="fine") == "glioma"
    with pytest.raises(ConfigError, match="no class 'fine'; give healthy= one of no, yes"):
        of(("no", "yes"), healthy="fine")


def test_a_network_without_grad_cam_is_explained_all_the_same(tiny, monkeypatch):
    def refuses(*_):
        raise ConfigError("no convolutions to look at")

    monkeypatch.setattr("brainjax.infer.vote.grad_cam", refuses)
    found = vote(tiny, head(), pictures=1)
    (picture,) = found.pictures.values()
    assert picture.shape == (32, 64, 3), "by occlusion alone"


def test_a_real_classifier_sees_all_slices_and_shows_the_most_telling(tiny):
    found = vote(tiny, head(), pictures=3)
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-5)
    direct = tiny.probabilities(found.images).mean(0)
    np.testing.assert_allclose(list(found.probabilities.values()), direct, atol=1e-6)
    assert len(found.pictures) == 3
    assert sorted(title.split()[0] for title in found.pictures) == sorted(AXES)
    best = max(one.probabilities[found.answer] for one in found.slices)
    assert any(f"{best:.2f}" in title for title in found.pictures)
    for picture in found.pictures.values():
        assert picture.shape == (32, 96, 3) and picture.dtype == np.uint8
        plain = picture[:, :32]
        assert (plain[..., 0] == plain[..., 1]).all() and plain.max() == 255
        assert (picture[:, 32:64] != plain).any() and (picture[:, 64:] != plain).any()
    assert explain(tiny, found, 0) == {}
