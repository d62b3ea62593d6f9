"""PyTorch's files from before 1.6: read like the new ones, and refused like them."""

import pickle

import numpy as np
import pytest
from weight_files import write_old_pth, write_pth

from brainjax.types import CheckpointError
from brainjax.weights.torch_file import read_torch

RNG = np.random.default_rng(0)
TENSORS = {
    "features.0.weight": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32),
    "features.0.bias": RNG.normal(size=4).astype(np.float32),
    "scalar": np.float32([[2.5]]),
}


@pytest.mark.parametrize("rebuild", [b"_rebuild_tensor_v2", b"_rebuild_tensor"])
@pytest.mark.parametrize("view", [b"N", b""])
def test_the_old_layout_gives_the_same_tensors_as_the_new_one(tmp_path, rebuild, view):
    old = read_torch(write_old_pth(tmp_path / "old.pth", TENSORS, rebuild=rebuild, view=view))
    new = read_torch(write_pth(tmp_path / "new.pth", TENSORS))
    assert old.keys() == new.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(old[name], value)
        np.testing.assert_array_equal(new[name], value)


def test_every_cut_is_noticed(tmp_path):
    data = write_old_pth(tmp_path / "whole.pth", TENSORS).read_bytes()
    cut = tmp_path / "cut.pth"
    for size in [*range(0, len(data), 41), len(data) - 1]:
        cut.write_bytes(data[:size])
        with pytest.raises(CheckpointError):
            read_torch(cut)
    cut.write_bytes(data + b"\0")
    with pytest.raises(CheckpointError, match="more behind"):
        read_torch(cut)


def test_a_length_that_is_not_the_listing_s_is_refused_before_it_is_read(tmp_path):
    data = write_old_pth(tmp_path / "w.pth", {"w": np.zeros(7, np.float32)}).read_bytes()
    for wrong in (-7, 8, 2**60):
        file = tmp_path / "wrong.pth"
        file.write_bytes(data[:-36] + wrong.to_bytes(8, "little", signed=True) + data[-28:])
        with pytest.raises(CheckpointError, match="cut short"):
            read_torch(file)


def test_big_endian_machines_and_views_of_storages_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="big-endian"):
        read_torch(write_old_pth(tmp_path / "a.pth", TENSORS, facts={"little_endian": False}))
    with pytest.raises(CheckpointError, match="part of another"):
        read_torch(write_old_pth(tmp_path / "b.pth", TENSORS, view=b"K\x01"))


class Bomb:
    def __reduce__(self):
        return (open, ("/tmp/brainjax-was-here", "w"))


@pytest.mark.parametrize("place", range(5))
def test_a_call_in_any_of_the_five_pickles_is_refused(tmp_path, place):
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}, []]
    parts[place] = Bomb()
    file = tmp_path / "bomb.pth"
    file.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
    with pytest.raises(CheckpointError, match="Nothing of it was run"):
        read_torch(file)


def test_pytorch_s_own_old_files_are_read(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[parity]'")
    state = {k: torch.from_numpy(v.copy()) for k, v in TENSORS.items()}
    state["transposed"] = torch.arange(6.0).reshape(2, 3).T
    file = tmp_path / "torch.pth"
    torch.save(state, file, _use_new_zipfile_serialization=False)
    found = read_torch(file)
    assert found.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value.numpy())
