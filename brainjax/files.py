"""Files that appear whole or not at all, what is in them, and trees of them."""

import contextlib
import hashlib
import os
import pathlib
import secrets
from collections.abc import Iterable, Iterator

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
    # Several machines may write to one folder, and have processes of one number.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
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


def digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file, or of the files right in a folder and their names; in hexadecimal."""
    path = pathlib.Path(path)
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = (f"{file.name}\0{digest(file)}\0" for file in sorted(path.iterdir()) if file.is_file())
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def files_below(
    folder: str | os.PathLike, *, without: Iterable[str | os.PathLike] = ()
) -> list[pathlib.Path]:
    """The files of a tree in order of their paths, through links to folders too; every folder once.

    Args:
        folder: where to begin.
        without: folders within it that are not entered.
    """
    passed, found = {os.path.realpath(path) for path in without}, []
    passed.discard(os.path.realpath(folder))
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in passed:
            folders.clear()
            continue
        passed.add(real)
        folders.sort()
        found += [pathlib.Path(here, name) for name in files]
    return sorted(path for path in found if path.is_file())


def by_folder(files: Iterable[pathlib.Path]) -> dict[pathlib.Path, list[pathlib.Path]]:
    """Folder -> its files, in their order."""
    folders: dict[pathlib.Path, list[pathlib.Path]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file)
    return folders
