"""Text into files: whole or not at all."""

import os
import pathlib

from brainjax.types import DataError


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file, UTF-8; what it replaces stays until then.

    Args:
        path: its folder exists.
        text: '?' takes the place of what is no character, as in names of files that are not UTF-8.

    Raises:
        DataError: no such folder, no right to write there or no space left.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(text.encode("utf-8", "replace"))
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place, or make room"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
