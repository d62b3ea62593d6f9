"""Raw files in, arrays out, and volumes back out; errors name the file and the fix."""

from brainjax.io.files import read_volume, write_volume
from brainjax.io.images import read_image, read_size
from brainjax.io.nifti import read_grid
from brainjax.io.volume import Grid, Volume

__all__ = [
    "Grid",
    "Volume",
    "read_grid",
    "read_image",
    "read_size",
    "read_volume",
    "write_volume",
]
