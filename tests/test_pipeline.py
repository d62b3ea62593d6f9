"""The linked pipeline: every stage's result on the scan's grid, and none of them stops the others."""

import json
import types

import numpy as np
import phantom
import pytest
from PIL import Image

from brainjax.infer import Inference
from brainjax.infer import pipeline as module
from brainjax.infer.pipeline import Pipeline
from brainjax.infer.scan import UNKNOWN, MissingContrast, Scan
from brainjax.io import Volume, write_volume
from brainjax.preprocess.grid import resample
from brainjax.types import CheckpointError, DataError

FACTS = {"task": "strip", "licence": "none"}


class FakeStripper:
    """Knows where the phantom's brain is, in any scan of it."""

    facts = FACTS

    def __init__(self):
        self.seen = []

    def find(self, volume):
        self.seen.append(volume)
        at = volume.grid
        mask = phantom.ball(at.affine, at.shape, phantom.CENTRE, phantom.BRAIN)
        return types.SimpleNamespace(mask=volume.with_data(mask.astype(np.uint8)))


class Blind:
    facts = FACTS

    def find(self, volume):
        return types.SimpleNamespace(mask=volume.with_data(np.zeros(volume.data.shape, np.uint8)))


@pytest.fixture
def voted(monkeypatch):
    """A vote that says what it is told to."""
    said = types.SimpleNamespace(
        answer="glioma_tumor",
        probabilities={"glioma_tumor": 0.9, "no_tumor": 0.1},
        pictures={"axial": np.zeros((4, 8, 3), np.uint8)},
        notes=(),
        brain=None,
    )

    def vote(classifier, volume, brain):
        said.brain = brain
        return said

    monkeypatch.setattr(module, "vote", vote)
    return said


@pytest.fixture(scope="module")
def segmenter():
    return phantom.segmenter()


@pytest.fixture
def pipeline(voted, segmenter):
    classifier = types.SimpleNamespace(facts={"task": "classification"})
    return Pipeline(
        FakeStripper(),
        classifier,
        None,
        segmenter,
        names={"strip": "a", "slices": "b", "volume": "", "segment": "c"},
    )


def test_all_stages_are_linked_and_on_the_grid_of_the_scan(pipeline, voted):
    scan, told = phantom.head(orientation="LIA"), []
    found = pipeline(scan, progress=lambda *at: told.append(at))
    assert [s.status for s in found.stages] == ["done", "done", "skipped", "done", "done"]
    assert list(dict.fromkeys(name for name, _ in told)) == list(module.STAGES)
    for name in module.STAGES:
        shares = [share for stage, share in told if stage == name]
        assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] == 1.0
    # The scan itself and its mirror image, in some patches each.
    assert len([None for name, _ in told if name == "segment"]) > 4
    for volume in (found.brain, found.tumour, found.probability, found.uncertainty):
        assert volume.grid.matches(scan.grid)
    assert voted.brain.data.sum() == found.brain.data.sum()
    (lesion,) = found.lesions
    np.testing.assert_allclose(lesion.centroid_mm, phantom.LESION, atol=1.5)
    assert lesion.volume_ml == pytest.approx(4 / 3 * np.pi * phantom.RADIUS**3 / 1000, rel=0.15)
    assert found.classes == {"slices": voted.probabilities}
    assert found.answers == {"slices": "glioma_tumor"} and found.warnings == ()
    assert found.stage("segment").facts["dataset"] == "phantom"
    json.dumps(found.facts())


def test_the_t1_is_stripped_and_a_lone_scan_gets_a_contrast(pipeline):
    scan = phantom.head(("flair", "t1"))
    pipeline(scan)
    assert pipeline.stripper.seen[-1] is scan.volumes["t1"]
    lone = pipeline(Scan("x", {UNKNOWN: phantom.head(("flair",)).first}))
    assert list(lone.scan.volumes) == ["t1"]
    assert any("contrast is not known" in line for line in lone.warnings)
    assert lone.stage("segment").note.startswith("without t1ce, t2, flair")
    # Beside others a guess takes the place of none of them.
    both = phantom.head(("t1", "flair")).volumes
    for name, wanted in (("flair", {"flair", "t1"}), ("t1", {"t1", UNKNOWN})):
        found = pipeline(Scan("x", {name: both[name], UNKNOWN: both["flair"]})).scan.volumes
        assert set(found) == wanted and found[name] is both[name]


def test_a_scan_that_was_stripped_before_keeps_its_own_edge(pipeline):
    scan = phantom.head(skull=False)
    found = pipeline(scan)
    assert "stripped before" in found.stage("strip").note
    assert (found.brain.data == (scan.first.data != 0)).all()


