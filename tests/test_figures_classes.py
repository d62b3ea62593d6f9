"""Figures of classifiers: mistakes come first and are marked, warnings are seen, no text leaves the picture."""

import csv

import numpy as np
import pytest
from PIL import Image

from brainjax.metrics import calibration, classification
from brainjax.report import canvas, figures
from brainjax.report import predictions as table
from brainjax.report.examples import SIDE, WRONG
from brainjax.types import DataError

NAMES = ["glioma_tumor", "meningioma_tumor", "no_tumor"]
LONG = ["oligodendroglioma_with_1p19q_codeletion", "glioblastomamultiformeunspecified", "x"]
RED = tuple(int(canvas.VERMILION[i : i + 2], 16) for i in (1, 3, 5))
LEAKS = "LEAKS: images of one patient are on both sides of the split that these were drawn from"


def _scored(n=60, seed=0):
    """(probabilities, labels) of a fair classifier."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    logits = rng.normal(0, 2, (n, 3)) + 2.5 * np.eye(3)[labels]
    return calibration.softmax(logits), labels


def _count(picture, colour):
    return int((picture == colour).all(-1).sum())


def _rim(picture):
    """The colours on the outermost two pixels."""
    inner = np.ones(picture.shape[:2], bool)
    inner[2:-2, 2:-2] = False
    return {tuple(c) for c in picture[inner].tolist()}


def _confusion(names=NAMES, **options):
    return figures.confusion(None, [[40, 9, 1], [0, 50, 0], [25, 0, 25]], names, **options)


def _reliability(names=("before", "after"), **options):
    p, labels = _scored()
    curves = {name: calibration.reliability(p, labels) for name in names}
    return figures.reliability(None, curves, **options)


def _roc(names=NAMES, **options):
    p, labels = _scored()
    curves = {}
    for k, name in enumerate(names):
        true = labels == k
        curves[name] = (*classification.roc(p[:, k], true), classification.auroc(p[:, k], true))
    return figures.roc(None, curves, **options)


@pytest.mark.parametrize("chart", [_confusion, _reliability, _roc])
def test_charts_show_warnings_and_keep_their_texts_inside(chart):
    plain, warned = chart(title="run"), chart(title="run", warning=LEAKS)
    assert warned.shape[0] > plain.shape[0] and warned.shape[1] == plain.shape[1]
    assert _count(warned, RED) > _count(plain, RED) + 100
    for picture in (plain, warned, chart(LONG, title="a long title of a run " * 5)):
        assert _rim(picture) == {(255, 255, 255)}


_NAME = "M\udcfcller $\\frac$"  # no UTF-8, and no formula


@pytest.mark.parametrize(
    "figure",
    [
        lambda **options: _confusion([_NAME] * 3, **options),
        lambda **options: _reliability([_NAME], **options),
        lambda **options: _roc([_NAME] * 3, **options),
        lambda **options: figures.predictions(
            None, _images(2), [0, 1], np.eye(2), [_NAME] * 2, names=[_NAME] * 2, **options
        ),
        lambda **options: figures.gradcam(
            None, _images(1), np.zeros((1, 32, 32)), [_NAME], **options
        ),
    ],
    ids=["confusion", "reliability", "roc", "predictions", "gradcam"],
)
def test_names_that_are_no_utf8_or_hold_dollar_signs_are_drawn(figure):
    assert figure(title=_NAME, warning=_NAME).ndim == 3


def test_predictions_of_any_names_are_a_table_that_runs_nothing(tmp_path):
    names, classes = ["M\udcfcller.png", "=cmd|'/C calc'!A0", "a,b"], ["@a", "b"]
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    table.write(tmp_path / "p.csv", names, classes, p, np.array([0, 0, 1]))
    rows = list(csv.reader((tmp_path / "p.csv").open(encoding="utf-8", newline="")))
    assert rows[0] == ["image", "label", "predicted", "'@a", "b"]
    assert rows[1] == ["M?ller.png", "'@a", "'@a", "0.900000", "0.100000"]
    assert rows[2][:3] == ["'=cmd|'/C calc'!A0", "'@a", "b"] and rows[3][0] == "a,b"


def test_confusion_is_darker_the_larger_the_share_of_the_true_class(tmp_path):
    picture = figures.confusion(tmp_path / "c.png", [[6, 0], [300, 100]], ["a", "b"])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "c.png")), picture)
    # Cells are the only blue squares; the corners of each are free of text.
    blue = picture[..., 2].astype(int) - picture[..., 0]
    whole = np.argwhere(blue > 60)
    (top, left), size = whole.min(0), 92
    corner = [[blue[top + 6 + size * i, left + 6 + size * j] for j in (0, 1)] for i in (0, 1)]
    assert corner[0][0] > corner[1][0] > corner[1][1] > corner[0][1]


def test_confusion_of_a_class_without_images_and_of_two_classes():
    for matrix in ([[5, 1], [0, 0]], [[0, 0], [0, 0]]):
        assert _rim(figures.confusion(None, matrix, ["no", "yes"])) == {(255, 255, 255)}
    with pytest.raises(ValueError, match="matrix has shape"):
        figures.confusion(None, [[1, 2]], ["no", "yes"])


def test_reliability_needs_images_and_changes_with_the_temperature():
    p, labels = _scored()
    before = calibration.reliability(p, labels)
    after = calibration.reliability(p**0.3 / (p**0.3).sum(1, keepdims=True), labels)
    one = figures.reliability(None, {"before": before})
    two = figures.reliability(None, {"before": before, "after": after})
    blue = tuple(int(canvas.BLUE[i : i + 2], 16) for i in (1, 3, 5))
    assert _count(one, blue) == 0 and _count(two, blue) > 100
    figures.reliability(None, {"one image": calibration.reliability([[0.0, 1.0]], [1])})
    with pytest.raises(DataError, match="no scored images"):
        figures.reliability(None, {"none": calibration.reliability(np.zeros((0, 2)), [])})
    with pytest.raises(DataError, match="two classes"):
        figures.roc(None, {})


def _images(n, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (n, size, size, 1), np.uint8)


def _strips(picture, columns, rows, lines):
    """Whether each panel, in reading order, has the strip of a mistake."""
    height, top = SIDE + 16 * lines + 8, picture.shape[0]
    top -= rows * (height + 4)
    y = top + np.arange(rows) * (height + 4) + 2  # above the text
    x = 4 + np.arange(columns) * (SIDE + 4) + 2
    return [_near(picture[i, j]) for i in y for j in x]


def _near(pixel):
    return bool((abs(pixel.astype(int) - WRONG) < 3).all())


def test_mistakes_come_first_and_are_framed(tmp_path):
    p, labels = _scored(20, seed=1)
    wrong = int((p.argmax(1) != labels).sum())
    assert 2 < wrong < 8
    picture = figures.predictions(tmp_path / "p.png", _images(20), labels, p, NAMES, title="run")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "p.png")), picture)
    assert _strips(picture, 5, 4, 2) == [True] * wrong + [False] * (20 - wrong)
    few = figures.predictions(None, _images(20), labels, p, NAMES, limit=5)
    assert _strips(few, 5, 1, 2) == [
        i < min(wrong, 4) for i in range(5)
    ]  # one is kept for the rest
    one = figures.predictions(None, _images(20), labels, p, NAMES, limit=1)
    assert _strips(one, 1, 1, 2) == [True]


def test_the_order_of_the_images_does_not_matter_and_the_surest_mistake_is_first():
    p, labels = _scored(20, seed=1)
    images, order = _images(20), np.random.default_rng(3).permutation(20)
    names = [f"{i}.jpg" for i in range(20)]
    picture = figures.predictions(None, images, labels, p, NAMES, names=names)
    mixed = [names[i] for i in order]
    again = figures.predictions(None, images[order], labels[order], p[order], NAMES, names=mixed)
    np.testing.assert_array_equal(picture, again)
    first = np.where(p.argmax(1) != labels, p.max(1), -1).argmax()
    alone = figures.predictions(
        None, *(x[[first]] for x in (images, labels, p)), NAMES, names=[names[first]]
    )
    panel = slice(-SIDE, -10), slice(4, SIDE)
    np.testing.assert_array_equal(alone[panel], picture[: -3 * (SIDE + 60)][panel])


def test_of_many_mistakes_a_quarter_of_the_picture_is_left_to_the_rest():
    labels = np.array([0] * 9 + [1] * 3)
    p = np.tile([0.3, 0.7], (12, 1))
    picture = figures.predictions(None, _images(12), labels, p, ["no", "yes"], limit=5)
    assert _strips(picture, 5, 1, 2) == [True] * 4 + [False]
    all_wrong = figures.predictions(None, _images(9), labels[:9], p[:9], ["no", "yes"], limit=5)
    assert _strips(all_wrong, 5, 1, 2) == [True] * 5


def test_long_names_and_sizes_of_images_leave_the_layout_alone():
    p, labels = _scored(4)
    shape = figures.predictions(None, _images(4), labels, p, NAMES).shape
    assert figures.predictions(None, _images(4), labels, p, LONG).shape == shape
    assert figures.predictions(None, _images(4, 500), labels, p, NAMES).shape == shape
    wide = np.repeat(_images(4, 40)[:, :20], 3, axis=-1)
    assert figures.predictions(None, wide, labels, p, NAMES).shape == shape
    warned = figures.predictions(None, _images(4), labels, p, NAMES, warning=LEAKS)
    assert warned.shape[0] > shape[0]


def test_one_image_of_two_classes_with_probabilities_of_zero_and_one():
    for label in (0, 1):
        picture = figures.predictions(None, _images(1), [label], [[0.0, 1.0]], ["no", "yes"])
        assert _strips(picture, 1, 1, 2) == [label == 0]


def test_gradcam_lights_what_the_map_names_and_nothing_else(tmp_path):
    images = np.repeat(_images(3, 64), 3, axis=-1)
    maps = np.zeros((3, 64, 64), np.float32)
    maps[0, :32, 32:] = 1
    titles = ["WRONG: glioma 0.90\ntruth: none 0.05", "b", "c"]
    picture = figures.gradcam(tmp_path / "g.png", images, maps, titles)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "g.png")), picture)
    colour = np.ptp(picture.astype(int), axis=-1) > 20
    y, x = np.nonzero(colour)
    height = SIDE + 40 + 4
    top, left = picture.shape[0] - 2 * height + 40, 4 + SIDE
    inside = (y >= top) & (y <= top + SIDE // 2 + 4) & (x >= left + SIDE // 2 - 4)
    assert inside.mean() == 1 and len(x) > 0.8 * (SIDE // 2) ** 2


def test_pictures_refuse_what_does_not_fit():
    p, labels = _scored(4)
    with pytest.raises(ValueError, match="labels has shape"):
        figures.predictions(None, _images(4), labels[:3], p, NAMES)
    with pytest.raises(ValueError, match="4 images with 1 names"):
        figures.predictions(None, _images(4), labels, p, NAMES, names=["a"])
    with pytest.raises(ValueError, match="maps has shape"):
        figures.gradcam(None, _images(4), np.zeros((4, 8, 8)), "abcd")
    with pytest.raises(ValueError, match="2 titles"):
        figures.gradcam(None, _images(4), np.zeros((4, 32, 32)), "ab")
