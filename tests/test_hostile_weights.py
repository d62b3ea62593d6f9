"""Files of weights from strangers: nothing of them runs, none fills the memory, each bad one is one clear error."""

import copy
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weight_files import numbers, pickled_tensor, text, write_keras3, write_pth

from brainjax import models
from brainjax.types import CheckpointError
from brainjax.weights import load_pretrained
from brainjax.weights.keras_file import read_keras
from brainjax.weights.torch_file import read_torch


class Hostile:
    def __reduce__(self):
        return os.system, ("touch pwned",)


ONE = {"w": np.arange(6, dtype=np.float32)}
TENSOR = text("w") + pickled_tensor("0", 6, (6,), (1,)) + b"s"
CALLS = {
    **{f"protocol {p}": pickle.dumps({"w": Hostile()}, protocol=p) for p in range(6)},
    "far inside": pickle.dumps({"a": [({"b": (1, "c", Hostile())},)]}, protocol=2),
    "a key": pickle.dumps({Hostile(): 1}, protocol=2),
    "an argument": pickle.dumps(OrderedDict(w=Hostile()), protocol=2),
}
HOSTILE = {
    **CALLS,
    "beside a tensor": b"\x80\x02}" + TENSOR + text("x") + CALLS["protocol 0"][:-1] + b"s.",
    "eval": b"\x80\x02cbuiltins\neval\n" + text("open('pwned', 'w')") + b"\x85R.",
    "an attribute of an allowed name": b"\x80\x02ctorch\nload\n)R.",
    "a class by attribute": b"\x80\x04"
    + text("torch")
    + text("serialization.os.system")
    + b"\x93.",
    "an instance": b"(S'touch pwned'\nios\nsystem\n.",
    "an object": b"\x80\x02(cos\nsystem\n" + text("touch pwned") + b"o.",
    "a new object": b"\x80\x02cos\nsystem\n)\x81.",
    "an allowed name, wrong arguments": b"\x80\x02ccollections\nOrderedDict\n"
    + numbers([1])
    + b"R.",
    "a call of a result": b"\x80\x02ccollections\nOrderedDict\n)R)R.",
    "an object's state": b"\x80\x02]}b.",
    "a state that is no dict": b"\x80\x02}]b.",
    "a persistent object": b"\x80\x02" + text("x") + b"Q.",
    "an extension": b"\x80\x02\x82\x01.",
}


