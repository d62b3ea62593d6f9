"""Released models: exact, verified before they are read, refused when damaged."""

import dataclasses
import errno
import json
import pathlib

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny import ROOT, make_config, make_dataset

from brainjax.config import to_dict
from brainjax.infer import Classifier, Segmenter, Stripper, release
from brainjax.io import Volume
from brainjax.report import card, class_card
from brainjax.train.recipe import make_recipe
from brainjax.types import CheckpointError, DataError

FACTS = {"channels": ["a", "b"], "classes": ["lesion"], "trained_on": ["patient_0"]}


@pytest.fixture(scope="module")
def stored():
    config = make_config(infer={"min_voxels": 2})
    model = make_recipe(config).plain_model
    variables = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 2)), train=False)
    return release.Release(to_dict(config), FACTS, variables)


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_float32_comes_back_exactly(stored, tmp_path):
    folder = release.save(tmp_path / "new" / "model", stored, card="# A model")
    found = release.load(folder)
    same(found.variables, stored.variables)
    assert (found.config, found.facts) == (stored.config, stored.facts)
    names = {"model.safetensors", "config.json", "SHA256SUMS", "MODEL_CARD.md"}
    assert {p.name for p in folder.iterdir()} == names
    assert (folder / "MODEL_CARD.md").read_text() == "# A model"


RELEASED = sorted(p.parent for p in (ROOT / "checkpoints").glob("*/model.safetensors"))


@pytest.mark.parametrize("folder", RELEASED, ids=lambda p: p.name)
def test_what_ships_is_whole_small_and_runs(folder):
    """An option renamed since the export would make every command on it fail."""
    assert sum(p.stat().st_size for p in folder.iterdir() if p.is_file()) <= 8e6
    task = release.load(folder).task
    if task == "strip":
        model = Stripper.load(str(folder))
        grid = np.linalg.norm(
            np.indices((40, 50, 44)) - np.reshape((20, 25, 22), (3, 1, 1, 1)), axis=0
        )
        ball = np.where(grid < 14, 100, np.where(grid < 18, 30, 0)).astype(np.int16)
        found = model.find(Volume(ball, np.diag([5.0, 5.0, 5.0, 1.0])))
        assert found.mask.data.shape == ball.shape and np.isfinite(found.probability).all()
        _card_names(folder, model.facts)
        return
    model = (Segmenter if task == "segmentation" else Classifier).load(folder)
    channels = len(model.facts["channels"])
    volume = np.random.default_rng(0).integers(0, 256, (2, 64, 64, channels), np.uint8)
    with_grid = {**model.config.to_dict()}
    with_grid["input"] = {**with_grid["input"], "size": 32}  # quick; the weights fit any grid
    quick = type(model)(with_grid, model.facts, model.variables)
    if task == "segmentation":
        mask = quick(volume)
        assert mask.shape == (2, 64, 64) and mask.dtype == bool
    else:
        assert sum(quick(volume[0]).values()) == pytest.approx(1)
    _card_names(folder, model.facts)


def _card_names(folder, facts):
    card = (folder / "MODEL_CARD.md").read_text()
    assert facts["licence"] in card and f"{facts['parameters']:,}" in card


def test_something_ships():
    assert RELEASED


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_stored_rounded_and_used_as_float32(stored, tmp_path, dtype):
    found = release.load(release.save(tmp_path, stored, dtype=dtype))
    rounded = jax.tree.map(lambda x: x.astype(dtype).astype(jnp.float32), stored.variables)
    same(found.variables, rounded)
    assert {x.dtype for x in jax.tree.leaves(found.variables)} == {jnp.dtype("float32")}
    on_disk = load_file(tmp_path / "model.safetensors")
    wanted = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}[dtype]
    assert {x.dtype for x in on_disk.values()} == {np.dtype(wanted)}


