"""The reference's two residual U-Nets for skull stripping x three losses: 6 trials.

    python -m experiments.sweep --config=configs/nfbs.py --sweep=configs/sweeps/r0_strip.py --workdir=DIR

The mean squared error is the reference's loss; a Dice and the signed distance transform its authors wished for.
"""

from brainjax.sweep import Sweep, grid, product


def get_sweep() -> Sweep:
    """6 trials."""
    losses = [
        *grid({"loss.name": ["mse", "dice"]}),
        # The embedded heads have voxels of 2.5 x 2.5 x 2.4 mm, about.
        {"loss.name": "signed_distance", "loss.radius": 10.0, "loss.spacing": 2.5},
    ]
    return product(grid({"model.variant": ["first", "second"]}), losses)
