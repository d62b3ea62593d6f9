"""What the numbers of a whole-head label map mean: FreeSurfer's for the brain, 502 to 530 for the rest of the head.

Left and right count as one, and structures that no contrast tells apart do too. The tissue is what a class is imaged
as when the contrast is to be that of a real sequence (`brainjax.synth.contrast`).
"""

import numpy as np

# name: (labels, tissue, part of the brain)
_TABLE: dict[str, tuple[tuple[int, ...], str, bool]] = {
    "air": ((0,), "air", False),
    "white": ((2, 41), "white", True),
    "grey": ((3, 42), "grey", True),
    "ventricle": ((4, 5, 14, 15, 43, 44, 72), "csf", True),
    "cerebellar_white": ((7, 46), "white", True),
    "cerebellar_grey": ((8, 47), "grey", True),
    "thalamus": ((10, 49), "deep_grey", True),
    "striatum": ((11, 12, 26, 50, 51, 58), "deep_grey", True),
    "pallidum": ((13, 52), "deep_grey", True),
    "brainstem": ((16, 28, 60, 85), "white", True),
    "hippocampus": ((17, 18, 53, 54), "grey", True),
    "csf": ((24,), "csf", True),
    "lesion": ((25, 57, 77), "oedema", True),
    "choroid": ((30, 31, 62, 63, 136, 137, 163, 164), "vein", True),
    "artery": ((502,), "vein", False),
    "eye": ((506,), "eye", False),
    "lens": ((508,), "muscle", False),
    "mucosa": ((509,), "muscle", False),
    "skin": ((511,), "scalp", False),
    "cord": ((512,), "white", False),
    "dura": ((514,), "vein", False),
    "bone": ((515,), "skull", False),
    "marrow": ((516,), "marrow", False),
    "optic_nerve": ((530,), "white", False),
    "soft": ((507,), "muscle", False),
}

NAMES = tuple(_TABLE)
TISSUE_OF = tuple(tissue for _, tissue, _ in _TABLE.values())
IN_BRAIN = np.array([brain for _, _, brain in _TABLE.values()])
# The brain itself, without the fluid around it; its ventricles count as its own.
IS_TISSUE = IN_BRAIN & (np.array(NAMES) != "csf")
BRAINSTEM = NAMES.index("brainstem")
CEREBELLUM = (NAMES.index("cerebellar_white"), NAMES.index("cerebellar_grey"))
_HIGHEST = 1024


def to_classes(labels: np.ndarray) -> np.ndarray:
    """Label numbers to indices into `NAMES`.

    Args:
        labels: [...] integers, or floats that are whole.

    Returns:
        [...] uint8. Numbers that the table does not have are `white` where FreeSurfer has brain (below 500) and `soft`
        beyond.
    """
    lookup = np.full(_HIGHEST, NAMES.index("soft"), np.uint8)
    lookup[:500] = NAMES.index("white")
    for index, (numbers, _, _) in enumerate(_TABLE.values()):
        lookup[list(numbers)] = index
    return lookup[np.clip(labels, 0, _HIGHEST - 1).astype(np.int16)]
