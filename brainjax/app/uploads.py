"""Bytes of strangers to a scan: every limit is checked before what it guards against is done.

A file is unpacked while it comes in, and no further than allowed; what is packed again within is refused, for reading
would unpack it too. So no file takes more of the disk than allowed, and no more memory than its numbers as they are
stored and as float32. It is stored under a name of our own; the user's is for messages and to tell its contrast.
"""

import contextlib
import math
import os
import pathlib
import re
import tempfile
import threading
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from brainjax.infer.scan import CONTRASTS, UNKNOWN, Scan, read_scan
from brainjax.infer.scan_names import contrast_of
from brainjax.io.nifti import read_shape
from brainjax.types import DataError

_CHUNK = 2**18
_MAGIC = b"\x1f\x8b"
_ENDING = re.compile(r"(\.(nii|mgh|mgz))?(\.gz)?$", re.IGNORECASE)
_LONGEST = 80  # characters of a name
_FLOAT32 = 4
MOST_FILES = len(CONTRASTS)
# Reading takes memory beyond the scan's own for a moment: that of one scan, not of all that are opened at once.
_READING = threading.Lock()


class TooLarge(DataError):
    """A file beyond what this server takes."""


def receive(
    stream: BinaryIO, folder: pathlib.Path, name: str, *, upload: int, unpacked: int
) -> pathlib.Path:
    """Stores a file, unpacked.

    Args:
        stream: of the file as it is on the user's disk.
        folder: for it; it gets a name of our own.
        name: that the user gave it, for messages.
        upload: bytes it may have.
        unpacked: bytes it may hold.

    Raises:
        TooLarge: it has or holds more.
        DataError: it is empty, truncated, damaged or packed more than once.
    """
    handle, path = tempfile.mkstemp(suffix=".nii", dir=folder)
    path = pathlib.Path(path)
    try:
        size = 0
        with os.fdopen(handle, "wb") as file:
            for part in _unpack(_chunks(stream, name, upload), name):
                size += len(part)
                if size > unpacked:
                    raise TooLarge(
                        f"{name}: it unpacks to more than {_mib(unpacked)}; crop or downsample it"
                    )
                file.write(part)
        if not size:
            raise DataError(f"{name}: the file is empty; copy or download it again")
        with path.open("rb") as stored:
            if stored.read(len(_MAGIC)) == _MAGIC:
                raise DataError(
                    f"{name}: it is packed more than once; unpack it and choose it again"
                )
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def read(files: list[tuple[str, pathlib.Path]], *, unpacked: int) -> Scan:
    """One patient's scan from the files of its contrasts.

    Args:
        files: (the user's name, where `receive` stored it).
        unpacked: bytes that one volume may take as float32.

    Raises:
        TooLarge: a volume would take more.
        DataError: as `brainjax.infer.scan.read_scan`, in the user's words.
    """
    contrasts = _contrasts([name for name, _ in files])
    with reading(files):
        for name, path in files:
            shape = read_shape(path)
            if len(shape) > 3:
                raise DataError(
                    f"{name}: holds {shape[3]} volumes in one file; split it into a file for each contrast"
                )
            if math.prod(shape) * _FLOAT32 > unpacked:
                raise TooLarge(f"{name}: its header claims more than this server takes")
        paths = [path for _, path in files]
        return read_scan(
            contrasts=dict(sorted(zip(contrasts, paths, strict=True), key=_rank)),
            name=_title([name for name, _ in files]),
        )


@contextlib.contextmanager
def reading(files: Iterable[tuple[str, pathlib.Path]]) -> Iterator[None]:
    """While it is entered nobody else reads, and errors tell the users' names of files, not where they lie.

    Args:
        files: (the user's name, path).
    """
    with _READING:
        try:
            yield
        except DataError as error:
            text = str(error)
            for name, path in files:
                text = text.replace(str(path), name)
            raise type(error)(text) from error


def plain(name: str) -> str:
    """A name fit for a file on any system, and for a header of HTTP."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("-_.") or "scan"


def clean(name: str) -> str:
    """A file's name fit to be shown: without folders, control characters and marks that turn text around."""
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(c for c in name if unicodedata.category(c)[0] not in "CZ" or c == " ").strip()
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST // 2 - 1]}…{name[-_LONGEST // 2 :]}"
    return name or "scan"


def _chunks(stream: BinaryIO, name: str, most: int) -> Iterator[bytes]:
    size = 0
    while part := _full(stream):
        size += len(part)
        if size > most:
            raise TooLarge(f"{name}: it is larger than {_mib(most)}, all that this server takes")
        yield part


def _full(stream: BinaryIO) -> bytes:
    """A chunk that is short only at the end: of what comes over a network, a read may give a single byte."""
    parts, missing = [], _CHUNK
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _unpack(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Bytes as they are, or unpacked if they are gzip's; never more than a chunk at once."""
    decoder, started, zipped = None, False, False
    for chunk in chunks:
        if not started:
            started, zipped = True, chunk[:2] == _MAGIC
        if not zipped:
            yield chunk
            continue
        while chunk:
            if decoder is None:
                chunk = chunk.lstrip(b"\0")  # which some programs append
                if not chunk:
                    break
                decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
            try:
                part = decoder.decompress(chunk, _CHUNK)
            except zlib.error as error:
                raise DataError(
                    f"{name}: truncated or damaged ({error}); copy or download it again"
                ) from error
            if part:
                yield part
            chunk = decoder.unconsumed_tail or decoder.unused_data
            if decoder.eof:
                decoder = None  # a file may be several, one after the other
    while decoder is not None and (part := decoder.decompress(b"", _CHUNK)):
        yield part
    if decoder is not None and not decoder.eof:
        raise DataError(f"{name}: truncated; copy or download it again")


def _contrasts(names: list[str]) -> list[str]:
    """The contrast of each file, by its name."""
    found = [contrast_of(name) for name in names]
    if len(names) == 1:
        return found
    for i, (name, contrast) in enumerate(zip(names, found, strict=True)):
        if contrast == UNKNOWN:
            raise DataError(
                f"{name}: its name does not say which contrast it is; end it in _t1, _t1ce, _t2 or _flair"
            )
        if contrast in found[:i]:
            raise DataError(
                f"{name}: is a second {contrast} beside {names[found.index(contrast)]}; "
                "choose the contrasts of one patient"
            )
    return found


def _rank(item: tuple[str, pathlib.Path]) -> int:
    return CONTRASTS.index(item[0]) if item[0] in CONTRASTS else len(CONTRASTS)


def _title(names: list[str]) -> str:
    """What the names have in common, fit for a file's name too."""
    stems = [_ENDING.sub("", name) for name in names]
    common = os.path.commonprefix(stems) if len(stems) > 1 else stems[0]
    if len(stems) > 1:
        common = re.sub(r"[^-_. ]*$", "", common)  # whole words alone: t1 and t2 share a t
    return plain(common)


def _mib(size: int) -> str:
    return f"{size / 2**20:.3g} MiB"
