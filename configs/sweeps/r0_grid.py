"""The grid of the reference's classification study: 4 networks x 3 losses x 3 optimizers = 36 trials.

    python -m experiments.sweep --config=configs/classifier.py:reference --sweep=configs/sweeps/r0_grid.py --workdir=DIR

VGG16, MobileNetV2, ResNet50 and EfficientNetB0, each with cross-entropy, Kullback-Leibler divergence and categorical hinge,
each by Adam, NAdam and SGD with momentum. The hinge compares probabilities, as it did behind the reference's softmax. On
one-hot labels the first two losses have the same gradient: from one seed they give the same network, and what the
reference saw between them was chance.

The learning rate belongs to the optimizer, and for VGG16, which has no normalisation layers, also to the network. Variant:
seeds (each trial from three seeds, 108 in all).
"""

from brainjax.lookup import lookup
from brainjax.sweep import Sweep, grid, product, zipped

# Optimizer -> learning rate; VGG16's is for weights without normalisation between them.
RATES = {"adam": 1e-3, "nadam": 1e-3, "sgd": 1e-2}
RATES_VGG = {"adam": 1e-4, "nadam": 1e-4, "sgd": 1e-2}


def get_sweep(variant: str = "once") -> Sweep:
    """The sweep called `variant`, see the top of this file."""
    return lookup(variant, VARIANTS, "variant")()


def _once() -> Sweep:
    losses = [
        *grid({"loss.name": ["softmax_ce", "kl_divergence"]}),
        {"loss.name": "categorical_hinge", "loss.activation": "softmax"},
    ]
    sweep = []
    for model in ("VGG", "MobileNetV2", "ResNet", "EfficientNet"):
        rates = RATES_VGG if model == "VGG" else RATES
        optimizers = zipped({"optimizer.name": rates, "optimizer.learning_rate": rates.values()})
        for trial in optimizers:
            if trial["optimizer.name"] == "sgd":
                trial["optimizer.momentum"] = 0.9
        sweep += product([{"model.name": model}], losses, optimizers)
    return sweep


VARIANTS = {"once": _once, "seeds": lambda: product(_once(), grid(seed=range(3)))}
