"""Programs: the model's own answers, of any number of slices, on platforms that are not here, from a fresh process."""

import dataclasses
import json
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from heads import head
from tiny import ROOT, clean_environment, make_class_config, make_config, make_volume_config

from brainjax import native
from brainjax.config import build, to_dict
from brainjax.config import load as load_config
from brainjax.infer import Classifier, ScanClassifier, Segmenter, Stripper, checksums, release
from brainjax.infer.export import FACTS, PROGRAM, export, load, save
from brainjax.infer.whole import whole
from brainjax.io import read_volume
from brainjax.models import get as get_model
from brainjax.preprocess.conform import conform
from brainjax.types import CheckpointError, ConfigError, DataError

CLOSE = {"rtol": 0, "atol": 1e-5}


def opened(cls, config, shape, **facts):
    """A model with random weights."""
    model = build(config.model, get_model)
    init = jax.jit(lambda key: model.init(key, jnp.zeros((1, *shape)), train=False))
    return cls(to_dict(config), facts, init(jax.random.key(0)))


@pytest.fixture(scope="module")
def slices():
    """Sees three slices of two channels, on a grid of 16, and mirrors."""
    config = make_config(input={"context": 3, "size": 16}, infer={"tta": "flip"})
    return opened(Segmenter, config, (16, 16, 6), channels=["a", "b"], classes=["lesion"])


@pytest.fixture(scope="module")
def slices_program(slices, tmp_path_factory):
    program = export(slices, shape=(24, 20), batch_size=4)
    return load(save(tmp_path_factory.mktemp("slices") / "program", program))


def volumes():
    config = make_volume_config(infer={"batch_size": 3, "mirror": (0,)})
    return opened(
        Segmenter, config, (8, 8, 8, 2), rank=3, channels=["a", "b"], classes=["whole", "core"]
    )


def noise(shape, dtype=np.uint8, seed=0):
    """Air, and a head of noise."""
    x = np.random.default_rng(seed).integers(40, 256, shape)
    x[:, :4] = 3
    return x.astype(dtype)


@pytest.mark.parametrize("count", [1, 4, 11])
def test_one_program_takes_any_number_of_slices(slices, slices_program, count):
    x = noise((count, 24, 20, 2))
    found, wanted = slices_program(x), slices.probabilities(x)
    np.testing.assert_allclose(found["probability"], wanted, **CLOSE)
    sure = np.abs(wanted - 0.5) > 1e-5
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(np.asarray(found["mask"])[sure], (wanted >= 0.5)[sure])


