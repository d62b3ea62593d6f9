"""Bodies in 3D: closed surfaces of the right size that face outward, seen from the side that is said."""

import numpy as np
import pytest

from brainjax.io import Grid
from brainjax.report import surface
from brainjax.report.surface import Surface


def ball(shape, centre, radius, spacing=(1, 1, 1)):
    index = np.stack(np.indices(shape), -1) - centre
    return ((index * spacing) ** 2).sum(-1) <= radius**2


def grid(shape, spacing=(1.0, 1.0, 1.0)):
    return Grid(shape, np.diag([*spacing, 1.0]))


def test_a_ball_is_round_whatever_the_spacing():
    spacing = (1.0, 0.5, 2.0)
    mask = ball((40, 80, 20), (20, 40, 10), 14, spacing)
    (body,) = surface.bodies(grid(mask.shape, spacing), [Surface(mask, (9, 9, 9), 1)], 40)
    inside = np.argwhere(body >= 0.5)
    extent = np.ptp(inside, axis=0)
    assert np.ptp(extent) <= 2 and body.max() <= 1 + 1e-6 and not body[0].any()


def test_a_mesh_is_closed_and_faces_outward():
    mask = ball((30, 30, 30), (15, 15, 15), 10)
    (body,) = surface.bodies(grid(mask.shape), [Surface(mask, (9, 9, 9), 1)], 30)
    made = surface.mesh(body)
    edges = np.sort(made.face[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, times = np.unique(edges, axis=0, return_counts=True)
    assert (times == 2).all()
    place = made.place / 65535 * (max(body.shape) - 1)
    outward = place - place.mean(0)
    assert (np.einsum("ij,ij->i", outward, made.normal) > 0).all()
    a, b, c = np.moveaxis(place[made.face], 1, 0)
    volume = (
        np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    )  # signed: anti-clockwise from outside
    # Cubes are no smaller than voxels, so here they are as large.
    assert volume == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.05)


def test_what_is_too_thin_has_no_mesh():
    assert surface.mesh(np.full((5, 5, 5), 0.3, np.float32)) is None


def test_sides_are_the_patient_s():
    """A small ball on the right of a large one, and in front."""
    whole = ball((40, 40, 40), (20, 20, 20), 15)
    inner = ball((40, 40, 40), (28, 24, 20), 4)
    shown = [Surface(whole, (200, 200, 200), 0.2), Surface(inner, (255, 0, 0), 1.0)]
    front, right, back, left = surface.views(surface.bodies(grid(whole.shape), shown, 40), shown)

    def column(picture):
        red = picture[..., 0].astype(int) - picture[..., 2]
        return np.argwhere(red > 40).mean(0)[1] / picture.shape[1]

    assert column(front) < 0.45 < 0.55 < column(back)
    assert (
        column(right) > 0.51 and column(left) < 0.49
    )  # the face is to the right, seen from the right
    assert front.dtype == np.uint8 and front.shape == back.shape


def test_up_is_up_and_the_ball_is_as_large_as_it_is():
    mask = ball((40, 40, 40), (20, 20, 20), 15)
    mask[:, :, 20:] = False
    bodies = surface.bodies(grid(mask.shape), [Surface(mask, (250, 250, 250), 1.0)], 60)
    (picture,) = surface.views(bodies, [Surface(mask, (250, 250, 250), 1.0)], 1)
    lit = picture.sum(-1) > 60
    rows = np.flatnonzero(lit.any(1))
    widths = lit[rows].sum(1)
    assert widths[0] > 2 * widths[-1]  # the flat side is above
    assert lit.sum() == pytest.approx(np.pi * 15**2 / 2, rel=0.12)
