"""Released models: exact, verified before they are read, refused when damaged."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny import make_config, make_dataset

from brainjax.config import to_dict
from brainjax.infer import Segmenter, release
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
