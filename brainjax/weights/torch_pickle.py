"""Follows the pickles of PyTorch's files of weights, without unpickling.

Running such a pickle would run whatever its author wrote. Here its opcodes are only listed (`pickletools`, which
executes nothing) and followed by a machine that knows containers, text, numbers and the few names that PyTorch
uses for tensors. It holds no reference to any function, so there is nothing that a hostile file could call.
"""

import dataclasses
import pathlib
import pickletools
from typing import IO, Any

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
_ORDERED, _PARAMETER = "collections OrderedDict", "torch._utils _rebuild_parameter"
_TENSORS = (
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor",
)  # the second until 0.3
_NAMES = {_ORDERED, _PARAMETER, *_TENSORS, *(f"torch {name}" for name in _STORAGES)}
_MOST_AXES = 32
# Pickles of lists and dicts stack a thousand items at a time; a network of a thousand layers takes 200,000 steps.
_DEEPEST, _LONGEST = 2**16, 2**20


@dataclasses.dataclass(frozen=True)
class _Name:
    """A name that the pickle mentions; only ever compared with the list above."""

    text: str


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where the numbers of some tensors lie, and how many of which type they are."""

    dtype: Any
    key: str
    count: int


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    pass


def follow(pickle: bytes | IO[bytes], path: pathlib.Path) -> Any:
    """The value that the pickle describes, of plain containers, numbers, text and `Tensor`.

    Args:
        pickle: the pickle, or an open file of which it is read from where that stands, and no further.
        path: of the file, for messages.

    Raises:
        CheckpointError: it asks for anything else.
        Whatever of `archive.MALFORMED` a damaged one leads to.
    """
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
        if function.text == _ORDERED and len(arguments) == 1 and isinstance(arguments[0], list):
            # As Python 2 wrote it: a list of [key, value].
            plain(*(key for key, _ in arguments[0]))
            return dict(arguments[0])
        if function.text in _TENSORS:
            storage, offset, shape, strides = arguments[:4]
            sized = all(type(s) is tuple and len(s) <= _MOST_AXES for s in (shape, strides))
            if (
                sized
                and isinstance(storage, Storage)
                and all(type(n) is int for n in (offset, *shape, *strides))
            ):
                return Tensor(storage, offset, shape, strides)
        if function.text == _PARAMETER and isinstance(arguments[0], Tensor):
            return arguments[0]
        raise refuse(f"{function.text!r} with unknown arguments")

    def persistent(key: Any) -> Storage:
        # Before PyTorch 1.6 there is a sixth item: of storages that are views of others, long since abandoned.
        kind, storage, name, _, count, *view = key
        if view not in ([], [None]):
            raise refuse("a storage that is part of another")
        if kind != "storage" or not isinstance(storage, _Name):
            raise refuse("a persistent object that is no storage")
        dtype = _STORAGES.get(storage.text.removeprefix("torch "))
        if dtype is None or type(name) is not str or type(count) is not int:
            raise refuse("a storage of unknown type")
        return Storage(dtype, name, count)

    for step, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
        if len(stack) > _DEEPEST or step > _LONGEST:
            raise CheckpointError(f"{path}: its listing of tensors is implausibly large")
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
