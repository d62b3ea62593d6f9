"""Opens the zip files that weights come in, so that reading them cannot take more memory than they take on disk."""

import pathlib
import struct
import tokenize
import zipfile
import zlib

from brainjax.types import CheckpointError

# What a damaged or hostile file makes the readers of this room raise.
MALFORMED = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError),
    *(OverflowError, MemoryError, SyntaxError, struct.error, zlib.error, zipfile.BadZipFile),
    RuntimeError,  # also of members under a password, and of too deep nesting
    tokenize.TokenError,  # of NumPy's parser of headers
)


def open_zip(path: pathlib.Path) -> zipfile.ZipFile:
    """Opens `path` for reading.

    PyTorch, NumPy and Keras store numbers as they are. A file whose members are together larger than itself is
    compressed, or its members overlap: a few kilobytes could then fill the memory.

    Raises:
        CheckpointError: such a file.
        zipfile.BadZipFile, OSError: no zip file.
    """
    archive = zipfile.ZipFile(path)
    if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
        archive.close()
        raise CheckpointError(
            f"{path}: its members are larger than the file; write it again without compression"
        )
    return archive


def reason(error: Exception) -> str:
    """Kind and text of what a reader raised, on one line and short whatever names the file holds."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else f"{text[:200]}..."
