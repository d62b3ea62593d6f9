"""Linear resampling, axis by axis, with sparse weights.

Sparse, because they nearly are empty, and because dense products start threads of their own, which brings a pool of
threads that reads pictures to a crawl.
"""

import functools
from collections.abc import Sequence

import numpy as np
from scipy import sparse

SNAP = 1e-3  # of an old pixel: what lies so near to one is taken to lie on it, so that flips and shifts are exact


def centres(old: int, new: int, scale: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Where new pixels lie among the old ones.

    Args:
        old, new: pixels.
        scale, offset: the centre of new pixel i lies at `scale * i + offset` in units of old pixels.

    Returns:
        [new] float64, no further than an old pixel's edge from the outermost centres; [new] bool, False for the new
        pixels that do not overlap the old ones at all.
    """
    at = scale * np.arange(new) + offset
    whole = np.rint(at)
    at = np.where(np.abs(at - whole) < SNAP, whole, at)
    reach = 0.5 + abs(scale) / 2 - SNAP
    inside = (at > -reach) & (at < old - 1 + reach)
    return np.clip(at, -0.5, old - 0.5), inside


@functools.lru_cache(maxsize=256)
def weights(
    old: int, new: int, scale: float, offset: float, antialias: bool = True
) -> sparse.csr_array:
    """The share of each old pixel in each new one.

    Args:
        old, new, scale, offset: as for `centres`.
        antialias: when shrinking, the triangle is as wide as the new pixels; else what lies at their centres is taken.

    Returns:
        [new old] float32; rows sum to 1, those of new pixels beyond the old ones are empty.
    """
    at, inside = centres(old, new, scale, offset)
    reach = abs(scale) if antialias and abs(scale) > 1 + SNAP else 1.0
    taps = min(int(np.ceil(2 * reach)), old)
    first = np.clip(np.floor(at - reach) + 1, 0, old - taps).astype(np.int64)
    pixel = first[:, None] + np.arange(taps)
    share = np.maximum(0, 1 - np.abs(pixel - at[:, None]) / reach) * inside[:, None]
    total = share.sum(axis=1, keepdims=True)
    share = (share / np.where(total > 0, total, 1)).astype(np.float32)
    row, column = np.nonzero(share)
    return sparse.csr_array((share[row, column], (row, pixel[row, column])), shape=(new, old))


def apply(array: np.ndarray, by_axis: Sequence[sparse.csr_array]) -> np.ndarray:
    """Weights along each axis of a volume.

    Slice by slice, each added to the new ones it has a share in: no memory is needed but the result's, and numbers of
    other types become float32 in the cache.

    Args:
        array: [X Y Z], any number type and memory order.
        by_axis: [x X], [y Y], [z Z].

    Returns:
        [x y z] float32, in the array's memory order.
    """
    order = np.argsort([-abs(s) for s in array.strides], kind="stable")  # slowest first
    along, *across = (by_axis[axis] for axis in order)
    rows, columns = (None if _is_identity(w) else w for w in across)
    out = np.zeros([by_axis[axis].shape[0] for axis in order], np.float32)
    shares = along.tocsc()
    for old, part in enumerate(array.transpose(order)):
        mine = slice(*shares.indptr[old : old + 2])
        if mine.start == mine.stop:
            continue
        part = np.ascontiguousarray(part, np.float32)
        part = part if rows is None else rows @ part
        part = part if columns is None else (columns @ part.T).T
        for new, share in zip(shares.indices[mine], shares.data[mine], strict=True):
            out[new] += part if share == 1 else share * part
    return out.transpose(np.argsort(order))


def _is_identity(w: sparse.csr_array) -> bool:
    return (
        w.shape[0] == w.shape[1] == w.nnz
        and np.array_equal(w.indices, np.arange(w.shape[0]))
        and bool((w.data == 1).all())
    )
