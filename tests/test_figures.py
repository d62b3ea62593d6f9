"""Figures: overlays show what differs, pictures and charts hold their data, PNGs are what was returned."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from brainjax.report import canvas, figures
from brainjax.report.overlay import BOTH, PREDICTION, TINT, TRUTH
from brainjax.types import DataError

H, W = 40, 32


def _square(top, left, size=10):
    mask = np.zeros((H, W), np.uint8)
    mask[top : top + size, left : left + size] = 1
    return mask


def _image(seed=0):
    return np.random.default_rng(seed).uniform(0, 200, (H, W))


def test_overlay_colours_contours_and_disagreement():
    truth, prediction = _square(10, 8), _square(10, 12)  # side by side, top and bottom lines shared
    image = np.tile(np.linspace(0, 1, W), (H, 1))
    out = figures.overlay(image, truth, prediction)
    assert out.shape == (H, W, 3) and out.dtype == np.uint8
    assert tuple(out[15, 8]) == TRUTH
    assert tuple(out[15, 21]) == PREDICTION
    assert tuple(out[10, 14]) == BOTH

    shade = figures.grey(image)
    for pixel, colour in (((15, 10), TRUTH), ((15, 19), PREDICTION)):  # missed; false alarm
        expected = (1 - TINT) * float(shade[pixel]) + TINT * np.array(colour)
        np.testing.assert_allclose(out[pixel], expected, atol=0.51)
    for pixel in ((15, 14), (30, 5)):  # agreement, inside and outside: the image itself
        assert tuple(out[pixel]) == (shade[pixel],) * 3


def test_overlay_with_one_mask_or_none_tints_nothing():
    image, truth = _image(), _square(10, 8)
    np.testing.assert_array_equal(
        figures.overlay(image), figures.grey(image)[..., None].repeat(3, -1)
    )
    out = figures.overlay(image, truth)
    inside = truth.astype(bool) & ~figures.contour(truth.astype(bool))
    np.testing.assert_array_equal(out[inside][:, 0], figures.grey(image)[inside])


def test_overlay_scale_enlarges_the_slice_but_not_the_line():
    truth = _square(10, 8)
    out = figures.overlay(_image(), truth, scale=3)
    assert out.shape == (3 * H, 3 * W, 3)
    assert (out == TRUTH).all(-1).sum() == 4 * 30 - 4


def test_overlay_refuses_a_mask_of_another_grid():
    with pytest.raises(ValueError, match="prediction has shape"):
        figures.overlay(_image(), _square(0, 0), np.zeros((H, H)))


def test_contour_closes_at_the_edge_of_the_picture():
    mask = np.ones((5, 6), bool)
    expected = np.ones((5, 6), bool)
    expected[1:-1, 1:-1] = False
    np.testing.assert_array_equal(figures.contour(mask), expected)


def test_grey_does_not_depend_on_the_scale_and_survives_bad_pixels():
    image = _image()
    np.testing.assert_allclose(figures.grey(image), figures.grey(image * 7 - 3), atol=1)
    assert figures.grey(image).min() == 0 and figures.grey(image).max() == 255
    assert not figures.grey(np.full((H, W), 3.0)).any()
    assert not figures.grey(np.full((H, W), np.nan)).any()
    spoilt = image.copy()
    spoilt[0, 0], spoilt[0, 1] = np.nan, np.inf
    np.testing.assert_allclose(figures.grey(spoilt)[1:], figures.grey(image)[1:], atol=2)


def test_montage_pastes_panels_unchanged():
    panels = [np.full((H, W, 3), 40 * i, np.uint8) for i in range(1, 6)]
    panels[2][7, 9] = (255, 0, 0)
    out = figures.montage(panels, columns=3)
    zoom = round(300 / H)
    red = np.argwhere((out == (255, 0, 0)).all(-1))
    assert len(red) == zoom * zoom  # one pixel, enlarged, not smoothed
    for value in range(40, 240, 40):
        assert (out == value).all(-1).sum() >= H * W * zoom * zoom - zoom * zoom
    assert out.shape[1] > 3 * W * zoom and 2 * H * zoom < out.shape[0] < 3 * H * zoom


def test_samples_show_every_channel_and_are_written_as_returned(tmp_path):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 255, (3, H, W, 2), np.uint8)
    truths = np.stack([_square(5, 5), _square(20, 12), np.zeros((H, W))])[..., None]
    predictions = np.stack([_square(5, 7), np.zeros((H, W)), np.zeros((H, W))])[..., None]
    path = tmp_path / "new" / "samples.png"
    out = figures.save_samples(
        path, images, truths, predictions, ["a 1", "b 2", "c 3"], ("t1", "flair"), title="run"
    )
    np.testing.assert_array_equal(np.asarray(Image.open(path)), out)
    assert list(path.parent.iterdir()) == [path]  # no temporary file is left
    zoom = round(300 / H)
    assert out.shape[1] > 5 * W * zoom  # 2 channels, truth, prediction, close-up
    for colour in (TRUTH, PREDICTION, BOTH):
        assert (out == colour).all(-1).sum() > 20 * zoom
    without = figures.samples(
        images, truths, truths * 0, ["a 1", "b 2", "c 3"], ("t1", "flair"), title="run"
    )
    assert (without == BOTH).all(-1).sum() < (out == BOTH).all(-1).sum() / 2


def test_samples_draw_on_flair_and_accept_odd_sizes():
    images = np.zeros((1, 33, 31, 2), np.float32)
    images[..., 1] = np.random.default_rng(0).uniform(size=(33, 31))
    truth = np.zeros((1, 33, 31, 1))
    truth[0, 28:, 25:] = 1  # in the corner: the close-up must stay inside the slice
    args = images, truth, truth, ["a"]
    default = figures.samples(*args, ("t1", "FLAIR"))
    np.testing.assert_array_equal(default, figures.samples(*args, ("t1", "FLAIR"), ground="FLAIR"))
    assert (default != figures.samples(*args, ("t1", "FLAIR"), ground="t1")).any()


def test_samples_refuse_wrong_names():
    images = np.zeros((2, H, W, 3))
    masks = np.zeros((2, H, W, 1))
    with pytest.raises(ValueError, match="1 names"):
        figures.samples(images, masks, masks, ["a"], ("x", "y", "z"))


def test_batch_shows_the_middle_channel(tmp_path):
    images = np.zeros((5, H, W, 9), np.float32)
    images[..., 4] = np.random.default_rng(0).normal(size=(5, H, W))
    masks = np.stack([_square(3 * i, 2 * i) for i in range(5)])[..., None].astype(np.float32)
    out = figures.batch(tmp_path / "batch.png", images, masks)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "batch.png")), out)
    zoom = round(300 / H)
    assert (out == TRUTH).all(-1).sum() >= 5 * 36 * zoom * zoom
    dark = figures.batch(None, images, masks, channel=0)
    assert out.mean() > 2 * dark.mean()
    assert figures.batch(None, images, masks, limit=1).size < out.size


def _lines(val=True):
    lines = []
    for step in range(1, 101):
        loss = None if step == 50 else 1 / step
        lines.append({"step": step, "kind": "train", "loss": loss, "grad_norm": 2.0, "skipped": 1})
        if val and step % 20 == 0:
            lines.append({"step": step, "kind": "val", "dice_volume_mean": step / 200})
    return lines


def test_learning_curves_with_and_without_validation(tmp_path):
    with_val = figures.learning_curves(tmp_path / "c.png", _lines(), title="run")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "c.png")), with_val)
    without = figures.learning_curves(None, _lines(val=False))
    assert with_val.shape[1] > without.shape[1]
    for picture in (with_val, without):
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    # The best step is marked in a colour that nothing else here has.
    red = np.array([int(canvas.VERMILION[i : i + 2], 16) for i in (1, 3, 5)])
    star = np.argwhere((with_val == red).all(-1))
    assert len(star) > 30
    assert not (without == red).all(-1).any()


def test_learning_curves_follow_the_monitor():
    lines = _lines()
    assert (
        figures.learning_curves(None, lines) != figures.learning_curves(None, lines, monitor="none")
    ).any()


def test_learning_curves_need_lines():
    with pytest.raises(DataError, match="no lines"):
        figures.learning_curves(None, [])


def _patients(values, after=None):
    after = values if after is None else after
    return [
        {"group": f"patient_{i}", "dice": v, "dice_post": a}
        for i, (v, a) in enumerate(zip(values, after, strict=True))
    ]


def test_volumes_grow_with_the_patients_and_show_the_warning(tmp_path):
    few = figures.volumes(tmp_path / "v.png", _patients([0.9, None, 0.2, 0.5]))
    many = figures.volumes(None, _patients(list(np.linspace(0, 1, 30))))
    assert many.shape[0] > few.shape[0]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "v.png")), few)
    warned = figures.volumes(None, _patients([0.9, None, 0.2, 0.5]), warning="LEAKS")
    assert warned.shape == few.shape and (warned != few).any()
    # The order in which patients come changes nothing.
    shuffled = figures.volumes(None, _patients([0.9, None, 0.2, 0.5])[::-1])
    np.testing.assert_array_equal(shuffled, few)


def test_volumes_before_and_after_clean_up_differ():
    values = [0.2, 0.5, 0.8]
    assert (
        figures.volumes(None, _patients(values)).shape[0]
        == (figures.volumes(None, _patients(values, [0.3, 0.5, 0.9])).shape[0])
    )
    assert (
        figures.volumes(None, _patients(values))
        != figures.volumes(None, _patients(values, [0.3, 0.5, 0.9]))
    ).any()
    with pytest.raises(DataError, match="no patient"):
        figures.volumes(None, _patients([None]))


def test_runs_mark_the_leaking_one():
    orange_ish = []
    for leaks in (False, True):
        out = figures.runs(
            None, [("a", _patients([0.5, 0.6]), False), ("b", _patients([0.8, 0.8]), leaks)]
        ).astype(int)
        orange_ish.append((out[..., 0] - out[..., 2] > 60).sum())
    assert orange_ish[0] == 0 and orange_ish[1] > 20
    with pytest.raises(DataError, match="no run"):
        figures.runs(None, [("a", [], False)])


@pytest.mark.parametrize("text", ["a $x$ b", r"$\frac$", "one $", r"5\$ $^$", "x_y"])
def test_texts_are_drawn_as_they_stand(text):
    def drawn(text, **options):
        figure = canvas.figure(160, 40)
        figure.text(0.1, 0.5, text, **options)
        return canvas.pixels(figure)

    np.testing.assert_array_equal(drawn(canvas.literal(text)), drawn(text, parse_math=False))
    assert canvas.literal("M\udcfcller") == "M?ller"


_NAME = "M\udcfcller $\\frac$"  # no UTF-8, and no formula


@pytest.mark.parametrize(
    "figure",
    [
        lambda: figures.montage(
            [np.zeros((8, 8), np.uint8)],
            labels=[_NAME],
            headers=[_NAME],
            legend=[(_NAME, TRUTH)],
            title=_NAME,
        ),
        lambda: figures.learning_curves(
            None,
            [{"step": 1, "kind": kind, "loss": 1.0, _NAME: 0.5} for kind in ("train", "val")],
            monitor=_NAME,
            title=_NAME,
        ),
        lambda: figures.volumes(None, [{"group": _NAME, "dice": 0.5}], title=_NAME, warning=_NAME),
        lambda: figures.runs(None, [(_NAME, _patients([0.5]), True)]),
    ],
    ids=["montage", "learning_curves", "volumes", "runs"],
)
def test_names_that_are_no_utf8_or_hold_dollar_signs_are_drawn(figure):
    assert figure().ndim == 3


def test_write_refuses_other_formats_and_unwritable_places(tmp_path):
    picture = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(DataError, match=r"\.png"):
        canvas.write(tmp_path / "x.jpg", picture)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        canvas.write(tmp_path / "file" / "x.png", picture)


def test_no_figure_touches_pyplot():
    code = (
        "import sys, numpy as np; from brainjax.report import figures; "
        "figures.volumes(None, [{'group': 'a', 'dice': 0.5}]); "
        "sys.exit('matplotlib.pyplot' in sys.modules or 'jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
