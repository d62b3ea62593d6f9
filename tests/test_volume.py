"""Volume and Grid: nothing that is no volume becomes one."""

import numpy as np
import pytest
from volumes import CODES, KINDS, make_grid

from brainjax.io.volume import Grid, Volume
from brainjax.types import DataError


def test_spacing_and_orientation_come_from_the_affine():
    for codes in CODES:
        for kind, (spacing, _) in KINDS.items():
            grid = make_grid(codes, kind)
            assert grid.orientation == codes
            np.testing.assert_allclose(grid.spacing, spacing)


@pytest.mark.parametrize(
    "affine",
    [
        np.full((4, 4), np.nan),
        np.zeros((4, 4)),
        np.diag([1.0, 1.0, 0.0, 1.0]),
        np.diag([1.0, 1.0, np.inf, 1.0]),
        np.diag([1.0, 1.0, 1.0, 2.0]),
        np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.array([[1, 1, 0, 0], [1, 1.0001, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.eye(3),
    ],
)
def test_affines_that_lead_nowhere_are_refused(affine):
    for make in (Grid, lambda shape, affine: Volume(np.zeros(shape), affine)):
        with pytest.raises(DataError, match="affine.*repair"):
            make((2, 2, 2), affine)


@pytest.mark.parametrize("shape", [(0, 2, 2), (2, 2), (2, 2, 2, 2, 2)])
def test_arrays_that_are_no_volume_are_refused(shape):
    with pytest.raises(DataError):
        Volume(np.zeros(shape), np.eye(4))


@pytest.mark.parametrize("number", [np.complex64, object, "U3", "datetime64[s]"])
def test_what_is_no_real_number_is_refused(number):
    with pytest.raises(DataError, match="real numbers"):
        Volume(np.zeros((2, 2, 2), number), np.eye(4))


def test_other_data_keeps_the_place():
    volume = Volume(np.zeros((2, 3, 4)), np.eye(4), header="h", notes=("n",))
    other = volume.with_data(np.ones((2, 3, 4, 5)))
    assert (other.header, other.notes, other.grid.shape) == ("h", ("n",), (2, 3, 4))
    with pytest.raises(DataError, match="resample"):
        volume.with_data(np.ones((4, 3, 2)))


def test_grids_match_by_where_their_corners_are():
    grid = make_grid("LIA", "oblique")
    assert grid.matches(Grid(grid.shape, grid.affine.astype(np.float32)))
    for change in ([0, 3], [1, 1]):
        affine = grid.affine.copy()
        affine[tuple(change)] += 0.05
        assert not grid.matches(Grid(grid.shape, affine))
    assert not grid.matches(Grid((1, 1, 1), grid.affine))
