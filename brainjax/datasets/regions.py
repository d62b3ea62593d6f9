"""The nested regions that brain tumours are scored by, and the labels they are made of.

BraTS asks for three regions, each inside the one before: whole tumour (WT), tumour core (TC) and enhancing tumour
(ET). Its files hold labels instead, whose numbers have changed:

    year        1          2        3               4
    2013        necrosis   oedema   non-enhancing   enhancing
    2017-2021   necrosis and non-enhancing   oedema   -   enhancing
    2023        necrosis and non-enhancing   oedema   enhancing   -

so that one number, that of the enhancing tumour, says all. (Since 2024 the files of treated patients have 4 for the
resection cavity, which is in none of the regions: relabel it to 0 first.)
"""

from typing import Any

import numpy as np

from brainjax.types import ConfigError, DataError

REGIONS = ("WT", "TC", "ET")
NECROSIS, OEDEMA = 1, 2
ENHANCING = (3, 4)  # the two numbers in use


def enhancing_label(labels: np.ndarray, name: str = "the label map") -> int:
    """Which number the enhancing tumour has in a file: 4 where there is a 4, else 3.

    Right for every file of 2017 to 2023 (where there is neither, it does not matter). A file of 2013 whose tumour does
    not enhance would be taken for one of 2023.

    Args:
        labels: [X Y Z].
        name: of the file, for the error.

    Raises:
        DataError: labels that are none of 0, 1, 2, 3, 4.
    """
    found = np.unique(labels)
    odd = [f"{x:g}" for x in found if x not in (0, 1, 2, 3, 4)]
    if odd:
        raise DataError(
            f"{name} has labels that BraTS has not: {', '.join(odd[:5])}; relabel it to 0-4"
        )
    return 4 if 4 in found else 3


def to_regions(labels: Any, enhancing: int = 4) -> Any:
    """Labels -> the three regions.

    Args:
        labels: [*spatial], a numpy or jax array.
        enhancing: 3 or 4; with 4 a label 3 is core that does not enhance.

    Returns:
        [*spatial 3] bool: WT, TC, ET.

    Raises:
        ConfigError: another `enhancing`.
    """
    _check(enhancing)
    xp = labels.__array_namespace__()
    core = (labels == NECROSIS) | (labels == 3) | (labels == 4)
    if enhancing == 3:
        core = core & (labels != 4)
    return xp.stack([core | (labels == OEDEMA), core, labels == enhancing], axis=-1)


def to_labels(regions: Any, enhancing: int = 4) -> Any:
    """The three regions -> labels: the inverse of `to_regions`, where 3 was not split off from 1.

    Regions that are not nested, as networks predict them, are made so: what is in an inner one is in the outer ones.

    Args:
        regions: [*spatial 3] bool or {0, 1}: WT, TC, ET; a numpy or jax array.
        enhancing: 3 or 4, the label to give to ET.

    Returns:
        [*spatial] uint8.

    Raises:
        ConfigError: another `enhancing`.
        ValueError: not three regions.
    """
    _check(enhancing)
    if regions.shape[-1] != len(REGIONS):
        raise ValueError(f"regions {regions.shape} must be [*spatial 3]: {', '.join(REGIONS)}")
    xp = regions.__array_namespace__()
    whole, core, enhances = (regions[..., k] > 0 for k in range(3))
    labels = xp.where(whole, OEDEMA, 0)
    labels = xp.where(core, NECROSIS, labels)
    return xp.where(enhances, enhancing, labels).astype(np.uint8)


def _check(enhancing: int) -> None:
    if enhancing not in ENHANCING:
        raise ConfigError(
            f"enhancing={enhancing}: BraTS labels enhancing tumour 4, or 3 since 2023."
        )
