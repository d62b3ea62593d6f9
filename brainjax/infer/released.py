"""Where the models that come with brainjax are."""

import pathlib

from brainjax.infer.release import is_release
from brainjax.types import CheckpointError

_PACKAGE = pathlib.Path(__file__).parents[1]
# In an installed package the folder lies inside it, in a clone beside it.
_PLACES = (_PACKAGE / "checkpoints", _PACKAGE.parent / "checkpoints")


def find(name: str) -> pathlib.Path:
    """The folder of a released model.

    Args:
        name: a folder, or the name of a model that came with brainjax, such as 'strip_unet'.

    Raises:
        CheckpointError: there is none; the message lists those that came with brainjax.
    """
    here = pathlib.Path(name)
    for place in (here, *(place / name for place in _PLACES)):
        if is_release(place):
            return place
    known = sorted(
        {p.name for place in _PLACES if place.is_dir() for p in place.iterdir() if is_release(p)}
    )
    raise CheckpointError(
        f"{name} is no released model; give a folder, or one of {', '.join(known) or 'none installed'}"
    )
