"""The same run from several seeds: how much of a score is luck?

    python -m experiments.sweep --config=configs/unet.py --sweep=configs/sweeps/seeds.py --workdir=DIR

Five seeds of whatever --config says; they draw other weights, batches, augmentations and dropout. Variants: folds
(five seeds become five folds by patient, so that every patient is tested once), rates (three learning rates x three
seeds).
"""

from brainjax.lookup import lookup
from brainjax.sweep import Sweep, grid


def get_sweep(variant: str = "seeds") -> Sweep:
    """The sweep called `variant`, see the top of this file."""
    return lookup(variant, VARIANTS, "variant")()


VARIANTS = {
    "seeds": lambda: grid(seed=range(5)),
    "folds": lambda: grid(
        {"split.name": ["k_fold"], "split.folds": [5], "split.fold": range(5), "split.val": [0]}
    ),
    "rates": lambda: grid({"optimizer.learning_rate": [3e-4, 1e-3, 3e-3], "seed": range(3)}),
}
