"""Preparation under Apache Beam: the rows that one process writes, in the same order."""

import functools
import subprocess
import sys

import nibabel
import numpy as np
import pytest
from pictures import tumor_folder
from PIL import Image
from tiny import ROOT, clean_environment

from brainjax import datasets
from brainjax.types import ConfigError

common_builder = pytest.importorskip(
    "brainjax.datasets.common_builder", reason="preparing needs tensorflow_datasets"
)


@pytest.fixture
def beam():
    pytest.importorskip("apache_beam", reason="not installed: pip install 'brainjax[beam]'")
    options = ("direct_running_mode=multi_threading", "direct_num_workers=2")
    return common_builder.Beam("DirectRunner", options)


def lgg(folder):
    """Two patients of eleven slices, so that numbers and names sort differently."""
    rng = np.random.default_rng(0)
    for patient in ("TCGA_CS_0001_20000101", "TCGA_DU_0002_20000101"):
        (folder / patient).mkdir(parents=True)
        for number in range(1, 12):
            image = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            mask = 255 * (rng.random((24, 24)) < 0.3).astype(np.uint8)
            Image.fromarray(image).save(folder / patient / f"{patient}_{number}.tif")
            Image.fromarray(mask).save(folder / patient / f"{patient}_{number}_mask.tif")


def pairs(folder):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        data = rng.integers(1, 200, (12, 10, 8)).astype(np.int16)
        folder.mkdir(exist_ok=True)
        for end, array in (("", data), ("_seg", (data > 150).astype(np.uint8))):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"{name}{end}.nii")


def same(found, wanted):
    for field in ("image", "mask", "label", "group", "position"):
        if hasattr(wanted, field):
            np.testing.assert_array_equal(getattr(found, field), getattr(wanted, field))
    assert found.groups == wanted.groups


@pytest.mark.parametrize(
    ("name", "fill"),
    [("LGG", lgg), ("TumorImages", tumor_folder), ("ImagePairs", pairs)],
)
def test_the_direct_runner_writes_the_same_rows(name, fill, beam, tmp_path):
    from brainjax.datasets import images_builder, lgg_builder, volumes_builder

    prepare = {
        "LGG": lgg_builder.prepare,
        "TumorImages": functools.partial(images_builder.prepare, name),
        "ImagePairs": functools.partial(volumes_builder.prepare, name),
    }[name]
    source, output = tmp_path / "source", tmp_path / "prepared"
    source = fill(source) or source
    prepare(str(source), str(output), beam=beam)
    load = datasets.get(name)
    same(load(str(output)).load(), load(str(source)).load())


def test_without_beam_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ConfigError, match=r"pip install 'brainjax\[beam\]'"):
        common_builder.Beam("DirectRunner").download_options()
    assert common_builder.NO_BEAM.download_options() == {}


def test_a_runner_that_is_none_is_named(beam):
    with pytest.raises(ConfigError, match="--beam_runner=DirectRuner"):
        common_builder.Beam("DirectRuner").download_options()


@pytest.mark.slow
def test_the_command_takes_a_runner(beam, tmp_path):
    source = tumor_folder(tmp_path / "source", each=2)
    flags = [f"--data_dir={source}", f"--output={tmp_path / 'out'}", "--dataset=TumorImages"]
    # Only processes of their own show that all a worker is sent can be sent.
    flags += ["--beam_options=direct_running_mode=multi_processing,direct_num_workers=2"]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.prepare", *flags, "--beam_runner=DirectRunner"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(datasets.get("TumorImages")(str(tmp_path / "out")).load()) == 16
