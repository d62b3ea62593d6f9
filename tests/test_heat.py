"""Maps of evidence as pictures."""

import numpy as np
from heads import head

from brainjax.infer import heat


def test_a_picture_is_shown_plain_and_lit():
    image = np.linspace(-3, 5, 12).reshape(3, 4)
    warm = np.zeros((3, 4))
    warm[1, 2] = 1.0
    made = heat.lit(image, warm)
    assert made.shape == (3, 8, 3) and made.dtype == np.uint8
    plain, under = made[:, :4], made[:, 4:]
    assert (plain == plain[..., :1]).all() and plain.min() == 0 and plain.max() == 255
    cold = warm == 0
    np.testing.assert_array_equal(under[cold], plain[cold])
    assert under[1, 2, 0] > under[1, 2, 2]


def test_a_picture_of_one_grey_is_no_division_by_zero():
    assert (heat.lit(np.full((2, 2), 7.0), np.zeros((2, 2))) == 0).all()


def test_planes_go_through_the_evidence_however_the_scan_is_stored():
    for codes in ("RAS", "LIA", "PSR"):
        scan = head(codes=codes)
        where = np.zeros(scan.data.shape, np.float32)
        spot = tuple(n // 3 for n in where.shape)
        where[tuple(slice(i - 4, i + 5) for i in spot)] = 1.0
        made = heat.planes(scan, scan.with_data(where))
        lit = made[:, :, 0].astype(int) - made[:, :, 2] > 60
        assert lit.sum() > 3 * 4  # in all three planes
        half = [row[: made.shape[1]].any() for row in np.array_split(lit, 3)]
        assert all(half)


def test_no_evidence_is_a_plain_picture():
    scan = head()
    made = heat.planes(scan, scan.with_data(np.zeros(scan.data.shape, np.float32)))
    assert (made == made[..., :1]).all() and made.max() > 200
