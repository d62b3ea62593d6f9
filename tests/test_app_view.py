"""Slices as they hang on the wall, whatever the orientation in the file; surfaces in the world."""

import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest
import viewing
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import block_reduce

from brainjax.app.surface import _means, surface, surfaces
from brainjax.app.view import LABELS, PLANES, Scale, View, window
from brainjax.infer.scan import Scan
from brainjax.io import Volume
from brainjax.preprocess.orient import turn_to

SHAPE = (7, 8, 9)
ORIENTATIONS = [
    "".join(codes)
    for axes in itertools.permutations(("LR", "AP", "IS"))
    for codes in itertools.product(*axes)
]


def marked(codes="RAS"):
    """A scan stored in some orientation whose voxels say which they are in RAS+: 100 x + 10 y + z."""
    x, y, z = np.indices(SHAPE)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (-3, -5, 7)
    volume = Volume((100 * x + 10 * y + z).astype(np.int16), affine)
    turn = turn_to(volume.grid, codes)
    return Scan("marked", {"t1": Volume(turn.apply(volume.data), turn.grid(volume.grid).affine)})


def pixels(view, plane, index, name="t1"):
    """A slice as the browser reads it."""
    across, down = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane]
    told = view.describe()
    raw = view.slice(name, plane, index)
    volume = next((v for v in told["volumes"] if v["name"] == name), None)
    values = np.frombuffer(raw, "<u2" if volume else np.uint8)
    values = values.reshape(told["shape"][down], told["shape"][across])
    return volume["offset"] + volume["step"] * values if volume else values


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_hangs_the_same(codes):
    view = View.of(marked(codes))
    x, y, z = np.indices(SHAPE)
    truth = 100 * x + 10 * y + z
    # Patient's right on the left of the screen: x runs against it. Nose up, crown up, or nose on the left.
    assert np.array_equal(pixels(view, "axial", 4), truth[::-1, ::-1, 4].T)
    assert np.array_equal(pixels(view, "coronal", 2), truth[::-1, 2, ::-1].T)
    assert np.array_equal(pixels(view, "sagittal", 1), truth[1, ::-1, ::-1].T)


@pytest.mark.parametrize("codes", ["RAS", "LIA", "PSR", "ALS"])
def test_voxels_and_millimetres_are_those_of_the_file(codes):
    scan = marked(codes)
    told = View.of(scan).describe()
    at = np.array([2, 5, 3, 1])  # of the planes
    index = (np.array(told["index"]) @ at)[:3].astype(int)
    assert scan.first.data[tuple(index)] == 253
    world = np.array(told["affine"]) @ at
    assert np.allclose(world, scan.first.affine @ [*index, 1])
    assert np.allclose(told["spacing"], (1, 2, 3))


@given(st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32]), st.integers(0, 99))
def test_sixteen_bits_tell_the_numbers(dtype, seed):
    rng = np.random.default_rng(seed)
    data = rng.normal(0, 50, (5, 6, 7)) if dtype is np.float32 else rng.integers(0, 200, (5, 6, 7))
    data = data.astype(dtype)
    view = View.of(Scan("s", {"t1": Volume(data, np.eye(4))}))
    seen = pixels(view, "axial", 3)
    away = np.abs(seen - data[::-1, ::-1, 3].T.astype(float)).max()
    assert away == 0 if dtype is not np.float32 else away <= np.ptp(data) / 2**16


@pytest.mark.parametrize("value", [0, -3, 2**31 - 1])
def test_a_scan_of_one_number_can_be_seen(value):
    view = View.of(Scan("s", {"t1": Volume(np.full((4, 4, 4), value, np.int32), np.eye(4))}))
    assert (pixels(view, "axial", 0) == value).all()
    black, white = window(np.full((4, 4, 4), value, np.int32))
    assert black < white


def test_wide_integers_are_scaled_into_sixteen_bits():
    scale = Scale.of(-(2**31), 2**31 - 1, whole=True)
    assert scale.pack(np.array([-(2**31), 2**31 - 1])).tolist() == [0, 2**16 - 1]


def test_the_window_leaves_out_the_background():
    data = np.zeros((30, 30, 30), np.float32)
    data[10:20, 10:20, 10:20] = np.linspace(100, 200, 1000).reshape(10, 10, 10)
    black, white = window(data)
    assert black == 0 and 195 < white <= 200


def test_there_is_nothing_beside_the_scan():
    view = View.of(viewing.scan())
    for plane, axis in PLANES.items():
        for index in (-1, view.shape[axis]):
            with pytest.raises(IndexError):
                view.slice("t1", plane, index)
    with pytest.raises(KeyError):
        view.slice("t9", "axial", 0)
    with pytest.raises(KeyError):
        view.slice("t1", "oblique", 0)


