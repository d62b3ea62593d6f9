"""The wheel that an installation gets holds what works without a clone: the released models and the command."""

import importlib.util
import shutil
import subprocess
import sys
import zipfile

import pytest
from tiny import ROOT, clean_environment

from brainjax.infer import release

pytestmark = pytest.mark.slow


def _can_build():
    if not all(map(importlib.util.find_spec, ("pip", "setuptools"))):
        return False
    return any(map(importlib.util.find_spec, ("wheel", "setuptools.command.bdist_wheel")))


@pytest.mark.skipif(not _can_build(), reason="needs pip and setuptools>=70.1, or the package wheel")
def test_a_wheel_holds_the_released_models_and_the_command(tmp_path):
    # In a copy, for a build leaves folders behind; nothing is downloaded.
    for name in ("brainjax", "checkpoints"):
        own = shutil.ignore_patterns("__pycache__", "runs", "evaluation-*")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=own)
    for name in ("setup.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tmp_path / name)
    words = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [sys.executable, "-m", *words, "--wheel-dir", tmp_path / "out", tmp_path],
        env=clean_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").glob("brainjax-*.whl")
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(tmp_path / "in")
        entries = next(n for n in wheel.namelist() if n.endswith(".dist-info/entry_points.txt"))
        assert "brainjax=brainjax.cli:main" in wheel.read(entries).decode().replace(" ", "")
    models = {p.parent.name for p in (ROOT / "checkpoints").glob("*/MODEL_CARD.md")}
    assert "strip_unet" in models
    for name in models:
        folder = tmp_path / "in" / "brainjax" / "checkpoints" / name
        assert release.is_release(folder) and (folder / "MODEL_CARD.md").is_file()
    stored = release.load(tmp_path / "in" / "brainjax" / "checkpoints" / "strip_unet")
    assert stored.task == "strip"  # whole, by its check sums
