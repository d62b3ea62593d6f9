"""Segmentation of whichever contrasts there are, on the grid of the scan."""

import types

import numpy as np
import phantom
import pytest

from brainjax.infer import Inference, tumour
from brainjax.infer.scan import MissingContrast, Scan
from brainjax.io import Volume


@pytest.fixture(scope="module")
def model():
    return phantom.segmenter()


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def brain_of(scan):
    return phantom.ball(scan.grid.affine, scan.grid.shape, phantom.CENTRE, phantom.BRAIN)


@pytest.mark.parametrize(
    "orientation, spacing", [("RAS", (3, 3, 3)), ("LIA", (3, 3, 3)), ("PSL", (2, 4, 3))]
)
def test_labels_come_back_on_the_grid_of_the_scan(model, orientation, spacing):
    scan = phantom.head(orientation=orientation, spacing=spacing)
    found = tumour.segment(model, scan, brain_of(scan))
    assert found.regional and not found.missing
    for volume in (found.labels, found.probability, found.uncertainty):
        assert volume.grid.matches(scan.grid)
    whole = phantom.ball(scan.grid.affine, scan.grid.shape, phantom.LESION, phantom.RADIUS)
    core = phantom.ball(scan.grid.affine, scan.grid.shape, phantom.LESION, phantom.RADIUS / 2)
    assert dice(found.labels.data > 0, whole) > 0.85
    assert dice(found.labels.data == 4, core) > 0.6
    assert set(np.unique(found.labels.data)) == {0, 2, 4}
    assert found.probability.data[whole].mean() > 0.8
    assert found.uncertainty.data.max() < 0.05, "a network without context is its own mirror image"


def test_what_is_missing_is_told_and_left_constant(model):
    scan = phantom.head(("flair",))
    found = tumour.segment(model, scan, brain_of(scan))
    assert found.missing == ("t1", "t1ce", "t2")
    assert set(np.unique(found.labels.data)) == {0, 2}


def test_nothing_is_found_outside_the_brain(model):
    scan = phantom.head()
    half = brain_of(scan) & (np.arange(40) < 26)[:, None, None]
    found = tumour.segment(model, scan, half)
    assert found.labels.data.any() and not found.labels.data[~half].any()


def test_values_of_any_scale_give_the_same_labels(model):
    scan = phantom.head()
    other = {
        k: Volume(-4000 + 1e-3 * v.data.astype(np.float64), v.affine)
        for k, v in scan.volumes.items()
    }
    once = tumour.segment(model, scan, brain_of(scan)).labels.data
    again = tumour.segment(model, Scan("other", other), brain_of(scan)).labels.data
    assert (once == again).mean() > 0.9999 and once.any()


def test_a_constant_scan_and_foreign_contrasts(model):
    flat = Scan("flat", {"flair": Volume(np.full((20, 20, 20), 7.0), np.diag([3.0, 3, 3, 1]))})
    found = tumour.segment(model, flat, None)
    assert not found.labels.data.any() and np.isfinite(found.probability.data).all()
    with pytest.raises(MissingContrast, match="none of the contrasts"):
        tumour.segment(model, Scan("x", {"unknown": flat.first}), None)


class Slices:
    """Sees a tumour where FLAIR is near the brightest of all; of slices, as `checkpoints/lgg_unet`."""

    rank = 2
    facts = {"channels": ["pre_contrast", "flair", "post_contrast"]}
    predictor = types.SimpleNamespace(options=Inference(threshold=0.5))

    def __init__(self):
        self.seen = None

    def probabilities(self, volume, progress=None):
        self.seen = volume if self.seen is None else self.seen  # not the mirror image
        return (volume[..., 1:2] > 190).astype(np.float32)


@pytest.mark.parametrize("orientation, spacing", [("RAS", (2, 2, 2)), ("LIA", (2, 3, 2))])
def test_a_model_of_slices_sees_them_hung_and_answers_on_the_grid_of_the_scan(orientation, spacing):
    scan, model = phantom.head(("flair", "t1ce"), orientation, spacing, skull=False), Slices()
    found = tumour.segment(model, scan, brain_of(scan))
    assert found.missing == ("t1",) and not found.regional
    whole = phantom.ball(scan.grid.affine, scan.grid.shape, phantom.LESION, phantom.RADIUS)
    assert dice(found.labels.data > 0, whole) > 0.8, "slices are 5 mm"
    middle = model.seen[len(model.seen) // 2]
    assert middle.shape == (256, 256, 3) and (middle[..., 0] == middle[..., 1]).all()
    # The lesion is up and to the patient's right of the middle: it comes later, and left in the picture.
    where = np.argwhere(model.seen[..., 2] > 215).mean(0)
    assert where[0] > (len(model.seen) - 1) / 2 and where[2] < 127.5


class Plain(Slices):
    """As `checkpoints/lgg_t1_unet`."""

    facts = {"channels": ["pre_contrast", "post_contrast"]}


def test_a_model_of_slices_that_does_without_flair_is_shown_no_other_in_a_sequence_s_place():
    model, scan = Plain(), phantom.head(("t1ce", "flair"))
    found = tumour.segment(model, scan, brain_of(scan))
    assert found.missing == ("t1",) and found.labels.data.any()
    assert model.seen.shape[-1] == 2 and model.seen[..., 1].any()
    assert not model.seen[..., 0].any()
    alone = Plain()
    tumour.segment(alone, phantom.head(("t1",)), None)
    assert alone.seen[..., 0].any() and not alone.seen[..., 1].any()
    t2 = phantom.head(("t2",))
    assert not tumour.can_do(alone, t2) and not tumour.can_do(Slices(), phantom.head(("t1",)))
    assert tumour.can_do(alone, scan) and tumour.can_do(Slices(), scan)
    with pytest.raises(MissingContrast, match="T1 or T1CE, and there is only t2"):
        tumour.segment(Plain(), t2, None)


def test_a_stripped_scan_gets_a_rim_where_its_skull_was():
    models = {}
    for skull in (True, False):
        scan, models[skull] = phantom.head(skull=skull), Slices()
        tumour.segment(models[skull], scan, brain_of(scan))
    edge = models[False].seen[len(models[False].seen) // 2]
    assert edge[128, :, 1].max() >= 190 and edge[0, 0, 1] == 0
    with pytest.raises(MissingContrast, match="FLAIR"):
        tumour.segment(Slices(), phantom.head(("t1",)), None)


def test_a_model_of_slices_of_other_channels_is_asked_for_those():
    model = types.SimpleNamespace(rank=2, facts={"channels": ("image",)})
    scan = phantom.head(("t1",))
    assert not tumour.can_do(model, scan)
    with pytest.raises(MissingContrast, match="looked for in IMAGE, and there is only t1"):
        tumour.segment(model, scan, brain_of(scan))
    assert tumour.can_do(
        types.SimpleNamespace(rank=2, facts={"channels": ("t1ce",)}), phantom.head()
    )