def refused(file, *, match=None, read=read_torch):
    """The message of the one error that reading `file` gives."""
    before = sorted(file.parent.rglob("*"))
    with pytest.raises(CheckpointError, match=match) as e:
        read(file)
    message = str(e.value)
    assert str(file) in message and "\n" not in message and len(message) < 500 + len(str(file))
    assert sorted(file.parent.rglob("*")) == before
    return message


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_pickle_creates_nothing(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(write_pth(tmp_path / "w.pth", ONE, listing=HOSTILE[kind]))


@pytest.mark.parametrize("kind", CALLS)
def test_unpickled_it_would_create_a_file(kind, tmp_path, monkeypatch):
    """So that the test above could fail."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(CALLS[kind])
    assert [p.name for p in tmp_path.iterdir()] == ["pwned"]


def listing(*arguments, **more):
    return b"\x80\x02}" + text("w") + pickled_tensor(*arguments, **more) + b"s."


def test_views_are_read_as_they_lie(tmp_path):
    file = write_pth(tmp_path / "w.pth", ONE, listing=listing("0", 6, (3, 2), (1, 3)))
    np.testing.assert_array_equal(read_torch(file)["w"], ONE["w"].reshape(2, 3).T)
    file = write_pth(tmp_path / "w.pth", ONE, listing=listing("0", 6, (2,), (2,), offset=1))
    np.testing.assert_array_equal(read_torch(file)["w"], [1, 3])


@pytest.mark.parametrize(
    "wrong",
    [
        listing("0", 6, (7,), (1,)),
        listing("0", 6, (2,), (1,), offset=5),
        listing("0", 6, (2,), (1,), offset=-1),
        listing("0", 6, (2,), (-1,)),
        listing("0", 6, (2**30, 2**30), (0, 0)),
        listing("0", 7, (6,), (1,)),
        listing("1", 6, (6,), (1,)),
        listing("0", 6, (6,), (1,), storage=b"QUInt8Storage"),
        listing("0", 6, (6,), (1,))[:-1],
        b"\x80\x02}\x94h\x00h\x00s.",
        b"",
    ],
)
def test_a_tensor_that_is_not_there_is_refused(wrong, tmp_path):
    refused(write_pth(tmp_path / "w.pth", ONE, listing=wrong))


PAIRS = b")" + b"q\x00h\x00\x86" * 60  # a pair of the same pair of ...: 2^60 empty tuples
LAUGHS = b"}" + (b"q\x000}" + text("a") + b"h\x00s" + text("b") + b"h\x00s") * 60
LONG = text("a" * 2**20) + b"q\x01}" + b"q\x000}h\x01h\x00s" * 60
ENDLESS = {
    "a key": b"\x80\x02}" + PAIRS + b"Ns.",
    "keys": b"\x80\x02}(" + PAIRS + b"Nu.",
    "a module": b"\x80\x04" + PAIRS + text("x") + b"\x93.",
    "a persistent object": b"\x80\x02(" + PAIRS + b"NNNNtQ.",
    "a dict of itself": b"\x80\x02}q\x00" + text("a") + b"h\x00s.",
    "a nameless dict of itself": b"\x80\x02}q\x00" + text("") + b"h\x00s.",
    "dicts in dicts": b"\x80\x02" + LAUGHS + b".",
    "long names": b"\x80\x02" + LONG + b".",
    "a long unknown name": b"\x80\x02c" + b"a" * 2**20 + b"\nb\n.",
    "a storage's long name": listing("a" * 2**20, 6, (6,), (1,)),
    "marks": b"\x80\x02" + b"(" * 10**5 + b"t" * 10**5 + b".",
    "axes": listing("0", 6, (1,) * 10**4, (1,) * 10**4),
    "digits": b"\x80\x02I" + b"1" * 10**6 + b"\n.",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_would_take_for_ever_is_refused_at_once(kind, tmp_path):
    refused(write_pth(tmp_path / "w.pth", ONE, listing=ENDLESS[kind]))


def test_many_tensors_on_one_storage_take_its_memory_once(tmp_path):
    many = b"".join(text(f"w{i}") + pickled_tensor("0", 6, (6,), (1,)) + b"s" for i in range(100))
    found = read_torch(write_pth(tmp_path / "w.pth", ONE, listing=b"\x80\x02}" + many + b"."))
    assert len(found) == 100 and all(np.shares_memory(found["w0"], w) for w in found.values())


def write_zip(path, members, *, compression=zipfile.ZIP_STORED, root="archive"):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"{root}/{name}", data)
    return path


PARTS = {"data.pkl": listing("0", 6, (6,), (1,)), "data/0": ONE["w"].tobytes()}


@pytest.mark.parametrize("root", ["..", "../..", "/tmp/elsewhere", "a/../../b", "C:\\x"])
def test_names_that_lead_out_of_the_archive_lead_nowhere(root, tmp_path):
    """They are keys: nothing is unpacked."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    file = write_zip(inner / "w.pth", PARTS, root=root)
    before = sorted(tmp_path.rglob("*"))
    np.testing.assert_array_equal(read_torch(file)["w"], ONE["w"])
    outside = write_zip(inner / "x.pth", {"data.pkl": listing("../../w.pth", 6, (6,), (1,))})
    refused(outside, match="no item named")
    outside.unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_zip_bombs_are_refused_by_their_declared_size(tmp_path):
    zeros = {**PARTS, "data/0": bytes(10**7)}
    bomb = write_zip(tmp_path / "w.pth", zeros, compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 10**5
    refused(bomb, match="larger than the file")
    keras = write_zip(tmp_path / "w.keras", zeros, compression=zipfile.ZIP_DEFLATED)
    refused(keras, match="larger than the file", read=read_keras)
    with zipfile.ZipFile(tmp_path / "twice.pth", "w") as archive:
        archive.writestr("archive/data.pkl", PARTS["data.pkl"])
        archive.writestr("archive/data/0", bytes(10**6))
        for i in range(1, 1000):  # every entry the same megabyte
            again = copy.copy(archive.filelist[1])
            again.filename = again.orig_filename = f"archive/data/{i}"
            archive.filelist.append(again)
    refused(tmp_path / "twice.pth", match="larger than the file")


def test_a_member_that_is_not_as_declared_is_refused(tmp_path):
    whole = write_zip(tmp_path / "w.pth", PARTS).read_bytes()
    entry = whole.rindex(b"PK\1\2")  # of the numbers, in the directory at the end
    for offset, value in ((24, 12), (20, 12), (8, 1), (10, 99), (16, 0)):
        # Its size, its size in the file, a password, an unknown compression, the checksum.
        data = bytearray(whole)
        data[entry + offset] = value
        (tmp_path / "w.pth").write_bytes(data)
        refused(tmp_path / "w.pth")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = write_zip(tmp_path / "w.pth", PARTS).read_bytes()
    for end in range(0, len(whole), 7):
        (tmp_path / "cut.pth").write_bytes(whole[:end])
        refused(tmp_path / "cut.pth")


@settings(deadline=None)
@given(st.data())
def test_a_damaged_pickle_gives_tensors_or_one_clear_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("pth")
    damaged = bytearray(PARTS["data.pkl"])
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    file = write_zip(folder / "w.pth", {**PARTS, "data.pkl": bytes(damaged)})
    try:
        assert all(isinstance(w, np.ndarray) for w in read_torch(file).values())
    except CheckpointError as error:
        assert "\n" not in str(error)
    assert list(folder.iterdir()) == [file]


def write_h5(path, add):
    """A file of one layer whose kernel `add(group)` makes."""
    with h5py.File(path, "w") as h5:
        add(h5.create_group("layers/conv2d/vars"))
    return path


def test_keras_files_hold_their_own_arrays_only(tmp_path):
    """HDF5 can make an array of any file's bytes, and a few bytes stand for a huge array."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(40)))
    with h5py.File(tmp_path / "other.h5", "w") as h5:
        h5["0"] = ONE["w"]
    source = h5py.VirtualSource(tmp_path / "other.h5", "0", shape=(6,))
    layout = h5py.VirtualLayout((6,), np.float32)
    layout[:] = source
    external = [(str(secret), 0, 24)]
    bad = {
        "another file": lambda g: g.create_dataset("0", (6,), np.float32, external=external),
        "another  file": lambda g: g.create_virtual_dataset("0", layout),
        "in another file": lambda g: g.__setitem__("0", h5py.ExternalLink("other.h5", "0")),
        "larger than the file": lambda g: g.create_dataset("0", (2**40,), np.float32),
        "larger  than": lambda g: g.create_dataset("0", data=np.zeros(10**6), compression=9),
        "no array of numbers": lambda g: g.create_dataset("0", data="text"),
        "no array": lambda g: g.create_group("0"),
        "KeyError": lambda g: g.create_dataset("1", data=ONE["w"]),
    }
    for i, (message, add) in enumerate(bad.items()):
        file = write_h5(tmp_path / f"{i}.weights.h5", add)
        refused(file, match=" ".join(message.split()), read=read_keras)
    fine = write_h5(tmp_path / "fine.weights.h5", lambda g: g.create_dataset("0", data=ONE["w"]))
    np.testing.assert_array_equal(read_keras(fine).layers["conv2d"][0], ONE["w"])


def test_a_keras_config_is_data(tmp_path):
    write_keras3(tmp_path / "m", [("Conv2D", "conv", [ONE["w"]])])
    weights = (tmp_path / "m").read_bytes()
    code = {"class_name": "Lambda", "config": {"name": "x", "function": "touch pwned"}}
    layers = [code, {"class_name": "Conv2D", "config": {"name": "conv"}}]
    for config, fine in (
        (json.dumps({"config": {"layers": layers}}), True),
        ("[" * 10**5 + "]" * 10**5, False),
        (json.dumps({"config": {"layers": [{"class_name": {}}]}}), False),
        ("{", False),
    ):
        with zipfile.ZipFile(tmp_path / "w.keras", "w") as archive:
            archive.writestr("config.json", config)
            archive.writestr("model.weights.h5", weights)
        if fine:
            assert set(read_keras(tmp_path / "w.keras").layers) == {"conv"}
        else:
            refused(tmp_path / "w.keras", read=read_keras)


def test_damaged_files_are_one_clear_error(tmp_path):
    whole = write_pth(tmp_path / "w.pth", ONE).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[whole.index(ONE["w"].tobytes()) + 3] ^= 1
    (tmp_path / "flipped.pth").write_bytes(flipped)
    (tmp_path / "w.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 50)
    (tmp_path / "w.keras").write_bytes(whole)
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 20)
    for name in ("cut.pth", "flipped.pth", "w.h5", "w.keras", "w.safetensors", "w.txt", "no.pth"):
        refused(tmp_path / name, read=lambda f: load_pretrained(f, models.MobileNetV2(), {}))


@pytest.mark.parametrize("body", [b"(" * 2**17, b"(0" * 2**19 + b"N"], ids=["deep", "long"])
def test_a_listing_of_millions_of_steps_is_given_up_early(body, tmp_path):
    file = write_pth(tmp_path / "w.pth", ONE, listing=b"\x80\x02" + body + b".")
    refused(file, match="listing of tensors is implausibly large")


def test_numbers_of_a_type_that_numpy_lacks_are_refused(tmp_path):
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}).encode()
    file = tmp_path / "w.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    refused(
        file,
        match="cannot be read as safetensors",
        read=lambda f: load_pretrained(f, models.MobileNetV2(), {}),
    )
