"""Reads the tensors of a PyTorch `.pth` file without PyTorch, and without unpickling.

A `.pth` file is a zip of raw numbers and one pickle that says which tensor lies where. Running that pickle would
run whatever its author wrote. Here its opcodes are only listed (`pickletools`, which executes nothing) and
followed by a machine that knows containers, text, numbers and the few names that PyTorch uses for tensors. It
holds no reference to any function, so there is nothing that a hostile file could call.
"""

import dataclasses
import math
import pathlib
import pickletools
import zipfile
from typing import Any

import ml_dtypes
import numpy as np

from brainjax.types import CheckpointError
from brainjax.weights.archive import MALFORMED, open_zip, reason

_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_ORDERED, _TENSOR, _PARAMETER = (
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
)
_NAMES = {_ORDERED, _TENSOR, _PARAMETER, *(f"torch {name}" for name in _STORAGES)}
# Bytes of the pickle, and of the names in it at `_ENTRY` more each; a network of a thousand layers has one megabyte.
_LARGEST, _ENTRY = 16 * 2**20, 64
_MOST_AXES = 32


@dataclasses.dataclass(frozen=True)
class _Name:
    """A name that the pickle mentions; only ever compared with the list above."""

    text: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    dtype: Any
    key: str
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    pass


def read_torch(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """All tensors of a state dict, by name; nested dicts are joined by '.'.

    Args:
        path: of a file written by `torch.save` (PyTorch 1.6 or later).

    Raises:
        CheckpointError: not such a file, damaged, or it holds anything but containers, text, numbers and
            tensors. Nothing of it has been run.
    """
    path = pathlib.Path(path)
    try:
        with open_zip(path) as archive:
            (listing,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
            root = listing[: -len("data.pkl")]
            order = f"{root}byteorder"
            if order in archive.namelist() and archive.read(order).strip() != b"little":
                raise CheckpointError(f"{path}: big-endian weights; save them on a common machine")
            if archive.getinfo(listing).file_size > _LARGEST:
                raise CheckpointError(f"{path}: its listing of tensors is implausibly large")
            tensors = _tensors(_follow(archive.read(listing), path))
            used = {tensor.storage for tensor in tensors.values()}
            storages = {storage: _numbers(storage, archive, root) for storage in used}
            found = {name: _array(t, storages[t.storage]) for name, t in tensors.items()}
    except CheckpointError:
        raise
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path} is not a zip file of PyTorch 1.6 or later, or it is cut short ({error}): load and save it "
            f"once with a current PyTorch, or use the .safetensors file"
        ) from error
    except MALFORMED as error:
        raise CheckpointError(
            f"{path} cannot be read as PyTorch weights ({reason(error)})"
        ) from error
    if not found:
        raise CheckpointError(f"{path} holds no tensors")
    return found


def _tensors(value: Any) -> dict[str, _Tensor]:
    """The tensors in nested dicts, by name."""
    found: dict[str, _Tensor] = {}
    ahead, spent = [("", value)], 0
    while ahead:
        name, value = ahead.pop()
        if isinstance(value, _Tensor):
            found[name] = value
        elif isinstance(value, dict):
            for key, inner in value.items():
                ahead.append((f"{name}.{key}" if name else str(key), inner))
                # A dict may hold another one many times over, or itself.
                spent += len(ahead[-1][0]) + _ENTRY
                if spent > _LARGEST:
                    raise ValueError("its tensors have implausibly many or long names")
    return found


def _array(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
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


def _numbers(storage: _Storage, archive: zipfile.ZipFile, root: str) -> np.ndarray:
    """All of a storage, [count]."""
    data = archive.read(f"{root}data/{storage.key}")
    if len(data) != storage.count * np.dtype(storage.dtype).itemsize:
        raise ValueError(f"storage {storage.key[:80]!r} has {len(data)} bytes, not {storage.count}")
    return np.frombuffer(data, storage.dtype)


def _follow(pickle: bytes, path: pathlib.Path) -> Any:
    """The value that the pickle describes, of plain containers, numbers, text and `_Tensor`."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def refuse(what: str) -> CheckpointError:
        return CheckpointError(
            f"{path} asks for {what[:80]}, which tensors do not need: it may be hostile. Nothing of it was run"
        )

    def since_mark() -> list[Any]:
        place = len(stack) - 1
        while not isinstance(stack[place], _Mark):
            place -= 1
        items = stack[place + 1 :]
        del stack[place:]
        return items

    def named(text: str) -> _Name:
        if text not in _NAMES:
            raise refuse(f"the name {text!r}")
        return _Name(text)

    def plain(*keys: Any) -> None:
        # Of a tuple of tuples of tuples, hash and text alone could take for ever.
        if not all(type(key) in (str, int) for key in keys):
            raise refuse("a key that is no text")

    def call(function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise refuse("a call of something that is no name")
        if function.text == _ORDERED and not arguments:
            return {}
        if function.text == _TENSOR:
            storage, offset, shape, strides = arguments[:4]
            sized = all(type(s) is tuple and len(s) <= _MOST_AXES for s in (shape, strides))
            if (
                sized
                and isinstance(storage, _Storage)
                and all(type(n) is int for n in (offset, *shape, *strides))
            ):
                return _Tensor(storage, offset, shape, strides)
        if function.text == _PARAMETER and isinstance(arguments[0], _Tensor):
            return arguments[0]
        raise refuse(f"{function.text!r} with unknown arguments")

    def persistent(key: Any) -> _Storage:
        kind, storage, name, _, count = key
        if kind != "storage" or not isinstance(storage, _Name):
            raise refuse("a persistent object that is no storage")
        dtype = _STORAGES.get(storage.text.removeprefix("torch "))
        if dtype is None or type(name) is not str or type(count) is not int:
            raise refuse("a storage of unknown type")
        return _Storage(dtype, name, count)

    for opcode, argument, _ in pickletools.genops(pickle):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                (value,) = stack
                return value
            case "MARK":
                stack.append(_Mark())
            case "POP":
                stack.pop()
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode.name == "NEWTRUE")
            case ("BININT" | "BININT1" | "BININT2" | "LONG1" | "INT" | "BINFLOAT") | (
                "BINUNICODE" | "SHORT_BINUNICODE" | "UNICODE" | "SHORT_BINSTRING" | "BINSTRING"
            ):
                stack.append(argument)
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                items = tuple(stack[-count:])
                del stack[-count:]
                stack.append(items)
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS":
                items = since_mark()
                stack[-1].extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                plain(key)
                stack[-1][key] = value
            case "SETITEMS":
                items = since_mark()
                plain(*items[::2])
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(named(argument))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                plain(name, module)
                stack.append(named(f"{module} {name}"))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(call(function, arguments))
            case "BINPERSID":
                stack.append(persistent(stack.pop()))
            case "BUILD":
                # The attributes of a state dict (its version numbers): known to be a dict, and dropped.
                state = stack.pop()
                if not isinstance(state, dict) or not isinstance(stack[-1], dict):
                    raise refuse("an object's state to be set")
            case other:
                raise refuse(f"the operation {other}")
    raise ValueError("the listing of tensors has no end")
