"""What may be compared with a skull stripper's mask: a mask for every scan, on its grid."""

import types

import numpy as np
import pytest
from tiny import entry_point

from brainjax.infer import strip
from brainjax.io import Volume, write_volume
from brainjax.types import DataError

strip_heads = entry_point("strip_heads")


class Whole:
    """A stripper that keeps everything."""

    def __init__(self, *_):
        pass

    def find(self, scan, border):
        return types.SimpleNamespace(mask=scan.with_data(scan.data > -1), volume_ml=1.0)


@pytest.fixture
def case(tmp_path, monkeypatch):
    flags = {"_DATA_DIR": str(tmp_path), "_CHECKPOINT": "any", "_WORKDIR": "", "_RELEASE": ""}
    for name, value in {**flags, "_MIRROR": False, "_BORDER": 0.0}.items():
        monkeypatch.setattr(strip_heads, name, types.SimpleNamespace(value=value))
    stored = types.SimpleNamespace(config={}, facts={}, variables={})
    monkeypatch.setattr(strip_heads, "_stored", lambda name: stored)
    monkeypatch.setattr(strip, "Stripper", Whole)
    (tmp_path / "ann").mkdir()
    write(tmp_path / "ann" / "image.nii.gz")
    return tmp_path / "ann"


def write(path, shift=0.0):
    affine = np.eye(4)
    affine[0, 3] = shift
    write_volume(path, Volume(np.ones((5, 6, 7), np.uint8), affine))


def test_a_case_without_a_mask_is_named(case):
    with pytest.raises(DataError, match=r"1 of 1 cases have no mask\.nii\.gz .*\(ann\)"):
        strip_heads.main()


def test_a_mask_elsewhere_in_the_world_is_refused(case, capsys):
    write(case / "mask.nii.gz", shift=0.1)  # as rounding leaves it
    strip_heads.main()
    assert '"dice_min": 1.0' in capsys.readouterr().out
    write(case / "mask_tool.nii.gz", shift=30.0)
    with pytest.raises(DataError, match="mask_tool.nii.gz is not on the grid of its image"):
        strip_heads.main()
