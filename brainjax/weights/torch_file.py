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
import zlib
from typing import Any

import ml_dtypes
import numpy as np

from brainjax.types import CheckpointError

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
_MALFORMED = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, AttributeError),
    *(RecursionError, NotImplementedError, EOFError, zlib.error),
)
_LARGEST_PICKLE = 64 * 2**20  # bytes; that of a thousand-layer network has one


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
        with zipfile.ZipFile(path) as archive:
            (listing,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
            root = listing[: -len("data.pkl")]
            order = f"{root}byteorder"
            if order in archive.namelist() and archive.read(order).strip() != b"little":
                raise CheckpointError(f"{path}: big-endian weights; save them on a common machine")
            if archive.getinfo(listing).file_size > _LARGEST_PICKLE:
                raise CheckpointError(f"{path}: its listing of tensors is implausibly large")
            found: dict[str, np.ndarray] = {}
            _collect(_follow(archive.read(listing), path), "", found, archive, root)
    except CheckpointError:
        raise
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path} is not a zip file of PyTorch 1.6 or later, or it is cut short ({error}): load and save it "
            f"once with a current PyTorch, or use the .safetensors file"
        ) from error
    except _MALFORMED as error:
        raise CheckpointError(
            f"{path} cannot be read as PyTorch weights ({type(error).__name__}: {error})"
        ) from error
    if not found:
        raise CheckpointError(f"{path} holds no tensors")
    return found


def _collect(
    value: Any, name: str, found: dict[str, np.ndarray], archive: zipfile.ZipFile, root: str
) -> None:
    if isinstance(value, _Tensor):
        found[name] = _array(value, archive, root)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _collect(inner, f"{name}.{key}" if name else str(key), found, archive, root)


def _array(tensor: _Tensor, archive: zipfile.ZipFile, root: str) -> np.ndarray:
    storage = tensor.storage
    info = archive.getinfo(f"{root}data/{storage.key}")
    itemsize = np.dtype(storage.dtype).itemsize
    if info.file_size != storage.count * itemsize:
        raise ValueError(f"storage {storage.key} has {info.file_size} bytes, not {storage.count}")
    flat = np.frombuffer(archive.read(info), storage.dtype)
    size = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((n - 1) * s for n, s in size)
    negative = min((tensor.offset, *tensor.shape, *tensor.strides)) < 0
    if 0 in tensor.shape and not negative:
        return np.empty(tensor.shape, storage.dtype)
    if negative or last >= len(flat) or math.prod(tensor.shape) > len(flat):
        raise ValueError(f"a tensor reaches beyond storage {storage.key}")
    strides = tuple(s * itemsize for s in tensor.strides)
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides)
    return np.array(view)


def _follow(pickle: bytes, path: pathlib.Path) -> Any:
    """The value that the pickle describes, of plain containers, numbers, text and `_Tensor`."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def refuse(what: str) -> CheckpointError:
        return CheckpointError(
            f"{path} asks for {what}, which tensors do not need: it may be hostile. Nothing of it was run"
        )

    def since_mark() -> list[Any]:
        place = max(i for i, item in enumerate(stack) if isinstance(item, _Mark))
        items = stack[place + 1 :]
        del stack[place:]
        return items

    def named(text: str) -> _Name:
        if text not in _NAMES:
            raise refuse(f"the name {text!r}")
        return _Name(text)

    def call(function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise refuse("a call of something that is no name")
        if function.text == _ORDERED and not arguments:
            return {}
        if function.text == _TENSOR:
            storage, offset, shape, strides = arguments[:4]
            numbers = (offset, *shape, *strides)
            if isinstance(storage, _Storage) and all(type(n) is int for n in numbers):
                return _Tensor(storage, offset, tuple(shape), tuple(strides))
        if function.text == _PARAMETER and isinstance(arguments[0], _Tensor):
            return arguments[0]
        raise refuse(f"{function.text!r} with unknown arguments")

    def persistent(key: Any) -> _Storage:
        kind, storage, name, _, count = key
        if kind != "storage" or not isinstance(storage, _Name):
            raise refuse(f"a persistent object of kind {kind!r}")
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
                stack[-1][key] = value
            case "SETITEMS":
                items = since_mark()
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
