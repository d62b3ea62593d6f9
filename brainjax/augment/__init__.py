"""Augmentation on the device, inside the jitted training step.

An augmentation is a frozen dataclass with `batch(keys [B], image [B *spatial C], mask [B *spatial K])`, which returns
what the network is to see and to give, on the same grid or another. `HeadSynthesis` makes both from label maps.
"""

from brainjax.augment import intensity, spatial
from brainjax.augment.compose import Augment
from brainjax.augment.patch import PatchAugment
from brainjax.lookup import lookup
from brainjax.synth.head import HeadSynthesis

__all__ = ["Augment", "HeadSynthesis", "PatchAugment", "get", "intensity", "spatial"]

_CLASSES = {c.__name__: c for c in (Augment, PatchAugment, HeadSynthesis)}


def get(name: str) -> type:
    """The augmentation of that name.

    Raises:
        ConfigError: no such augmentation; the message names the nearest and lists all.
    """
    return lookup(name, _CLASSES, "augmentation")