def test_a_given_mask_is_taken_on_any_grid(pipeline, tmp_path):
    scan = phantom.head()
    mask = phantom.ball(scan.grid.affine, scan.grid.shape, phantom.CENTRE, 30)
    other = phantom.head(orientation="PSR", spacing=(2.0, 2.0, 2.0)).grid
    moved = resample(scan.first.with_data(mask.astype(np.uint8)), other, order=0)
    write_volume(tmp_path / "mask.nii.gz", moved)
    found = pipeline(scan, brain=tmp_path / "mask.nii.gz")
    assert found.stage("strip").status == "given" and not pipeline.stripper.seen
    assert 2 * (found.brain.data * mask).sum() / (found.brain.data.sum() + mask.sum()) > 0.95
    empty = scan.first.with_data(np.zeros(scan.grid.shape, np.uint8))
    with pytest.raises(DataError, match="mask is empty"):
        pipeline(scan, brain=empty)


def test_a_stage_that_fails_is_told_and_stops_nothing(pipeline, voted):
    pipeline.stripper = Blind()
    found = pipeline(phantom.head())
    assert found.stage("strip").status == "failed" and found.brain is None
    assert found.stage("segment").status == "done" and voted.brain is None
    assert any("no brain was found" in line for line in found.warnings)


def test_a_stage_that_lacks_its_contrast_is_left_out(pipeline, monkeypatch):
    lacking = MissingContrast("only t1")
    monkeypatch.setattr(module.tumour, "segment", lambda *_, **__: (_ for _ in ()).throw(lacking))
    found = pipeline(phantom.head(("t1",)))
    stage = found.stage("segment")
    assert (stage.status, stage.note, stage.model) == ("skipped", "only t1", "")
    assert found.stage("localize").status == "skipped" and found.warnings == ()


def test_scans_without_flair_go_to_the_model_that_does_without(voted):
    class Model:
        rank = 2

        def __init__(self, *channels):
            self.facts = {"channels": channels, "task": "segmentation"}
            self.predictor = types.SimpleNamespace(
                options=Inference(threshold=0.5), with_options=lambda **_: self.predictor
            )

        def probabilities(self, volume, progress=None):
            return (volume[..., :1] > 190).astype(np.float32)

    first = Model("pre_contrast", "flair", "post_contrast")
    both = Pipeline(
        segmenter=first,
        second=Model("pre_contrast", "post_contrast"),
        names={"segment": "all", "segment_t1": "plain"},
    )
    found = both(phantom.head(("t1",)))
    assert found.stage("segment").model == "plain" and found.tumour is not None
    assert "without t1ce" in found.stage("segment").note
    assert any("no FLAIR" in line for line in found.warnings)
    found = both(phantom.head(("t1", "flair")))
    assert found.stage("segment").model == "all"
    assert "FLAIR stood in for t1ce" in found.stage("segment").note
    assert not any("no FLAIR" in line for line in found.warnings)
    assert both(phantom.head(("t2",))).stage("segment").status == "skipped"
    assert Pipeline(segmenter=first)(phantom.head(("t1",))).stage("segment").status == "skipped"


def test_stages_that_contradict_one_another_are_told(pipeline, voted):
    voted.probabilities = {"glioma_tumor": 0.02, "no_tumor": 0.98}
    assert any("disagree" in line for line in pipeline(phantom.head()).warnings)
    voted.probabilities = {"glioma_tumor": 0.98, "no_tumor": 0.02}
    no_lesion = phantom.head(("t1", "t2"))
    assert any("no tumour was segmented" in line for line in pipeline(no_lesion).warnings)


def test_the_answer_is_the_likeliest_class_and_the_rule_of_95_percent_is_told(pipeline, voted):
    voted.probabilities = {"glioma_tumor": 0.2, "no_tumor": 0.8}
    found = pipeline(phantom.head(("t1",)))
    assert found.answers == {"slices": "no_tumor"}
    assert "below 95%: glioma_tumor" in found.stage("slices").note
    assert found.facts()["rules"] == {"slices": "glioma_tumor"}


def test_nothing_but_a_scan_is_an_answer_too():
    found = Pipeline()(phantom.head(("t1",)))
    assert {s.status for s in found.stages} == {"skipped"}
    assert found.tumour is None and found.lesions == ()


