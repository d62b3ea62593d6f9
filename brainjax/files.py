"""Files that appear whole or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from brainjax.types import DataError


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a path to write to, and puts what was written there in the place of `path`, which stays until then.

    Args:
        path: its folder exists.

    Raises:
        DataError: no such folder, no right to write there or no space left.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place, or make room"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file, UTF-8.

    Args:
        path: its folder exists.
        text: '?' takes the place of what is no character, as in names of files that are not UTF-8.

    Raises:
        DataError: see `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "replace"))