@pytest.mark.parametrize("normalize", ["zscore", "imagenet"])
def test_pictures_are_normalised_each_by_itself(normalize):
    config = make_class_config(data={"size": 32}, input={"normalize": normalize})
    facts = {"task": "classification", "channels": ["grey"], "classes": ["x", "y", "z"]}
    model = opened(Classifier, config, (32, 32, 1), **facts)
    x = np.concatenate([noise((2, 32, 32, 1)), noise((1, 32, 32, 1)) // 3])
    dataset = dataclasses.replace(model.dataset([np.zeros((9, 9), np.uint8)] * 3), image=x)
    wanted = model.predictor.probabilities(model.variables, model.source(dataset), np.arange(3))
    found = export(model, batch_size=2)(x)
    assert set(found) == {"probability"}
    np.testing.assert_allclose(found["probability"], wanted, **CLOSE)


def test_volumes_are_covered_by_the_same_patches():
    model = volumes()
    program = export(model, shape=(18, 7, 12), batch_size=2)
    x = np.stack([noise((18, 7, 12, 2), np.float32, seed) for seed in range(3)])
    found = program(x)
    for i, one in enumerate(x):
        np.testing.assert_allclose(found["probability"][i], model.probabilities(one), **CLOSE)


def test_heads_in_boxes_are_classified():
    config = load_config("configs/volume_classifier.py").copy_and_resolve_references()
    with config.unlocked():
        config.data.update(shape=(16, 16, 16), spacing=14.0)
        config.model.update(width=4, blocks=(1,), num_classes=2)
        config.infer.update(batch_size=2, tta="none")
    facts = {"task": "classification", "rank": 3, "channels": ["t1"], "classes": ["a", "b"]}
    model = opened(ScanClassifier, config, (16, 16, 16, 1), **facts)
    scans = [head(), head(shift=(8.0, 0.0, 4.0))]
    x = model.dataset(scans).image
    program = export(model, dtype="uint8")
    np.testing.assert_allclose(program(x)["probability"], model.probabilities(scans), **CLOSE)


def test_the_brain_is_found_where_the_stripper_finds_it():
    """With a network that calls brain what is brighter than the rest of the head."""
    config = load_config("configs/strip.py").copy_and_resolve_references()
    with config.unlocked():
        config.augment.update(shape=(56, 72, 64), spacing=3.0)
        config.model.update(features=(2, 4))
    model = Stripper(to_dict(config), {}, {})
    model.in_box = lambda variables, box: jax.nn.sigmoid((jnp.asarray(box) - 70.0) / 4.0)
    program = export(model)
    for volume in (head(), head((60, 120, 90), (3.0, 2.0, 2.5), shift=(20.0, 0.0, -12.0))):
        volume = volume.with_data(np.where(volume.data > 150, 40, volume.data))
        wanted = model.find(volume).mask.data > 0
        spacing = np.array([volume.spacing], np.float32)
        found = np.asarray(program(volume.data[None], spacing)["mask"])[0]
        assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.98


def convolutions(text, axes):
    """Convolutions with so many spatial axes in lowered text."""
    letters = ", ".join(map(str, range(axes)))
    return len(re.findall(rf"stablehlo\.convolution\(.*dim_numbers = \[b, {letters}, f\]", text))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_platforms_get_plain_convolutions(platform):
    model = volumes()
    text = str(export(model, shape=(8, 8, 8), platforms=(platform,)).exported.mlir_module())
    kernels = [x for x in jax.tree.leaves(model.variables) if x.ndim == 5]
    wide = [x for x in kernels if max(x.shape[:3]) > 1]
    # The patch and its mirror image; a convolution of two inputs is two.
    assert wide and convolutions(text, 3) >= 2 * len(wide) and not convolutions(text, 2)


def test_the_cpu_gets_its_own_and_one_program_holds_them_all():
    model = volumes()
    cpu = str(export(model, shape=(8, 8, 8), platforms=("cpu",)).exported.mlir_module())
    assert not convolutions(cpu, 3) and convolutions(cpu, 2)
    every = export(model, shape=(8, 8, 8))
    text = str(every.exported.mlir_module())
    assert every.facts["platforms"] == ["cpu", "cuda", "tpu"]
    assert convolutions(text, 3) and convolutions(text, 2) and "stablehlo.case" in text


def test_a_fresh_process_needs_jax_alone(slices, slices_program, tmp_path):
    folder, x = save(tmp_path / "program", slices_program), noise((7, 24, 20, 2))
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, jax, jax.export, numpy as np\n"
        f"program = jax.export.deserialize(bytearray(open({str(folder / PROGRAM)!r}, 'rb').read()))\n"
        f"x = np.load({str(tmp_path / 'x.npy')!r})\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, program.call(x)['probability'])\n"
        "assert not {'brainjax', 'flax'} & set(sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), slices.probabilities(x), **CLOSE)


def test_what_is_damaged_is_refused_in_one_line(slices_program, tmp_path):
    folder = save(tmp_path / "program", slices_program)
    whole = (folder / PROGRAM).read_bytes()

    def refused(match):
        with pytest.raises(CheckpointError, match=match) as error:
            load(folder)
        assert "\n" not in str(error.value)

    (folder / PROGRAM).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused("does not match its SHA-256")
    for rubbish in (b"", b"\x80\x04 a pickle, say", whole[: len(whole) // 2]):
        (folder / PROGRAM).write_bytes(rubbish)
        checksums.write(folder, (PROGRAM, FACTS))
        refused("cannot be read as an exported program")
    (folder / PROGRAM).write_bytes(whole)
    (folder / FACTS).write_text(json.dumps({"arguments": {}, "left": ""}))
    checksums.write(folder, (PROGRAM, FACTS))
    refused("is of another program")
    (folder / PROGRAM).unlink()
    refused("program.stablehlo is missing")


def test_wrong_arrays_are_named(slices_program):
    for wrong in ((3, 24, 21, 2), (24, 20, 2), (0, 24, 20, 2)):
        with pytest.raises(DataError, match=r"takes image uint8\[n, 24, 20, 2\]"):
            slices_program(np.zeros(wrong, np.uint8))
    with pytest.raises(DataError, match="float32"):
        slices_program(noise((2, 24, 20, 2), np.float32))
    with pytest.raises(DataError):
        slices_program()


def test_options_that_cannot_be_are_named(slices):
    with pytest.raises(ConfigError, match="--shape=height,width"):
        export(slices)
    with pytest.raises(ConfigError, match="cpu, cuda, tpu"):
        export(slices, shape=(16, 16), platforms=("rocm",))
    with pytest.raises(ConfigError, match="--dtype=int8"):
        export(slices, shape=(16, 16), dtype="int8")
    with pytest.raises(ConfigError, match="--platforms=cpu"):
        export(slices, shape=(16, 16), platforms=("tpu",))(noise((1, 16, 16, 2)))


def test_convolutions_by_onednn_stay_out_of_a_program(monkeypatch):
    if reason := native._load():
        pytest.skip(f"brainjax.native is not at hand: {reason}")
    monkeypatch.setenv("BRAINJAX_NATIVE", "1")
    model, x = volumes(), noise((1, 8, 8, 8, 2), np.float32)
    here = jax.jit(whole(model, shape=(8, 8, 8)).apply)
    assert "brainjax_forward" in here.lower(x).as_text()
    program = export(model, shape=(8, 8, 8))
    assert "brainjax_forward" not in str(program.exported.mlir_module())
    np.testing.assert_allclose(program(x)["probability"], here(x)["probability"], **CLOSE)


def test_native_code_does_not_get_into_a_program(slices):
    def call(variables, raw):
        shape = jax.ShapeDtypeStruct((*raw["image"].shape[:-1], 1), jnp.float32)
        return jax.ffi.ffi_call("brainjax_no_such_target", shape)(raw["image"])

    model = Segmenter(to_dict(slices.config), slices.facts, slices.variables)
    model.predictor.on_batch = call
    with pytest.raises(ConfigError, match="calls native code"):
        export(model, shape=(16, 16), platforms=("cpu",))


@pytest.mark.slow
def test_the_command_writes_reads_and_compares(slices, tmp_path):
    folder = release.save(
        tmp_path / "model",
        release.Release(to_dict(slices.config), slices.facts, slices.variables),
    )
    command = ["-m", "experiments.stablehlo", f"--model={folder}", f"--output={tmp_path / 'out'}"]

    def run(*flags):
        return subprocess.run(
            [sys.executable, *command, *flags],
            cwd=ROOT,
            env=clean_environment(),
            capture_output=True,
            text=True,
        )

    done = run("--shape=24,20")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["metrics"]["max_abs_difference"] <= 1e-5 and result["task"] == "stablehlo"
    assert load(tmp_path / "out").facts["classes"] == ["lesion"]
    failed = run("--shape=24,a")
    assert failed.returncode == 1 and failed.stderr.splitlines()[-1].startswith(
        "error: --shape=24,a"
    )


HEAD = ROOT.parent / "shared/data/heads/t1_adult/image.nii.gz"


@pytest.mark.slow
@pytest.mark.skipif(not HEAD.is_file(), reason=f"{HEAD} is not there")
def test_the_released_stripper_on_a_real_head():
    model = Stripper.load()
    volume = read_volume(HEAD)
    turned = conform(volume, None, 1)[0]
    wanted = conform(model.find(volume).mask, None, 1, order=0)[0].data > 0
    arrays = np.asarray(turned.data, np.float32)[None], np.array([turned.spacing], np.float32)
    found = np.asarray(export(model)(*arrays)["mask"])[0]
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.99
