"""Folders of label maps: what is read, what is called brain, what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjax.datasets import LabelMaps
from brainjax.datasets.label_maps import BOX
from brainjax.io import Volume, write_volume
from brainjax.synth import freesurfer
from brainjax.types import ConfigError, DataError


def head(shape=(80, 90, 100), centre=(40, 45, 55), radius=34) -> np.ndarray:
    """FreeSurfer numbers: a ball of white matter in fluid, bone and soft tissue, with falx, cerebellum and cord."""
    grid = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    r = np.linalg.norm(grid, axis=0)
    labels = np.zeros(shape, np.int16)
    for edge, number in ((1.25, 507), (1.15, 515), (1.0, 24), (0.9, 2)):
        labels[r <= edge * radius] = number
    falx = (np.abs(grid[0]) <= 1) & (grid[2] > 10) & (r <= radius)
    labels[falx] = 514
    low = np.linalg.norm(grid - np.reshape((0, -8, -22), (3, 1, 1, 1)), axis=0) <= 8
    labels[low] = 8
    cord = (np.hypot(grid[0], grid[1]) <= 4) & (grid[2] < -20)
    labels[cord] = 16
    return labels


def write(folder, name, labels, affine=None):
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(folder / name, Volume(labels, np.eye(4) if affine is None else affine))


def test_reads_a_folder_and_centres_the_brain(tmp_path):
    write(tmp_path, "a.nii.gz", head())
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    write(tmp_path, "b.nii", head()[::-1], flipped)
    data = LabelMaps(str(tmp_path)).load(progress=lambda done, total: None)
    assert data.image.shape == data.mask.shape == (2, *BOX, 1)
    assert data.groups == ("a", "b") and data.image.dtype == np.uint8
    np.testing.assert_array_equal(
        data.image[0], data.image[1]
    )  # the affine says it is the same head
    where = np.argwhere(data.mask[0, ..., 0]).mean(0)
    np.testing.assert_allclose(where, (np.array(BOX) - 1) / 2, atol=1.0)


def test_brain_has_fluid_and_falx_but_not_bone_sinus_or_cord():
    classes = freesurfer.to_classes(head())
    brain = LabelMaps().brain(classes)
    names = np.array(freesurfer.NAMES)
    assert brain[40, 45, 55] and brain[40, 45, 80]  # white matter, falx
    assert set(names[np.unique(classes[brain])]) <= {
        *("white", "csf", "dura", "cerebellar_grey", "brainstem"),
    }
    lowest = np.flatnonzero(brain.any((0, 1)))[0]
    cerebellum = np.flatnonzero((classes == freesurfer.CEREBELLUM[1]).any((0, 1)))[0]
    assert cerebellum - LabelMaps().below <= lowest <= cerebellum


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.floats(1.0, 4.0))
def test_closing_loses_nothing_but_specks_and_adds_only_what_is_near(seed, closing):
    rng = np.random.default_rng(seed)
    classes = freesurfer.to_classes(head())
    classes[rng.random(classes.shape) < 0.02] = freesurfer.NAMES.index("dura")
    before = freesurfer.IN_BRAIN[classes]
    after = LabelMaps(below=200.0, closing=closing).brain(classes)
    assert (after & before).sum() > 0.99 * before.sum()
    assert after.sum() < 1.1 * before.sum()


def test_fluid_beyond_the_closed_surface_is_left_out():
    classes = freesurfer.to_classes(head())
    tight = LabelMaps(below=200.0, fluid=2.0).brain(classes)
    loose = LabelMaps(below=200.0).brain(classes)
    assert (tight <= loose).all()
    up = loose[40, 45, 55:].sum() - tight[40, 45, 55:].sum()
    # From white matter at 0.9 of the radius of 34 mm to its end are 3.4 mm.
    assert up in (1, 2)
    assert tight[40, 45, 80], "the falx lies within"
    with pytest.raises(ConfigError, match="data.fluid=-1"):
        LabelMaps(fluid=-1)
    with pytest.raises(ConfigError, match="data.cisterns=-1"):
        LabelMaps(cisterns=-1)
    with pytest.raises(ConfigError, match="data.bridge=-1"):
        LabelMaps(bridge=-1)


def test_cisterns_keep_the_fluid_around_the_brain_stem_alone():
    labels = head()
    labels[36:45, 50:55, 23:30] = 16  # as far down as the fluid goes, 2 mm above the bone
    classes = freesurfer.to_classes(labels)
    loose, tight, kept = (
        LabelMaps(below=200.0, **fields).brain(classes)
        for fields in ({}, {"fluid": 1.0}, {"fluid": 1.0, "cisterns": 6.0})
    )
    assert (tight <= kept).all() and (kept <= loose).all()
    added = np.argwhere(kept & ~tight)
    assert len(added) and (added[:, 2] < 36).all()


def test_bridge_closes_hollows_in_front_of_the_brain_stem_alone():
    labels = head()
    labels[36:45, 50:55, 23:30] = 16
    hollows = {
        "front": np.s_[37:44, 58:65, :35],
        "behind": np.s_[37:44, 25:32, :35],
        "above": np.s_[37:44, 45:52, 75:],
    }
    for hollow in hollows.values():
        labels[hollow] = 515
    classes = freesurfer.to_classes(labels)
    plain, bridged = (
        LabelMaps(below=200.0, closing=1.0, bridge=mm).brain(classes) for mm in (0.0, 8.0)
    )
    assert (plain <= bridged).all()
    added = bridged & ~plain
    assert {name for name, hollow in hollows.items() if added[hollow].sum() > 30} == {"front"}
    labels[labels == 16] = 2
    without = freesurfer.to_classes(labels)
    np.testing.assert_array_equal(
        LabelMaps(below=200.0, closing=1.0, bridge=8.0).brain(without),
        LabelMaps(below=200.0, closing=1.0).brain(without),
    )


def test_every_head_comes_a_second_time_with_a_thinner_skull(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write(tmp_path, name, head())
    data = LabelMaps(str(tmp_path), thin=2.0).load(progress=lambda done, total: None)
    assert data.image.shape[0] == 4 and data.groups == ("a", "b")
    assert data.group.tolist() == [0, 0, 1, 1] and data.position.tolist() == [0, 1, 0, 1]
    middle = [n // 2 for n in BOX]
    lines = data.image[:2, middle[0], middle[1], middle[2] :, 0]
    bone, white = (freesurfer.NAMES.index(name) for name in ("bone", "white"))
    thick, thin = ((line == bone).sum() for line in lines)
    assert thin == pytest.approx(thick / 2, abs=1) and thick >= 4
    assert (lines[0] == white).sum() == (lines[1] == white).sum(), "the brain stays as it is"
    with pytest.raises(ConfigError, match="data.thin=0.5"):
        LabelMaps(thin=0.5)


def test_refuses_what_is_no_map_and_names_every_such_file(tmp_path):
    with pytest.raises(DataError, match="holds no label map"):
        LabelMaps(str(tmp_path)).load()
    write(tmp_path, "empty.nii.gz", np.zeros((20, 20, 20), np.int16))
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    with pytest.raises(DataError) as caught:
        LabelMaps(str(tmp_path)).load(progress=lambda done, total: None)
    assert "empty.nii.gz" in str(caught.value) and "broken.nii.gz" in str(caught.value)
