"""The stages of the generator, each on its own: map, lookup, deformation, tumour, contrast, artefacts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainjax.synth import anatomy, artefacts, contrast, deform, tumour

# Compiled once each: run operation by operation, these tests would spend their time compiling.
_fractions = jax.jit(anatomy.tissue_fractions)
_sample_pose = jax.jit(deform.sample_pose, static_argnames="slices")
_sample_warp = jax.jit(deform.sample_warp)
_world_points = jax.jit(deform.world_points, static_argnames="shape")
_sample_tumour = jax.jit(tumour.sample_tumour)
_apply_tumour = jax.jit(tumour.apply_tumour)
_push = jax.jit(tumour.push)
_sample_contrast = jax.jit(contrast.sample_contrast)
_signals = jax.jit(contrast.signals)
_blur = jax.jit(artefacts.gaussian_blur, static_argnames=("axis", "reach"))
_sample_artefacts = jax.jit(artefacts.sample_artefacts, static_argnames="channels")
_apply_artefacts = jax.jit(artefacts.apply_artefacts, static_argnames="pixel")


@pytest.fixture(scope="module")
def head() -> anatomy.Anatomy:
    return anatomy.load_anatomy()


def test_map_is_a_plausible_head(head):
    assert head.labels.dtype == np.uint8
    assert set(np.unique(head.labels)) == set(range(len(anatomy.TISSUES)))
    spacing = np.diag(head.affine)[:3]
    assert np.all(spacing > 0) and np.allclose(head.affine[:3, :3], np.diag(spacing))  # RAS+
    litre = np.bincount(head.labels.ravel()) * spacing.prod() / 1e6
    # The template is larger than most brains: adult grey matter is 0.6-0.8 l, white 0.4-0.6 l.
    assert 0.6 < litre[anatomy.GREY] < 1.1 and 0.4 < litre[anatomy.WHITE] < 0.75
    assert 0.15 < litre[anatomy.CSF] < 0.45
    assert anatomy.MAP_PATH.stat().st_size < 200_000


def test_map_is_symmetric_and_its_tissues_lie_in_order(head):
    mirrored = head.labels[::-1]
    assert np.mean(mirrored == head.labels) > 0.98
    assert abs(np.linalg.inv(head.affine) @ [0, 0, 0, 1])[0] == pytest.approx(
        (len(mirrored) - 1) / 2
    )
    # From the air above the vertex down to the brain every layer is crossed, in this order.
    x, y, _ = np.round(np.linalg.inv(head.affine) @ [20, -20, 0, 1]).astype(int)[:3]
    column = head.labels[x, y, ::-1]
    first = [
        int(np.argmax(column == t))
        for t in ("air", "scalp", "skull", "csf", "grey", "white")
        for t in [anatomy.TISSUES.index(t)]
    ]
    assert first == sorted(first) and len(set(first)) == 6


def test_no_brain_touches_skull_or_air(head):
    brain = np.isin(head.labels, anatomy.BRAIN)
    brain[..., 0] = False  # the map's floor cuts the cord
    outer = np.isin(head.labels, (anatomy.AIR, anatomy.SCALP, anatomy.MUSCLE))
    for axis in range(3):
        for step in (1, -1):
            assert not np.any(brain & np.roll(outer, step, axis))


def test_sites_lie_in_white_matter_with_room(head):
    voxel = np.round((head.sites[:, :3] - head.affine[:3, 3]) / np.diag(head.affine)[:3]).astype(
        int
    )
    assert np.mean(head.labels[tuple(voxel.T)] == anatomy.WHITE) > 0.99
    assert np.all(head.sites[:, 3] > 8)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_lookup_at_voxels_and_halfway(rank):
    labels = np.random.default_rng(rank).integers(0, 11, (5, 4, 6)[:rank]).astype(np.uint8)
    packed = jnp.asarray(anatomy.pack_corners(labels))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in labels.shape), indexing="ij"))
    found = np.asarray(_fractions(packed, jnp.asarray(index, jnp.float32)))
    np.testing.assert_array_equal(found.argmax(0), labels)
    halfway = index[(slice(None),) + (slice(0, -1),) * rank] + 0.5
    found = np.asarray(_fractions(packed, jnp.asarray(halfway, jnp.float32)))
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-6)
    corner = found[(slice(None),) + (0,) * rank]
    wanted = np.bincount(labels[(slice(0, 2),) * rank].ravel(), minlength=11) / 2**rank
    np.testing.assert_allclose(corner, wanted, atol=1e-6)


def test_lookup_beyond_the_map_is_air():
    packed = jnp.asarray(anatomy.pack_corners(np.full((3, 3, 3), 5, np.uint8)))
    points = jnp.array([[-1.5, 9.0, 1.0], [1.0, 1.0, -7.0], [1.0, 1.0, 1.0]])
    assert np.all(np.asarray(_fractions(packed, points))[anatomy.AIR] == 1)


def test_pack_rejects_labels_of_more_than_four_bits():
    with pytest.raises(ValueError, match="below 16"):
        anatomy.pack_corners(np.array([3, 16], np.uint8))


def test_pose_looks_from_below_with_the_nose_up():
    pose = _sample_pose(jax.random.key(1), slices=16)
    up, back, left = np.asarray(pose.matrix).T  # world direction of S, H, W
    assert up[2] > 0.9 and back[1] < -0.9 and left[0] < -0.9
    warp = jax.tree.map(jnp.zeros_like, _sample_warp(jax.random.key(2)))
    points = np.asarray(_world_points(pose, warp, shape=(16, 32, 32)))
    np.testing.assert_allclose(points.mean((1, 2, 3)), pose.centre, atol=1e-3)
    # Neighbouring slices are `step` apart in the patient, so step / scale apart in the map.
    apart = np.linalg.norm(points[:, 1, 0, 0] - points[:, 0, 0, 0])
    assert apart == pytest.approx(float(pose.step * np.linalg.norm(up)), rel=1e-4)


def test_warp_never_folds():
    pose = _sample_pose(jax.random.key(0), slices=32)
    points = jax.jit(
        jax.vmap(lambda k: deform.world_points(pose, deform.sample_warp(k), shape=(32, 64, 64)))
    )
    field = np.asarray(points(jax.random.split(jax.random.key(3), 4)))
    steps = [
        np.diff(field, axis=2)[..., :-1, :-1],
        np.diff(field, axis=3)[..., :-1, :, :-1],
        np.diff(field, axis=4)[..., :-1, :-1, :],
    ]
    jacobian = np.linalg.det(np.moveaxis(np.stack(steps, axis=-1), 1, -2))
    volume = np.linalg.det(pose.matrix) * float(pose.step) * (deform.FIELD_OF_VIEW / 64) ** 2
    assert np.all(jacobian / volume > 0)


def _lesion(**changes) -> tumour.Tumour:
    """A smooth lesion of radius 15 mm, rim 5 mm, oedema 10 mm at the origin."""
    sites = jnp.array([[0.0, 0.0, 0.0, 40.0]])
    drawn = _sample_tumour(jax.random.key(0), sites=sites, healthy=0.0)
    round_ = drawn._replace(
        present=jnp.array([1.0, 0.0]),
        shape=jnp.stack([jnp.eye(3)] * 2),
        radius=jnp.array([15.0, 5.0]),
        rim=jnp.array([5.0, 2.0]),
        oedema=jnp.array([10.0, 2.0]),
        broad=0 * drawn.broad,
        narrow=0 * drawn.narrow,
    )
    return round_._replace(**changes)


def test_lesion_is_core_in_rim_in_oedema_and_fractions_sum_to_one():
    distance = jnp.linspace(0.0, 60.0, 61)
    points = jnp.zeros((3, 61)).at[0].set(distance)
    white = jnp.zeros((len(anatomy.TISSUES), 61)).at[anatomy.WHITE].set(1.0)
    parts = np.asarray(_apply_tumour(_lesion(), points, jnp.zeros((4, 61)), white))
    np.testing.assert_allclose(parts.sum(0), 1, atol=1e-5)
    necrosis, rim, oedema = parts[len(anatomy.TISSUES) :]
    assert (
        necrosis[5] > 0.9 and rim[12] > 0.9 and oedema[20] > 0.6 and parts[anatomy.WHITE, 50] > 0.99
    )


def test_tumour_stays_in_the_brain_and_spares_fluid():
    points = jnp.zeros((3, 2))
    for tissue in (anatomy.SKULL, anatomy.SCALP, anatomy.AIR):
        only = jnp.zeros((len(anatomy.TISSUES), 2)).at[tissue].set(1.0)
        parts = np.asarray(_apply_tumour(_lesion(), points, jnp.zeros((4, 2)), only))
        assert parts[len(anatomy.TISSUES) :].max() < 1e-6
    near = points.at[0].set(19.0)  # inside the reach of the oedema, outside the rim
    only = jnp.zeros((len(anatomy.TISSUES), 2)).at[anatomy.CSF].set(1.0)
    parts = np.asarray(_apply_tumour(_lesion(), near, jnp.zeros((4, 2)), only))
    assert parts[len(anatomy.TISSUES) :].max() < 0.02


def test_mass_effect_pushes_outwards_and_leaves_the_skull():
    points = jnp.zeros((3, 61)).at[0].set(jnp.linspace(0.0, 60.0, 61))
    source = np.asarray(_push(_lesion(mass=jnp.array([0.4, 0.4])), points))[0]
    assert source[12] < 11 and np.all(np.diff(source) > 0)
    np.testing.assert_array_equal(source[40:], np.arange(40, 61))


def test_healthy_heads_are_as_frequent_as_asked():
    sites = jnp.asarray(anatomy.load_anatomy().sites)
    draw = jax.jit(jax.vmap(lambda k: tumour.sample_tumour(k, sites=sites, healthy=0.3).present))
    present = np.asarray(draw(jax.random.split(jax.random.key(0), 500)))
    assert 0.62 < present[:, 0].mean() < 0.78
    assert np.all(present[:, 1] <= present[:, 0])


def test_contrast_orders_tissues_as_radiologists_know_them():
    draw = jax.jit(jax.vmap(lambda k: contrast.signals(contrast.sample_contrast(k))))
    signal = np.asarray(draw(jax.random.split(jax.random.key(0), 200)))
    t1, t1ce, t2, flair = (
        dict(zip(contrast.CLASSES, signal[..., c].T, strict=True)) for c in range(4)
    )
    for image in (t1, t1ce):
        assert np.all(image["white"] > image["grey"]) and np.all(image["grey"] > image["csf"])
    assert np.all(t1["scalp"] > t1["white"])
    assert np.all(t2["csf"] > t2["grey"]) and np.all(t2["grey"] > t2["white"])
    assert np.all(flair["grey"] > flair["white"]) and np.all(flair["white"] > flair["csf"])
    assert np.all(flair["oedema"] > 1.15 * flair["grey"]) and np.all(t2["oedema"] > t2["grey"])
    assert np.all(t1["oedema"] < t1["white"])
    assert np.all(t1ce["rim"] > 1.2 * t1ce["white"]) and np.all(t1["rim"] < t1["white"])
    for image in (t1, t1ce, t2, flair):
        assert np.all(image["skull"] < 0.5 * image["white"]) and np.all(image["air"] == 0)


def test_low_grade_rim_does_not_enhance():
    drawn = _sample_contrast(jax.random.key(0), enhancing=0.0)
    signal = np.asarray(_signals(drawn._replace(timing=drawn.timing.at[1].set(drawn.timing[0]))))
    rim = contrast.CLASSES.index("rim")
    assert signal[rim, 1] == pytest.approx(signal[rim, 0])


def test_mixed_voxel_has_the_mean_signal():
    drawn = _sample_contrast(jax.random.key(0))
    half = jnp.zeros(len(contrast.CLASSES)).at[anatomy.GREY].set(0.5).at[anatomy.CSF].set(0.5)
    pure = np.asarray(_signals(drawn))
    mean = (pure[anatomy.GREY] + pure[anatomy.CSF]) / 2
    np.testing.assert_allclose(contrast.apply_contrast(drawn, half), mean, rtol=1e-5)


def test_blur_keeps_constants_and_widens_by_sigma():
    flat = jnp.ones((2, 3, 9))
    sigma = jnp.array([0.5, 1.0])
    np.testing.assert_allclose(_blur(flat, sigma, axis=2), flat, rtol=1e-6)
    point = jnp.zeros((2, 1, 15)).at[:, :, 7].set(1.0)
    spread = np.asarray(_blur(point, sigma, axis=2, reach=6))[:, 0]
    variance = (spread * (np.arange(15) - 7) ** 2).sum(1)
    np.testing.assert_allclose(variance, sigma**2, rtol=0.15)


def test_noise_is_rician_in_air():
    drawn = _sample_artefacts(jax.random.key(0), channels=1)
    quiet = drawn._replace(noise=jnp.array([0.1]))
    noisy = np.asarray(_apply_artefacts(quiet, jnp.zeros((1, 2, 64, 64)), pixel=2.0))
    # Without signal the magnitude is Rayleigh distributed: mean sigma sqrt(pi / 2).
    assert noisy.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.03)
