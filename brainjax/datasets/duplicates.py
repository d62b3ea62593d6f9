"""The same picture twice: exact copies by their pixels, near copies by how they look.

Public sets of pictures repeat themselves: copied files, the same picture saved again at another size or crop, and
neighbouring slices of one head. Whatever is alike is one group, and a group must not be on two sides of a split.

Near copies are found in two stages, on thumbnails cropped to the head. A perceptual hash (the signs of the 16 x 16
lowest frequencies of a cosine transform, about their median: Zauner, "Implementation and benchmarking of perceptual
image hash functions", 2010) proposes pairs; the correlation of the thumbnails confirms them.

Both thresholds were set by looking at pairs on either side of them in the 4-class brain-tumour set (2,727 of its
pictures). Its file numbers help: neighbouring slices of a head mostly have neighbouring numbers. Of the pairs of
training pictures that pass, without those of one pixel content, 97% have numbers at most 6 apart, and most of the
rest are visibly one head; at 64 bits and a correlation of 0.85 18% are further apart, mostly other heads. The largest
group has 10 pictures, so nothing chains. 216 of 325 test pictures have company in training, 198 of them by the very
pixels; two test pictures labelled glioma are labelled meningioma elsewhere. Copies mirrored left to right are looked
for in the same way; neither that set nor the yes/no set has any.
"""

import hashlib

import numpy as np
from scipy import fft, sparse
from scipy.sparse import csgraph

from brainjax.types import ConfigError

MODES = ("near", "exact", "none")
THUMBNAIL = 64  # pixels of the edge
FREQUENCIES = 16
BITS_APART = 48  # of 255
CORRELATION = 0.9
_PAIRS = 2048  # correlated at a time: 100 MB
_ROWS = 128  # compared with all others at a time: 30 MB for 7,000 pictures


def content_hash(grey: np.ndarray) -> str:
    """16 hexadecimal digits that stand for the pixels of [H W] uint8, however they are packed in a file."""
    digest = hashlib.sha256(repr(grey.shape).encode())
    digest.update(np.ascontiguousarray(grey).data)
    return digest.hexdigest()[:16]


def components(content: list[str], thumbnails: np.ndarray, mode: str = "near") -> np.ndarray:
    """Which pictures belong together.

    Args:
        content: N hashes, of `content_hash`.
        thumbnails: [N THUMBNAIL THUMBNAIL] uint8, cropped to the head; looked at for 'near' alone.
        mode: 'near', 'exact', or 'none' for every picture by itself.

    Returns:
        [N] int32, numbers from 0 in order of first appearance; what is alike, directly or by way of others, has
        one number.

    Raises:
        ConfigError: no such mode.
    """
    if mode not in MODES:
        raise ConfigError(f"duplicates={mode!r}; choose one of {', '.join(MODES)}")
    if mode == "none" or not len(content):
        return np.arange(len(content), dtype=np.int32)
    _, first, number = np.unique(content, return_index=True, return_inverse=True)
    if mode == "near":
        a, b = near_pairs(thumbnails[first]).T
        graph = sparse.coo_array((np.ones(len(a), bool), (a, b)), shape=(len(first), len(first)))
        number = csgraph.connected_components(graph, directed=False)[1][number]
    _, first, number = np.unique(number, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int32)[number]


def near_pairs(thumbnails: np.ndarray) -> np.ndarray:
    """Pairs that are likely one picture, or slices of one head.

    Every picture is compared with every other, by exclusive-or and counting bits: 7,000 take some seconds.

    Args:
        thumbnails: [N S S] uint8, cropped to the head.

    Returns:
        [P 2] int32, (i, j) with i < j, ascending.
    """
    codes, flat = perceptual_hash(thumbnails), _unit(thumbnails)
    flipped = perceptual_hash(thumbnails[:, :, ::-1])
    found = [np.empty((0, 2), np.int32)]
    for start in range(0, len(codes), _ROWS):
        rows = slice(start, start + _ROWS)
        for of_rows, mirror in ((codes[rows], False), (flipped[rows], True)):
            apart = np.bitwise_count(of_rows[:, None] ^ codes[None, start:]).sum(
                -1, dtype=np.uint16
            )
            i, j = (n + start for n in np.nonzero(apart <= BITS_APART))
            i, j = i[i < j], j[i < j]
            # Among pictures that are all alike, every pair is proposed.
            for first in range(0, len(i), _PAIRS):
                a, b = i[first : first + _PAIRS], j[first : first + _PAIRS]
                one = _unit(thumbnails[a][:, :, ::-1]) if mirror else flat[a]
                alike = np.einsum("nd,nd->n", one, flat[b]) >= CORRELATION
                found.append(np.stack([a[alike], b[alike]], axis=1).astype(np.int32))
    return np.unique(np.concatenate(found), axis=0)


def perceptual_hash(thumbnails: np.ndarray) -> np.ndarray:
    """Codes whose Hamming distance says how different pictures look.

    Args:
        thumbnails: [N S S] uint8, S at least `FREQUENCIES`.

    Returns:
        [N 4] uint64: 255 bits and one of padding.
    """
    waves = fft.dctn(thumbnails.astype(np.float32), axes=(1, 2), norm="ortho")
    waves = waves[:, :FREQUENCIES, :FREQUENCIES].reshape(len(waves), -1)[
        :, 1:
    ]  # brightness says nothing
    bits = waves > np.median(waves, axis=1, keepdims=True)
    return np.packbits(np.pad(bits, ((0, 0), (0, 1))), axis=1).view(np.uint64)


def _unit(thumbnails: np.ndarray) -> np.ndarray:
    """[N S*S] float32 of mean 0 and length 1, so that a product is a correlation; 0 where all is one grey."""
    flat = thumbnails.reshape(len(thumbnails), np.prod(thumbnails.shape[1:])).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