@pytest.mark.parametrize("regional", [True, False])
def test_what_was_found_lies_over_the_scan(regional):
    scan = viewing.scan()
    found = viewing.analysis(scan, regional=regional)
    view = View.of(scan, found)
    layers = {layer["name"]: layer for layer in view.describe()["layers"]}
    parts = {"oedema": 2, "core": 1, "enhancing": 4} if regional else {"tumour": 1}
    assert set(layers) == {"brain", *parts, "probability", "uncertainty"}
    turn = turn_to(scan.grid)
    z = int(turn.apply(found.tumour.data).any((0, 1)).nonzero()[0].mean())  # through its middle
    labels = pixels(view, "axial", z, LABELS)

    def hung(volume):
        return turn.apply(volume.data)[::-1, ::-1, z].T

    for name, value in parts.items():
        layer = layers[name]
        mask = (labels & layer["bits"]) == layer["value"]
        assert np.array_equal(mask, hung(found.tumour) == value) and mask.any()
        whole = found.volume_ml(found.tumour.data == value)
        assert layer["ml"] == pytest.approx(whole)
    assert np.array_equal(labels & 1, hung(found.brain))
    heat = pixels(view, "axial", z, "probability") / 255
    assert np.abs(heat - hung(found.probability)).max() < 1 / 255


def test_diameters_lie_on_one_axial_slice_of_the_planes():
    scan = viewing.scan()
    found = viewing.analysis(scan)
    told = View.of(scan, found).describe()
    (longest, perpendicular), diameters = told["lines"], found.lesions[0].diameters
    assert longest["text"] == f"{diameters.longest_mm:.0f}"
    assert perpendicular["text"] == f"{diameters.perpendicular_mm:.0f}"
    heights = [end[2] for line in told["lines"] for end in line["ends"]]
    assert np.allclose(heights, round(heights[0]))
    for line, ends in ((longest, diameters.longest), (perpendicular, diameters.perpendicular)):
        for seen, stored in zip(line["ends"], ends, strict=True):
            world = np.array(told["affine"]) @ [*seen, 1]
            assert np.allclose(world, scan.grid.affine @ [*stored, 1])


def test_an_analysis_that_found_nothing_shows_nothing():
    scan = viewing.scan()
    empty = dataclasses.replace(viewing.analysis(scan), brain=None, tumour=None)
    layers = View.of(scan, dataclasses.replace(empty, probability=None, uncertainty=None)).layers
    assert layers == ()


def test_a_turned_grid_is_told():
    angle = np.radians(12)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    data = np.zeros((4, 4, 4), np.int16)
    note = View.of(Scan("s", {"t1": Volume(data, turned)})).describe()["notes"][-1]
    assert "12°" in note
    assert not View.of(Scan("s", {"t1": Volume(data, np.eye(4))})).describe()["notes"]


@pytest.mark.parametrize("codes", ["RAS", "LIA", "PSR"])
@pytest.mark.parametrize("mm", [1.0, 3.0])
def test_a_surface_lies_where_the_mask_does(codes, mm):
    """A ball of 12 mm at (10, -20, 30) mm, on a grid of 1 x 1 x 2 mm."""
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = (-20, -50, 0)
    at = np.moveaxis(np.indices((60, 60, 30)), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    ball = Volume((np.linalg.norm(at - (10, -20, 30), axis=-1) < 12).astype(np.uint8), affine)
    turn = turn_to(ball.grid, codes)
    vertices, faces = surface(turn.apply(ball.data).astype(bool), turn.grid(ball.grid).affine, mm)
    away = np.linalg.norm(vertices - (10, -20, 30), axis=1)
    assert np.abs(vertices.mean(0) - (10, -20, 30)).max() < 0.7
    assert abs(away.mean() - 12) < 1 and away.max() < 15
    assert faces.min() == 0 and faces.max() == len(vertices) - 1


def test_surfaces_of_what_there_is():
    scan = viewing.scan()
    assert [s.name for s in surfaces(scan)] == ["Head"]
    names = [s.name for s in surfaces(scan, viewing.analysis(scan))]
    assert names == ["Enhancing", "Tumour core", "Whole tumour", "Brain"]
    flat = Scan("flat", {"t1": Volume(np.ones((8, 8, 8), np.float32), np.eye(4))})
    assert surfaces(flat) == ()


@pytest.mark.parametrize("block", [(3, 2, 4), (1, 1, 1), (1, 5, 1), (7, 8, 9), (2, 8, 9)])
def test_blocks_are_means_as_if_nothing_lay_beyond_the_mask(block):
    mask = np.random.default_rng(0).random(SHAPE) < 0.5
    assert np.allclose(_means(mask, block), block_reduce(mask.astype(np.float32), block, np.mean))


@pytest.mark.parametrize("spacing", [(1e-3,) * 3, (1, 1, 1e-4), (1e-4, 1, 1e4)])
def test_sizes_that_a_header_makes_up_cost_no_memory(spacing):
    """Blocks of 3 mm would be of thousands of voxels, beyond the volume."""
    flat = viewing.volume((24, 24, 24)).data
    scan = Scan("s", {"t1": Volume(flat, np.diag([*spacing, 1.0]))})
    tracemalloc.start()
    (head,) = surfaces(scan)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20 * 2**20
    extent = 24 * np.array(spacing)
    assert (head.vertices > -extent).all() and (head.vertices < 2 * extent).all()


def test_the_largest_numbers_have_a_surface():
    data = np.full((16, 16, 16), -3e38, np.float32)
    data[4:12, 4:12, 4:12] = 3e38
    (head,) = surfaces(Scan("s", {"t1": Volume(data, np.eye(4))}))
    assert np.abs(head.vertices.mean(0) - 7.5).max() < 0.5


def test_a_single_voxel_has_a_surface():
    mask = np.zeros((20, 20, 20), bool)
    mask[19, 0, 10] = True
    vertices, _ = surface(mask, np.eye(4), 3.0)
    assert np.abs(vertices.mean(0) - (19, 0, 10)).max() < 3
