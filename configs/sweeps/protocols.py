"""One experiment under every protocol, side by side: what the split of a set of pictures does to its score.

    python -m experiments.sweep --config=configs/classifier.py --sweep=configs/sweeps/protocols.py --workdir=DIR

As shipped (leaks), as shipped without the test pictures that leak, a random split of all pictures (leaks), and five grouped,
stratified folds, over which every picture is tested once.
"""

from brainjax.sweep import Sweep, chain, grid


def get_sweep() -> Sweep:
    """8 trials."""
    shipped = grid({"split.name": ["as_shipped", "as_shipped_clean", "random_images"]})
    folds = grid({"split.name": ["stratified_k_fold"], "split.fold": range(5)})
    return chain(shipped, folds)
