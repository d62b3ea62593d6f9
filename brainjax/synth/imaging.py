"""From classes to an image of any contrast, with what scanners and patients add to it."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from brainjax.preprocess.rescale import rescale
from brainjax.synth import contrast, deform, freesurfer

_COUNT = len(freesurfer.NAMES)
_ROWS = np.array([contrast.CLASSES.index(tissue) for tissue in freesurfer.TISSUE_OF])
_AIR, _BONE = freesurfer.NAMES.index("air"), freesurfer.NAMES.index("bone")
_PATCHY = 14.0  # mm between the control points of the unevenness within a class
_LESIONS = 3


def image_of(
    key: Array,
    classes: Array,
    brain: Array,
    *,
    spacing: float,
    realistic: float,
    lesions: float,
    cut: float,
    thick: float,
    stripped: float,
) -> tuple[Array, Array]:
    """Images a head.

    Args:
        key: PRNG key.
        classes: [X Y Z] uint8, indices into `freesurfer.NAMES`.
        brain: [X Y Z] float32, 1 where brain.
        spacing: voxel size in mm.
        realistic, lesions, cut, thick, stripped: see `brainjax.synth.head.HeadSynthesis`.

    Returns:
        image [X Y Z] float32, rescaled, and [X Y Z] float32, 1 within the field of view.
    """
    keys = jax.random.split(key, 9)
    shape = classes.shape
    u = jax.random.uniform(keys[0], (24,))
    one, other, spread = sample_contrast(keys[1], realistic=realistic)
    # Each class has two levels, mixed by a smooth field: no tissue is one value, and soft tissue is fat and muscle.
    control = tuple(max(4, round(n * spacing / _PATCHY)) for n in shape)
    patchy = deform.smooth_field(jax.random.normal(keys[2], (1, *control)), shape)[0]
    share = jax.nn.sigmoid(3.0 * patchy)
    first, second = one[classes], other[classes]
    image = first + share * (second - first)
    image = image + spread[classes] * jax.random.normal(keys[3], shape)
    image = _lesions(keys[4], image, brain, spacing=spacing, often=lesions)
    image = jnp.maximum(image, 0.0)
    image = jnp.where(u[0] < stripped, image * brain, image)

    strength = 0.6 * u[1]
    shading = deform.smooth_field(jax.random.uniform(keys[5], (1, 4, 4, 4)) * 2 - 1, shape)[0]
    image = image * jnp.exp(strength * shading)
    seen = _field_of_view(keys[6], shape, spacing=spacing, often=cut)
    image = acquire(keys[7], image * seen, spacing=spacing, thick=thick)
    image = image * seen
    gamma = jnp.exp(0.35 * (2 * u[2] - 1))
    image = jnp.power(jnp.maximum(image / jnp.maximum(image.max(), 1e-6), 1e-6), gamma)
    return rescale(image), seen


def sample_contrast(key: Array, *, realistic: float) -> tuple[Array, Array, Array]:
    """Two intensities and the unevenness of each class: [classes] float32 each."""
    keys = jax.random.split(key, 4)
    u = jax.random.uniform(keys[0], (8,))
    draw = jax.random.uniform(keys[1], (4, _COUNT))
    # Any contrast.
    free = draw[0]
    # That of a sequence, every class off by a little.
    signal = contrast.signals(contrast.sample_contrast(keys[2]))[_ROWS]  # [classes 4]
    signal = signal / signal.max(axis=0)
    sequence = (u[0] * len(contrast.CHANNELS)).astype(jnp.int32)
    real = jnp.take(signal, sequence, axis=1) * jnp.exp(0.2 * (2 * draw[1] - 1))
    is_real = u[1] < realistic
    one = jnp.where(is_real, real, free)
    # The second level lies near the first; that of soft tissue anywhere.
    width = jnp.where(is_real, 0.15, 0.25) * jnp.ones(_COUNT)
    width = width.at[freesurfer.NAMES.index("soft")].set(0.8)
    other = jnp.clip(one + width * (2 * draw[2] - 1), 0.0, 1.2)
    spread = jnp.where(is_real, 0.06, 0.12) * draw[3]
    # Air is empty but for noise, most of the time; bone is dark in all real sequences.
    air = jnp.where((u[2] < 0.85) | is_real, 0.02 * u[3], one[_AIR])
    one, other = one.at[_AIR].set(air), other.at[_AIR].set(air)
    spread = spread.at[_AIR].set(0.02 * draw[3, _AIR])
    dark = 0.15 * u[4]
    bone = jnp.where(is_real | (u[5] < 0.3), dark, one[_BONE])
    return (
        one.at[_BONE].set(bone),
        other.at[_BONE].set(jnp.where(is_real, 2 * dark, other[_BONE])),
        spread,
    )


def _lesions(key: Array, image: Array, brain: Array, *, spacing: float, often: float) -> Array:
    """Balls with uneven rims inside the brain, of any brightness."""
    u = jax.random.uniform(key, (_LESIONS, 8))
    shape = image.shape
    grids = [jnp.arange(n) * spacing for n in shape]
    rough = deform.smooth_field(
        jax.random.normal(jax.random.fold_in(key, 1), (1, 10, 12, 11)), shape
    )[0]
    for k in range(_LESIONS):
        here = (u[0, 7] < often) & (u[k, 6] < (1.0, 0.5, 0.5)[k])
        radius = 5.0 + 25.0 * u[k, 3] ** 2
        square = 0.0
        for a, grid in enumerate(grids):
            centre = grid[-1] * (0.2 + 0.6 * u[k, a])
            line = ((grid - centre) / radius) ** 2
            square = square + line.reshape([-1 if b == a else 1 for b in range(3)])
        inside = jax.nn.sigmoid(8.0 * (1.0 + 0.2 * rough - square)) * brain
        inside = jnp.where(here, inside * (0.4 + 0.6 * u[k, 5]), 0.0)
        image = image + inside * (1.2 * u[k, 4] - image)
    return image


def _field_of_view(key: Array, shape: tuple[int, ...], *, spacing: float, often: float) -> Array:
    """[X Y Z] float32: 0 beyond planes that each cut a side of the box off; `often` is the rate below the brain."""
    u = jax.random.uniform(key, (13,))
    seen = 1.0
    for a, n in enumerate(shape):
        mm = (jnp.arange(n) - (n - 1) / 2) * spacing
        half = n * spacing / 2
        # Below the brain and above it, cuts are common; at its sides they are rare.
        rate = often * (1.0 if a == 2 else 0.25)
        low = jnp.where(u[4 * a] < rate, -half * (0.45 + 0.5 * u[4 * a + 1]), -jnp.inf)
        high = jnp.where(u[4 * a + 2] < rate * 0.5, half * (0.45 + 0.5 * u[4 * a + 3]), jnp.inf)
        line = ((mm >= low) & (mm <= high)).astype(jnp.float32)
        seen = seen * line.reshape([-1 if b == a else 1 for b in range(3)])
    return seen


def acquire(key: Array, image: Array, *, spacing: float, thick: float) -> Array:
    """Samples an image as a scanner with larger voxels would, adds noise there, and interpolates back.

    Args:
        key: PRNG key.
        image: [X Y Z] float32, 0 and above.
        spacing: voxel size in mm.
        thick: how often one axis has slices of 2 to 7 mm.

    Returns:
        [X Y Z] float32, 0 and above.
    """
    keys = jax.random.split(key, 2)
    u = jax.random.uniform(keys[0], (16,))
    inplane = jnp.maximum(1.0, (0.7 + 1.6 * u[0] ** 2) / spacing)
    sizes = jnp.full(3, inplane)
    across = (3 * u[1]).astype(jnp.int32)
    slab = jnp.maximum(inplane, (2.0 + 5.0 * u[2]) / spacing)
    sizes = jnp.where((jnp.arange(3) == across) & (u[3] < thick), slab, sizes)
    down, up = zip(
        *(
            _scanner_axis(n, sizes[a], u[4 + a], 0.6 + 0.5 * u[7 + a])
            for a, n in enumerate(image.shape)
        ),
        strict=True,
    )
    image = _along_axes(image, down)
    sigma = 0.08 * u[10] ** 2
    noise = sigma * jax.random.normal(keys[1], (2, *image.shape))
    image = jnp.sqrt((image + noise[0]) ** 2 + noise[1] ** 2)
    return _along_axes(image, up)


def _scanner_axis(n: int, size: Array, offset: Array, profile: Array) -> tuple[Array, Array]:
    """Matrices [n n] along an axis: to slices every `size` voxels and back; slices beyond the axis repeat the last."""
    voxel, slices = jnp.arange(n, dtype=jnp.float32), jnp.arange(n, dtype=jnp.float32)
    last = jnp.maximum(jnp.floor((n - 1 - offset * (size - 1)) / size), 1.0)
    place = offset * (size - 1) + jnp.minimum(slices, last) * size
    sigma = profile * size / 2.355  # the slice profile's full width at half maximum
    down = jnp.exp(-0.5 * ((voxel[None] - place[:, None]) / sigma) ** 2)
    down = down / down.sum(1, keepdims=True)
    real = (slices <= last).astype(jnp.float32)
    held = jnp.clip(voxel, place[0], place[-1])  # beyond the outer slices, the outer slice
    up = jnp.maximum(0.0, 1.0 - jnp.abs(held[:, None] - place[None]) / size) * real
    return down, up / jnp.maximum(up.sum(1, keepdims=True), 1e-6)


def _along_axes(image: Array, matrices: tuple[Array, ...]) -> Array:
    """Applies a matrix [n n] along each axis."""
    x, y, z = matrices
    image = jnp.tensordot(x, image, axes=1)
    image = jnp.einsum("ij,xjz->xiz", y, image)
    return jnp.tensordot(image, z.T, axes=1)
