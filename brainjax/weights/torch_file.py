"""Reads the tensors of a PyTorch `.pth` file without PyTorch, and without unpickling.

Since PyTorch 1.6 such a file is a zip of raw numbers and one pickle that says which tensor lies where. Before, and in
many files that torchvision publishes still, it is five pickles in a row - a magic number, a version, facts about the
machine, the same listing, the names of the storages - and the raw numbers after them.
"""

import io
import math
import pathlib
import struct
import zipfile
from typing import Any

import numpy as np

from brainjax.types import CheckpointError
from brainjax.weights.archive import MALFORMED, open_zip, reason
from brainjax.weights.torch_pickle import Storage, Tensor, follow

_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file from before PyTorch 1.6
# Bytes of the pickle, and of the names in it at `_ENTRY` more each; a network of a thousand layers has one megabyte.
_LARGEST, _ENTRY = 16 * 2**20, 64


def read_torch(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """All tensors of a state dict, by name; nested dicts are joined by '.'.

    Args:
        path: of a file written by `torch.save`.

    Raises:
        CheckpointError: not such a file, damaged, or it holds anything but containers, text, numbers and
            tensors. Nothing of it has been run.
    """
    path = pathlib.Path(path)
    try:
        read = _read_zip if zipfile.is_zipfile(path) else _read_old
        found = read(path)
    except CheckpointError:
        raise
    except MALFORMED as error:
        raise CheckpointError(
            f"{path} cannot be read as PyTorch weights ({reason(error)}): it is damaged, cut short or of another "
            f"kind; fetch it again, or use the .safetensors file"
        ) from error
    if not found:
        raise CheckpointError(f"{path} holds no tensors")
    return found


def _read_zip(path: pathlib.Path) -> dict[str, np.ndarray]:
    with open_zip(path) as archive:
        (listing,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
        root = listing[: -len("data.pkl")]
        order = f"{root}byteorder"
        if order in archive.namelist() and archive.read(order).strip() != b"little":
            raise CheckpointError(f"{path}: big-endian weights; save them on a common machine")
        if archive.getinfo(listing).file_size > _LARGEST:
            raise CheckpointError(f"{path}: its listing of tensors is implausibly large")
        tensors = _tensors(follow(archive.read(listing), path))
        used = {tensor.storage for tensor in tensors.values()}
        storages = {storage: _numbers(storage, archive, root) for storage in used}
        return {name: _array(t, storages[t.storage]) for name, t in tensors.items()}


def _read_old(path: pathlib.Path) -> dict[str, np.ndarray]:
    whole = path.stat().st_size
    with path.open("rb") as file:
        # The pickles must end within these bytes; what reads on finds them cut short.
        listing = io.BytesIO(file.read(_LARGEST))
        if follow(listing, path) != _MAGIC:
            raise ValueError("it begins with another pickle than PyTorch's")
        follow(listing, path)  # the version of the format: there was never another
        if not follow(listing, path).get("little_endian", True):
            raise CheckpointError(f"{path}: big-endian weights; save them on a common machine")
        tensors = _tensors(follow(listing, path))
        keys = follow(listing, path)
        by_key = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        if not isinstance(keys, list) or len(set(keys)) < len(keys) or {*by_key} - {*keys}:
            raise ValueError("its list of storages is not that of its tensors")
        file.seek(listing.tell())
        storages = {}
        for key in keys:
            # A storage that no tensor uses has a length, but no type: nothing behind it could be found.
            storage = by_key[key]
            (count,) = struct.unpack("<q", file.read(8))
            size = count * np.dtype(storage.dtype).itemsize
            if count != storage.count or not 0 <= size <= whole - file.tell():
                raise ValueError(f"storage {key[:80]!r} is cut short, or not of {storage.count}")
            storages[storage] = np.frombuffer(file.read(size), storage.dtype)
        if file.read(1):
            raise ValueError("there is more behind its last storage")
        return {name: _array(t, storages[t.storage]) for name, t in tensors.items()}


def _tensors(value: Any) -> dict[str, Tensor]:
    """The tensors in nested dicts, by name."""
    found: dict[str, Tensor] = {}
    ahead, spent = [("", value)], 0
    while ahead:
        name, value = ahead.pop()
        if isinstance(value, Tensor):
            found[name] = value
        elif isinstance(value, dict):
            for key, inner in value.items():
                ahead.append((f"{name}.{key}" if name else str(key), inner))
                # A dict may hold another one many times over, or itself.
                spent += len(ahead[-1][0]) + _ENTRY
                if spent > _LARGEST:
                    raise ValueError("its tensors have implausibly many or long names")
    return found


def _array(tensor: Tensor, storage: np.ndarray) -> np.ndarray:
    """The view of `storage` [count] that the tensor is; no copy, whatever the number of tensors on a storage."""
    numbers = (tensor.offset, *tensor.shape, *tensor.strides)
    size = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((n - 1) * s for n, s in size)
    if min(numbers) >= 0 and 0 in tensor.shape:
        return np.empty(tensor.shape, storage.dtype)
    if min(numbers) < 0 or last >= len(storage) or math.prod(tensor.shape) > len(storage):
        raise ValueError(f"a tensor reaches beyond storage {tensor.storage.key[:80]!r}")
    strides = tuple(s * storage.itemsize for s in tensor.strides)
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides)


def _numbers(storage: Storage, archive: zipfile.ZipFile, root: str) -> np.ndarray:
    """All of a storage, [count]."""
    data = archive.read(f"{root}data/{storage.key}")
    if len(data) != storage.count * np.dtype(storage.dtype).itemsize:
        raise ValueError(f"storage {storage.key[:80]!r} has {len(data)} bytes, not {storage.count}")
    return np.frombuffer(data, storage.dtype)