def test_the_sums_are_those_of_sha256sum(stored, tmp_path):
    import hashlib

    release.save(tmp_path, stored)
    for line in (tmp_path / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


def flip(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def edit_config(folder):
    stored = json.loads((folder / "config.json").read_text())
    stored["config"]["infer"]["threshold"] = 0.1
    (folder / "config.json").write_text(json.dumps(stored))


DAMAGE = {
    "flipped bit": (lambda d: flip(d / "model.safetensors"), "does not match its SHA-256"),
    "truncated": (
        lambda d: (d / "model.safetensors").write_bytes(
            (d / "model.safetensors").read_bytes()[:99]
        ),
        "does not match its SHA-256",
    ),
    "edited config": (edit_config, "config.json does not match its SHA-256"),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no config": (lambda d: (d / "config.json").unlink(), "cannot be read as a released model"),
    "no sums": (lambda d: (d / "SHA256SUMS").unlink(), "cannot be read as a released model"),
    "empty sums": (lambda d: (d / "SHA256SUMS").write_text(""), "does not match its SHA-256"),
    "sums of one file": (
        lambda d: (d / "SHA256SUMS").write_text((d / "SHA256SUMS").read_text().splitlines()[1]),
        "model.safetensors does not match its SHA-256",
    ),
    "garbled sums": (lambda d: (d / "SHA256SUMS").write_text("x\n"), "cannot be read as"),
    "binary sums": (lambda d: (d / "SHA256SUMS").write_bytes(b"\xff\xfe"), "cannot be read as"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_release_is_refused_in_one_line(stored, tmp_path, kind):
    release.save(tmp_path, stored)
    damage, message = DAMAGE[kind]
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=message) as e:
        release.load(tmp_path)
    assert str(tmp_path) in str(e.value) and "\n" not in str(e.value)


def resum(folder):
    """Sums that fit, as a malicious sender would make them."""
    import hashlib

    names = ("model.safetensors", "config.json")
    text = "".join(f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    (folder / "SHA256SUMS").write_text(text)


@pytest.mark.parametrize(
    "name, data",
    [
        (
            "model.safetensors",
            b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os",
        ),  # a pickle
        ("config.json", b"[1, 2]"),
        ("config.json", b'{"config": {}}'),
        ("config.json", b"\xff"),
    ],
)
def test_files_that_are_not_what_they_claim_are_refused(stored, tmp_path, name, data):
    release.save(tmp_path, stored)
    (tmp_path / name).write_bytes(data)
    resum(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be read as a released model"):
        release.load(tmp_path)


def test_saving_again_replaces_the_release(stored, tmp_path):
    release.save(tmp_path, stored)
    doubled = jax.tree.map(lambda x: 2 * x, stored.variables)
    release.save(tmp_path, release.Release(stored.config, stored.facts, doubled))
    same(release.load(tmp_path).variables, doubled)


def test_weights_that_cannot_be_written_leave_the_release_before_them(
    stored, tmp_path, monkeypatch
):
    release.save(tmp_path, stored)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"model\.safetensors.*No space left on device.*make room"):
        release.save(tmp_path, dataclasses.replace(stored, facts={}))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_segmenter_gives_masks_on_the_grid_of_the_volume(stored, tmp_path):
    release.save(tmp_path, stored)
    model = Segmenter.load(tmp_path)
    volume = make_dataset((5,)).image
    mask, raw = model(volume), model(volume, clean=False)
    assert mask.shape == raw.shape == (5, 16, 16) and mask.dtype == bool
    np.testing.assert_array_equal(model.predictor.options.postprocess()(raw), mask)
    # Intensities have no unit: the volume is scaled by its own.
    scaled = model(volume.astype(np.float32) * 3 + 7, clean=False)
    assert (scaled != raw).mean() < 0.01


@pytest.mark.parametrize(
    "volume, message",
    [
        (np.zeros((5, 16, 16, 3)), r"\(5, 16, 16, 3\); this model wants .* 2\] with channels a, b"),
        (np.zeros((16, 16, 2)), "wants"),
        (np.full((2, 16, 16, 2), np.nan), "NaN"),
    ],
)
def test_a_segmenter_refuses_what_it_was_not_trained_on(stored, tmp_path, volume, message):
    model = Segmenter(stored.config, stored.facts, stored.variables)
    with pytest.raises(DataError, match=message) as e:
        model(volume)
    assert "\n" not in str(e.value)


def test_the_card_says_who_was_seen_and_where_training_began():
    keys = [f"{key}{post}" for _, key in card._METRICS for post in ("", "_post")]
    volume = {"n_slices": 3, "dice": 0.5, "dice_post": None}
    facts = {
        **FACTS,
        **{"dataset": "tiny", "citation": "Nobody.", "licence": "none", "parameters": 12_345},
        **{"step": 8, "protocol": "a split", "storage": "bfloat16", "exported": "2026-01-01"},
        "metrics": {**dict.fromkeys(keys, 0.25), "n_volumes": 2, "n_slices": 6},
        "per_volume": [{"group": "patient_0", **volume}, {"group": "patient_1", **volume}],
    }
    config = to_dict(make_config(train={"init": "checkpoints/first"}))
    assert "In T1 alone 0.1." in card.model_card(
        "it", config, {**facts, "also": "In T1 alone 0.1."}
    )
    text = card.model_card("it", config, facts)
    assert "(6 slices), 1 of whom trained it" in text and "12,345" in text
    assert "Begun with the weights of `checkpoints/first`, then 8 steps" in text
    text = card.model_card("it", to_dict(make_config()), {**facts, "trained_on": ["somebody"]})
    assert "that took no part in training" in text and "Begun" not in text


def test_a_classifier_s_card_says_what_its_pictures_chose_and_what_else_was_measured():
    scores = {**{key: 0.5 for _, key in class_card._METRICS}, "accuracy_ci95": (0.4, 0.6)}
    config = to_dict(make_config())
    config["infer"]["temperature"] = 0.9
    facts = {
        **{"dataset": "tiny", "citation": "Nobody.", "licence": "none", "parameters": 12_345},
        **{"step": 8, "protocol": "a split", "storage": "bfloat16", "exported": "2026-01-01"},
        **{"channels": ["grey"], "classes": ["a", "b"], "confusion": [[1, 2], [3, 4]]},
        **{"metrics": {**scores, "n_images": 10}, "per_class": [], "trained_on": ["x"] * 3},
        "n_seen_in_training": 0,
    }
    text = class_card.class_card("it", config, facts)
    assert "Measured on 10 images that took no part in training" in text
    told = {"part": "val", "also": "One like it scored 0.4."}
    text = class_card.class_card("it", config, {**facts, **told})
    assert "One like it scored 0.4. Measured on 10 images that chose its temperature" in text
    assert "carry the same licence.\n\n## Limits" in text
    text = class_card.class_card("it", config, {**facts, "begun_with": "Weights of theirs: MIT."})
    assert "carry the same licence. Weights of theirs: MIT.\n\n## Limits" in text
