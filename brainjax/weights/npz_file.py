"""Reads the arrays of a `.npz` file. What NumPy would unpickle is refused."""

import io
import pathlib

import numpy as np

from brainjax.types import CheckpointError
from brainjax.weights.archive import MALFORMED, open_zip, reason


def read_npz(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """All arrays by name, without NumPy's suffix '.npy'.

    Raises:
        CheckpointError: not such a file, damaged, compressed, or it holds anything but arrays of numbers.
    """
    path = pathlib.Path(path)
    found: dict[str, np.ndarray] = {}
    try:
        with open_zip(path) as archive:
            for name in archive.namelist():
                # Not np.load: its answers depend on what a member looks like, and it opens more than zip files.
                data = io.BytesIO(archive.read(name))
                array = np.lib.format.read_array(data, allow_pickle=False)
                if array.dtype.kind not in "fiub":
                    raise ValueError(f"{name[:80]!r} is no array of numbers")
                found[name.removesuffix(".npy")] = array
    except MALFORMED as error:
        raise CheckpointError(f"{path} cannot be read as NumPy arrays ({reason(error)})") from error
    if not found:
        raise CheckpointError(f"{path} holds no arrays")
    return found
