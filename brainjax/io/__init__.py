"""Raw files in, arrays out; errors name the file and the fix."""

from brainjax.io.images import read_image, read_size

__all__ = ["read_image", "read_size"]
