"""SHA256SUMS: the checksums that lie beside released files, in the format of `sha256sum`."""

import pathlib
from collections.abc import Sequence

from brainjax.files import digest, write_text
from brainjax.types import CheckpointError

SUMS = "SHA256SUMS"


def write(directory: pathlib.Path, names: Sequence[str]) -> None:
    """Writes the sums of these files of a folder."""
    lines = (f"{digest(directory / name)}  {name}\n" for name in names)
    write_text(directory / SUMS, "".join(lines))


def check(directory: pathlib.Path, names: Sequence[str]) -> None:
    """Compares these files of a folder with their sums.

    Raises:
        CheckpointError: a file differs, or its sum is not there.
        OSError, ValueError: a file is missing, or the sums are no such list.
    """
    sums = {}
    for line in (directory / SUMS).read_text().splitlines():
        wanted, name = line.split(maxsplit=1)
        sums[name] = wanted
    for name in names:  # a sum that is not listed does not match either
        if digest(directory / name) != sums.get(name):
            raise CheckpointError(
                f"{directory / name} does not match its SHA-256 in {SUMS}: it is damaged or was "
                f"changed; fetch it again"
            )
