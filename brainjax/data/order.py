"""Which rows make the batch of a step: a pure function of (seed, step).

Every feed - arrays in memory, the whole set on the device, tf.data - asks here, so all of them train on the
same batches, and a run resumes at step s by starting at step s: there is no iterator state to save.
"""

import dataclasses
import functools

import numpy as np

# Streams draw from separate random sequences.
_ANY, _FOREGROUND = 0, 1


@functools.lru_cache(maxsize=8)
def _permutation(seed: int, stream: int, epoch: int, size: int) -> np.ndarray:
    """The order in which `size` items are visited in one epoch."""
    bits = np.random.Philox(key=[seed, (stream << 32) + epoch])
    return np.random.Generator(bits).permutation(size)


def _visit(seed: int, stream: int, first: int, count: int, size: int) -> np.ndarray:
    """Items number `first` to `first + count` of an endless sequence of shuffled epochs."""
    places = np.arange(first, first + count)
    return np.array(
        [_permutation(seed, stream, int(p // size), size)[p % size] for p in places], np.int64
    )


@dataclasses.dataclass(frozen=True)
class Order:
    """The endless, shuffled, reproducible sequence of training batches.

    Attributes:
        rows: [n] the rows to train on.
        foreground: [m] those of them whose mask is not empty.
        batch_size: rows a step.
        fraction: share of each batch drawn from `foreground`; the rest comes from all rows. Lesions fill
            few slices, and a batch without any teaches a Dice loss little.
        seed: of the shuffles.
    """

    rows: np.ndarray
    foreground: np.ndarray
    batch_size: int
    fraction: float
    seed: int

    def __call__(self, step: int) -> np.ndarray:
        """[batch_size] int64: the rows of this step's batch."""
        wanted = round(self.batch_size * self.fraction) if len(self.foreground) else 0
        rest = self.batch_size - wanted
        picked = self.foreground[
            _visit(self.seed, _FOREGROUND, step * wanted, wanted, max(len(self.foreground), 1))
        ]
        others = self.rows[_visit(self.seed, _ANY, step * rest, rest, len(self.rows))]
        return np.concatenate([picked, others])
