"""Augmentation on the device, inside the jitted training step."""

from brainjax.augment import intensity, spatial
from brainjax.augment.compose import Augment

__all__ = ["Augment", "intensity", "spatial"]
