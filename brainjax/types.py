"""Names shared by every room: axis letters, batch keys, typed errors and the shape check.

Axis letters, the same everywhere: `B` batch, `X Y Z` voxels in NIfTI RAS+ order, `H W` image, `C` channels
or classes, `N` tokens, `D` width. A batch is a plain dict:

    image  [B H W C] float32   normalised intensities
    mask   [B H W K] float32   {0, 1}, one channel per class or region
    valid  [B]       float32   1 for real examples, 0 for the padding of a last, incomplete batch
"""

from collections.abc import Mapping
from typing import Any

Batch = Mapping[str, Any]


class BrainjaxError(Exception):
    """Base of every error a user can cause; its message is one line that names the fix."""


class ConfigError(BrainjaxError):
    """A configuration that cannot work: unknown name, impossible combination."""


class DataError(BrainjaxError):
    """Input files that cannot be used as they are."""


class NotFinite(DataError):
    """Predictions with NaN or infinity among them: the network has diverged."""


class CheckpointError(BrainjaxError):
    """A checkpoint or a released model that is missing, corrupt or of another model."""


def check_shape(name: str, array: Any, shape: tuple[int | None, ...]) -> None:
    """Raises `ValueError` unless `array.shape` matches `shape`, where None matches any size.

    Example: `check_shape('kernel', w, (3, 3, None, 16))`.
    """
    actual = tuple(array.shape)
    if len(actual) != len(shape) or any(
        e is not None and a != e for a, e in zip(actual, shape, strict=True)
    ):
        wanted = " x ".join("?" if e is None else str(e) for e in shape)
        raise ValueError(f"{name} has shape {actual}, expected [{wanted}]")
