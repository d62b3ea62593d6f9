"""Which rows make the batch of a step: a pure function of (seed, step).

Every feed - arrays in memory, the whole set on the device, tf.data - asks here, so all of them
train on the same batches, and a run resumes at step s by starting at step s: there is no iterator
state to save.
"""

import dataclasses
import functools

import numpy as np

from brainjax.types import ConfigError

# Streams draw from separate random sequences.
_ANY, _FOREGROUND = 0, 1


@functools.lru_cache(maxsize=8)
def _permutation(seed: int, stream: int, epoch: int, size: int) -> np.ndarray:
    """The order in which `size` items are visited in one epoch.

    Philox is counter-based: any epoch's shuffle costs the same, without drawing those before it.
    """
    bits = np.random.Philox(key=np.array([seed % 2**64, (stream << 32) + epoch], np.uint64))
    return np.random.Generator(bits).permutation(size)


def _visit(seed: int, stream: int, first: int, count: int, size: int) -> np.ndarray:
    """[count] int64: items number `first` and on of an endless sequence of shuffled epochs."""
    epoch, place = np.divmod(np.arange(first, first + count), size)
    items = np.empty(count, np.int64)
    for e in np.unique(epoch).tolist():
        here = epoch == e
        items[here] = _permutation(seed, stream, e, size)[place[here]]
    return items


@dataclasses.dataclass(frozen=True, eq=False)
class Order:
    """The endless, shuffled, reproducible sequence of training batches.

    Two streams of shuffled epochs run side by side, one over all rows and one over the rows with a
    lesion; each visits each of its rows once an epoch. Epochs need not end with a batch: the rest
    of the batch opens the next epoch.

    Attributes:
        rows: [n] the rows to train on.
        foreground: [m] those of them whose mask is not empty; without any, all rows fill the batch.
        batch_size: rows a step.
        fraction: share of each batch drawn from `foreground`, in [0, 1]; the rest comes from all
            rows. Lesions fill few slices, and a batch without any teaches a Dice loss little.
        seed: of the shuffles.
        part: [b] which of a batch's rows are read here, where several hosts share it; None for all.

    Raises:
        ConfigError: no rows, an empty batch, or a fraction outside [0, 1].
    """

    rows: np.ndarray
    foreground: np.ndarray
    batch_size: int
    fraction: float
    seed: int
    part: np.ndarray | None = None

    def __post_init__(self):
        if not len(self.rows):
            raise ConfigError("there are no rows to train on; give the test and val splits less")
        if self.batch_size < 1:
            raise ConfigError(f"--config.train.batch_size={self.batch_size}; use 1 or more")
        if not 0.0 <= self.fraction <= 1.0:
            raise ConfigError(f"--config.input.foreground={self.fraction}; choose 0.0 to 1.0")

    def __call__(self, step: int) -> np.ndarray:
        """[batch_size] int64: the rows of this step's batch, those from `foreground` first; or `part` of them."""
        before, wanted = self._places(step)
        picked = self._draw(_FOREGROUND, self.foreground, before, wanted)
        before, wanted = step * self.batch_size - before, self.batch_size - wanted
        others = self._draw(_ANY, self.rows, before, wanted)
        rows = np.concatenate([picked, others]).astype(np.int64)
        return rows if self.part is None else rows[self.part]

    def _places(self, step: int) -> tuple[int, int]:
        """Places for `foreground` in all batches before this step's, and in this step's.

        As many in every batch; where that would be none, one in some.
        """
        share = self.batch_size * self.fraction if len(self.foreground) else 0.0
        if round(share):
            return step * round(share), round(share)
        return int(step * share), int((step + 1) * share) - int(step * share)

    def _draw(self, stream: int, rows: np.ndarray, before: int, count: int) -> np.ndarray:
        """[count] of `rows`, after so many before."""
        if not count:
            return np.empty(0, np.int64)
        return np.asarray(rows)[_visit(self.seed, stream, before, count, len(rows))]