def test_without_a_stripper_all_that_is_not_black_is_brain(segmenter, voted):
    scan = phantom.head()
    inside = phantom.ball(scan.grid.affine, scan.grid.shape, phantom.CENTRE, phantom.BRAIN)
    bare = Scan("x", {c: v.with_data(v.data * inside) for c, v in scan.volumes.items()})
    classifier = types.SimpleNamespace(facts={"task": "classification"})
    found = Pipeline(slices=classifier, segmenter=segmenter)(bare)
    assert found.brain is not None and found.brain.data.sum() == inside.sum()
    assert found.tumour.data.any() and not found.tumour.data[~inside].any()
    assert any("no skull" in line for line in found.warnings)


@pytest.mark.parametrize("spacing", [0.003, 30.0])
def test_what_is_no_head_by_its_size_is_refused(pipeline, spacing):
    volume = Volume(np.ones((40, 40, 40), np.float32), np.diag([spacing] * 3 + [1]))
    with pytest.raises(DataError, match="that of no head; is the voxel size .* in mm"):
        pipeline(volume)


def test_models_that_are_not_there_are_told():
    with pytest.raises(TypeError, match="no such stage: stripper"):
        Pipeline.load(stripper="x")
    none = dict.fromkeys(module.MODELS, "")
    with pytest.raises(CheckpointError, match="no released model"):
        Pipeline.load(**none | {"strip": "missing"})
    only = Pipeline.load(**none | {"strip": "strip_unet"})
    assert only.stripper is not None and only.segmenter is None
    # Who asks for no tumour, or names a model, gets no other in its place.
    unsaid = {stage: "" for stage in module.MODELS if stage != "segment_t1"}
    assert Pipeline.load(**unsaid).second is None


def test_pictures_get_a_class_and_where_colours_are_sequences_a_mask(tmp_path):
    grey = np.zeros((40, 30), np.uint8)
    grey[5:15, 18:26] = 200  # above, on the patient's left
    colour = np.stack([grey // 2, grey, grey // 3], -1)
    Image.fromarray(colour).save(tmp_path / "x.png")

    class Painter:
        facts = {"task": "segmentation", "channels": ["pre", "flair", "post"]}
        predictor = types.SimpleNamespace(options=types.SimpleNamespace(threshold=0.5))

        def probabilities(self, volume, progress=None):
            return (volume[..., 1:2] > 100).astype(np.float32)

        def clean(self, mask):
            return mask

    found = Pipeline(painter=Painter(), names={"picture": "p"}).picture(tmp_path / "x.png")
    assert found.stage("segment").model == "p" and "green" in found.stage("segment").note
    (lesion,) = found.lesions
    assert lesion.centroid_mm == pytest.approx((7.5, 29.5, 0.0))  # to the left and to the front
    assert any("pixels" in line for line in found.warnings)
    marked = np.stack([grey] * 3, -1)
    marked[8, 20] = 255, 0, 0  # a cursor is no second sequence
    plain = Pipeline(painter=Painter()).picture(marked)
    assert plain.stage("segment").status == "skipped" and plain.tumour is None
    with pytest.raises(DataError):
        Pipeline().picture(tmp_path / "gone.png")


def test_a_real_classifier_explains_a_picture():
    grey = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    none = dict.fromkeys(module.MODELS, "")
    found = Pipeline.load(**none | {"slices": "tumor4_lite"}).picture(grey, name="noise")
    assert sum(found.classes["slices"].values()) == pytest.approx(1, abs=1e-4)
    (picture,) = found.pictures.values()
    assert picture.dtype == np.uint8 and picture.ndim == 3
    assert any("unlike" in line for line in found.warnings), "noise is no scan"


def test_the_network_of_whole_volumes_shows_where_it_looked(pipeline):
    class Whole:
        facts = FACTS

        def __call__(self, volume):
            return {"glioma_tumor": 0.75, "no_tumor": 0.25}

        def heat(self, volume, name):
            assert name == "glioma_tumor"
            at = volume.grid
            ball = phantom.ball(at.affine, at.shape, phantom.LESION, phantom.RADIUS)
            return volume.with_data(ball.astype(np.float32))

    pipeline.volume = Whole()
    found = pipeline(phantom.head())
    assert found.answers["volume"] == "glioma_tumor"
    picture = found.pictures["whole volume: glioma_tumor 0.75"]
    red = (picture[..., 0] > picture[..., 2].astype(int) + 60).sum()
    assert picture.dtype == np.uint8 and red > 30


def test_a_run_can_be_ended_within_a_stage(pipeline):
    class Stop(Exception):
        pass

    def tell(stage, share):
        if stage == "segment" and 0 < share < 1:
            raise Stop

    with pytest.raises(Stop):
        pipeline(phantom.head(), progress=tell)
