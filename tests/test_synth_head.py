"""Heads from label maps: geometry that is what the pose says, images that are finite and between their bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainjax.preprocess.rescale import CEILING, rescale
from brainjax.synth import freesurfer, imaging
from brainjax.synth.head import HeadPose, HeadSynthesis, sample_labels
from brainjax.types import ConfigError

SHAPE = (16, 24, 20)


def phantom(size: int = 40) -> np.ndarray:
    """[size size size] classes: soft tissue around bone around fluid around white matter."""
    r = np.linalg.norm(np.indices((size,) * 3) - (size - 1) / 2, axis=0)
    classes = np.zeros((size,) * 3, np.uint8)
    for radius, name in ((18, "soft"), (15, "bone"), (13, "csf"), (10, "white")):
        classes[r <= radius] = freesurfer.NAMES.index(name)
    return classes


def test_every_label_has_one_class_and_the_rest_is_brain_below_500():
    labels = np.array([[0, 2, 41, 24, 502, 515, 511], [499, 505, 531, 77, 4, 7, 10]])
    names = [[freesurfer.NAMES[c] for c in row] for row in freesurfer.to_classes(labels)]
    assert names[0] == ["air", "white", "white", "csf", "artery", "bone", "skin"]
    assert names[1] == [
        "white",
        "soft",
        "soft",
        "lesion",
        "ventricle",
        "cerebellar_white",
        "thalamus",
    ]
    assert freesurfer.to_classes(labels.astype(np.float32)).dtype == np.uint8
    assert freesurfer.IN_BRAIN[freesurfer.to_classes(np.array([24, 3, 515, 0, 514]))].tolist() == [
        *(True, True),
        *(False, False, False),
    ]


def pose(matrix=None, shift=(0.0, 0.0, 0.0)) -> HeadPose:
    zero = jnp.zeros((3, 4, 4, 4))
    return HeadPose(jnp.eye(3) if matrix is None else matrix, jnp.array(shift), zero, zero)


def test_without_motion_the_box_is_the_middle_of_the_map():
    packed = phantom()
    options = HeadSynthesis(shape=SHAPE, spacing=1.0)
    found = np.asarray(jax.jit(sample_labels, static_argnums=2)(pose(), packed, options))
    middle = tuple(slice((40 - n) // 2, (40 + n) // 2) for n in SHAPE)
    np.testing.assert_array_equal(found, packed[middle])


def test_shift_moves_the_brain_and_beyond_the_map_is_air():
    packed = np.full((20, 20, 20), 7, np.uint8)
    options = HeadSynthesis(shape=SHAPE, spacing=2.0)
    found = np.asarray(sample_labels(pose(shift=(6.0, 0.0, 0.0)), packed, options))
    x = np.flatnonzero(found.any((1, 2)))
    # 20 mm of map are 10 voxels of 2 mm, about the middle of 16, three further on.
    assert x.tolist() == list(range(6, 16))


def test_matrix_maps_box_to_map():
    packed = np.zeros((41, 41, 41), np.uint8)
    packed[30, 20, 20] = 5  # 10 mm along x
    turned = jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    options = HeadSynthesis(shape=(25, 25, 25), spacing=1.0)
    found = np.asarray(sample_labels(pose(turned), packed, options))
    assert np.argwhere(found == 5).tolist() == [[12, 22, 12]]


@pytest.fixture(scope="module")
def synthesis():
    options = HeadSynthesis(shape=SHAPE, spacing=1.8, shift=1.0, far=4.0)
    return jax.jit(options.batch)


def maps(count: int) -> tuple[np.ndarray, np.ndarray]:
    classes = np.stack([phantom()] * count)[..., None]
    return classes.astype(np.float32), freesurfer.IN_BRAIN[classes].astype(np.float32)


def test_images_are_finite_scaled_and_belong_to_their_keys(synthesis):
    keys = jax.random.split(jax.random.key(0), 8)
    image, mask = map(np.asarray, synthesis(keys, *maps(8)))
    assert image.shape == mask.shape == (8, *SHAPE, 1)
    assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= CEILING + 1e-5
    assert set(np.unique(mask)) <= {0.0, 1.0}
    brains = mask.mean((1, 2, 3, 4))
    assert (brains > 0).all() and brains.std() > 0.01  # sizes and places differ
    again, _ = synthesis(keys[::-1], *maps(8))
    np.testing.assert_array_equal(np.asarray(again)[::-1], image)


def test_thick_slices_lose_detail_along_one_axis_only():
    stripes = jnp.broadcast_to((jnp.arange(24) % 2).astype(jnp.float32), (24, 24, 24))
    down, up = imaging._scanner_axis(24, jnp.float32(6.0), jnp.float32(0.0), jnp.float32(0.8))
    fine = imaging._scanner_axis(24, jnp.float32(1.0), jnp.float32(0.0), jnp.float32(0.1))
    thick = imaging._along_axes(
        imaging._along_axes(stripes, (fine[0], fine[0], down)), (fine[1], fine[1], up)
    )
    np.testing.assert_allclose(thick[2:-2, :, 2:-2], 0.5, atol=0.06)
    assert np.asarray(thick).std(2).max() < 0.1 < np.asarray(stripes).std(2).max()
    thin = imaging._along_axes(
        imaging._along_axes(stripes, (down, down, fine[0])), (up, up, fine[1])
    )
    np.testing.assert_allclose(thin, stripes, atol=1e-3)


def test_acquire_keeps_a_constant_but_for_noise():
    image = jnp.full((16, 16, 16), 0.7)
    keys = jax.random.split(jax.random.key(0), 4)
    out = jax.jit(jax.vmap(lambda k: imaging.acquire(k, image, spacing=1.5, thick=1.0)))(keys)
    np.testing.assert_allclose(out.mean((1, 2, 3)), 0.7, atol=0.02)


def test_real_contrasts_keep_bone_and_air_dark():
    keys = jax.random.split(jax.random.key(0), 12)
    drawn = jax.jit(jax.vmap(lambda k: imaging.sample_contrast(k, realistic=1.0)))(keys)
    one, other, spread = map(np.asarray, drawn)
    for name in ("air", "bone"):
        assert (one[:, freesurfer.NAMES.index(name)] < 0.5 * one.max(1)).all()
    assert np.isfinite(one).all() and np.isfinite(other).all() and (spread >= 0).all()


def test_rescale_is_blind_to_units():
    image = jax.random.uniform(jax.random.key(0), (12, 12, 12))
    a, b = rescale(image), rescale(1000.0 * image - 300.0)
    np.testing.assert_allclose(a, b, atol=1e-4)
    assert float(a.min()) == 0.0 and 0.9 < float(a.max()) <= CEILING
    assert not np.asarray(rescale(jnp.full((6, 6, 6), 3.0))).any()


@pytest.mark.parametrize(
    "wrong",
    [{"shape": (8, 8)}, {"scale": (1.2, 1.5)}, {"scale": (0.9,)}, {"scale": (0.6, np.inf)}]
    + [{"cut": 1.5}, {"realistic": -0.1}, {"spacing": 0}, {"spacing": -1.5}, {"map_spacing": 0}]
    + [{"warp": -5}, {"shift": -9}, {"far": np.nan}, {"rotate": np.inf}],
)
def test_fields_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"augment.{next(iter(wrong))}"):
        HeadSynthesis(**wrong)
