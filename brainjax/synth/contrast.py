"""From tissue to signal: relaxation times and the spin-echo equations of T1, T1ce, T2 and FLAIR.

Signals follow the usual steady-state equations (e.g. Bernstein, King, Zhou, "Handbook of MRI Pulse Sequences", 2004,
chapter 14): spin echo `PD (1 - exp(-TR/T1)) exp(-TE/T2)`, inversion recovery
`PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2)`. A voxel of several tissues has the mean of their signals.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from brainjax.synth import anatomy, tumour

CHANNELS = ("t1", "t1ce", "t2", "flair")
CLASSES = (*anatomy.TISSUES, *tumour.PARTS)

# Proton density (water 1), T1 and T2 in ms near 1.5-3 T, and uptake of contrast agent in 1/s added to 1/T1. Effective
# values: fat is bright in fast spin echo, hence its long T2; flowing blood is nearly void, hence its low density.
_TABLE = {
    "air": (0.00, 1000, 50, 0.0),
    "scalp": (0.80, 330, 95, 0.0),
    "skull": (0.07, 500, 20, 0.0),
    "csf": (1.00, 4000, 1400, 0.0),
    "grey": (0.81, 1300, 95, 0.03),
    "white": (0.71, 720, 74, 0.02),
    "marrow": (0.45, 480, 65, 0.3),
    "muscle": (0.70, 1100, 42, 0.3),
    "eye": (0.98, 3600, 1000, 0.0),
    "deep_grey": (0.77, 1000, 82, 0.03),
    "vein": (0.45, 1500, 40, 3.0),
    "necrosis": (0.95, 2700, 330, 0.03),
    "rim": (0.84, 1500, 150, 2.2),
    "oedema": (0.88, 1600, 230, 0.02),
}
_SEQUENCES = {  # TR, TE in ms
    "t1": (500, 11),
    "t1ce": (500, 11),
    "t2": (4600, 98),
    "flair": (9000, 118),
}
_FAT = np.array([name in ("scalp", "marrow") for name in CLASSES], np.float32)


class Contrast(NamedTuple):
    """One patient's tissues in one session's sequences.

    Attributes:
        relaxation: [tissues 4] proton density, T1 and T2 in ms, uptake in 1/s.
        timing: [4 2] TR and TE in ms of each of `CHANNELS`.
        inversion: [] TI of the FLAIR in ms.
        fat: [4] signal of fat left by fat suppression, 0 to 1.
    """

    relaxation: Array
    timing: Array
    inversion: Array
    fat: Array


def sample_contrast(key: Array, *, enhancing: Array | float = 1.0) -> Contrast:
    """Draws tissue and sequence parameters: a few percent about the table.

    Args:
        key: PRNG key.
        enhancing: [] 1 where the tumour's rim takes up contrast agent, 0 where it does not.
    """
    rows, columns = len(CLASSES), len(CHANNELS)
    draw = 2 * jax.random.uniform(key, (4 * rows + 4 * columns + 1,)) - 1
    of_table, of_timing, of_fat, of_inversion = jnp.split(
        draw, [4 * rows, 4 * rows + 2 * columns, 4 * rows + 4 * columns]
    )
    table = jnp.array([_TABLE[name] for name in CLASSES], jnp.float32)
    # Healthy brain varies less from patient to patient than lesions, muscle and fat do.
    brain = [name in ("csf", "grey", "white", "deep_grey") for name in CLASSES]
    amount = jnp.where(jnp.array(brain), 0.04, 0.12)[:, None] * jnp.array([0.3, 1.0, 1.0, 2.5])
    table = table * jnp.exp(amount * of_table.reshape(rows, 4))
    table = table.at[CLASSES.index("rim"), 3].multiply(enhancing)

    timing = jnp.array([_SEQUENCES[name] for name in CHANNELS], jnp.float32)
    timing = timing * jnp.exp(0.13 * of_timing.reshape(columns, 2))
    # A FLAIR's TI is set to null this patient's CSF, and misses by a little.
    csf, repetition = table[anatomy.CSF, 1], timing[CHANNELS.index("flair"), 0]
    null = csf * (jnp.log(2.0) - jnp.log1p(jnp.exp(-repetition / csf)))
    inversion = null * jnp.exp(0.03 * of_inversion[0])
    chance, left = (of_fat.reshape(2, columns) + 1) / 2
    suppressed = chance < jnp.array([0.0, 0.25, 0.3, 0.4])
    return Contrast(table, timing, inversion, jnp.where(suppressed, 0.15 + 0.35 * left, 1.0))


def signals(contrast: Contrast) -> Array:
    """Signal of each pure tissue in each sequence: [tissues 4] float32, before any scaling."""
    density, t1, t2, uptake = contrast.relaxation.T[..., None]  # [tissues 1] each
    agent = jnp.array([name == "t1ce" for name in CHANNELS], jnp.float32)
    t1 = 1 / (1 / t1 + agent * uptake / 1000)  # [tissues 4]
    repetition, echo = contrast.timing.T  # [4] each
    spin_echo = 1 - jnp.exp(-repetition / t1)
    inverted = jnp.abs(1 - 2 * jnp.exp(-contrast.inversion / t1) + jnp.exp(-repetition / t1))
    is_flair = jnp.array([name == "flair" for name in CHANNELS])
    signal = density * jnp.where(is_flair, inverted, spin_echo) * jnp.exp(-echo / t2)
    return signal * jnp.where(_FAT[:, None] > 0, contrast.fat, 1.0)


def apply_contrast(contrast: Contrast, fractions: Array) -> Array:
    """Images the tissues.

    Args:
        contrast: tissue and sequence parameters.
        fractions: [tissues *shape] float32, of a grid of any rank.

    Returns:
        [4 *shape] float32, one image for each of `CHANNELS`.
    """
    return jnp.tensordot(signals(contrast).T, fractions, axes=1, precision="highest")
