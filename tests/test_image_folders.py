"""Folders of labelled pictures: layouts as shipped, every bad file at once, rows in one order."""

import dataclasses
import logging
import os
import pathlib
import shutil

import numpy as np
import pytest
from pictures import CLASSES, head, tumor_folder, write
from PIL import Image
from tiny import make_labelled

from brainjax import datasets
from brainjax.datasets import ImageFolder, TumorImages, TumorImages7023, YesNoImages, verify
from brainjax.io import images
from brainjax.preprocess import crop
from brainjax.types import ConfigError, DataError

REAL = pathlib.Path(
    os.environ.get("BRAINJAX_DATA", pathlib.Path(__file__).resolve().parents[2] / "shared/data")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tumor_folder(tmp_path_factory.mktemp("tumors"))


@pytest.fixture(scope="module")
def dataset(folder):
    return TumorImages(str(folder), size=32).load()


def test_everything_is_read_and_fits(dataset):
    verify.check_arrays(dataset)
    assert dataset.info.classes == CLASSES and dataset.image.shape == (20, 32, 32, 1)
    assert np.bincount(dataset.label).tolist() == [5] * 4
    assert dataset.part.count("Testing") == 8
    for name, label in zip(dataset.name, dataset.label, strict=True):
        assert f"/{CLASSES[label]}/" in name


def test_a_row_is_the_cropped_picture_of_its_name(dataset, folder):
    for row in (0, 7, 19):
        grey = np.asarray(Image.open(folder / dataset.name[row]))
        np.testing.assert_array_equal(dataset.image[row], crop.as_input(grey, size=32))


def test_copies_share_a_group_that_is_named_after_the_first(dataset):
    assert len(dataset.groups) == 16 and sorted(dataset.groups) == list(dataset.groups)
    for k, name in enumerate(CLASSES):
        row = dataset.name.index(f"Testing/{name}/image(0).png")
        copy = dataset.name.index(f"Training/{name}/m (0).png")
        assert dataset.group[row] == dataset.group[copy]
        assert dataset.content[row] == dataset.content[copy]
        assert dataset.groups[dataset.group[copy]] == dataset.name[row]
        assert k == dataset.label[row]


def test_rows_do_not_depend_on_threads(folder, dataset, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    again = TumorImages(str(folder), size=32).load()
    for field in dataclasses.fields(dataset):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(dataset, field.name))


def test_fields_change_pictures_and_groups_but_not_each_other(folder, dataset):
    three = TumorImages(str(folder), size=24, channels=3, crop=False, duplicates="none").load()
    assert three.image.shape == (20, 24, 24, 3) and len(three.groups) == 20
    assert len(three.info.channels) == 3
    assert (three.image == three.image[..., :1]).all()
    row, other = dataset.name.index(three.name[4]), 4
    assert dataset.content[row] == three.content[other]
    # Groups come from the cropped head at a size of their own, so no field of the pictures moves a split.
    whole = TumorImages(str(folder), size=16, crop=False).load()
    assert whole.groups == dataset.groups and whole.name == dataset.name


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"size": 4}, "size=4"),
        ({"channels": 2}, "channels=2"),
        ({"duplicates": "maybe"}, "near, exact, none"),
    ],
)
def test_impossible_fields_are_refused(folder, wrong, message):
    with pytest.raises(ConfigError, match=message):
        TumorImages(str(folder), **wrong).load()


def test_the_folder_may_be_wrapped_or_one_part_alone(folder, dataset, tmp_path):
    shutil.copytree(folder, tmp_path / "archive" / "Brain Tumor")
    assert TumorImages(str(tmp_path / "archive"), size=32).load().name == dataset.name
    shutil.rmtree(tmp_path / "archive" / "Brain Tumor" / "Training")
    alone = TumorImages(str(tmp_path / "archive"), size=32).load()
    assert set(alone.part) == {"Testing"} and len(alone) == 8
    inner = TumorImages(str(tmp_path / "archive" / "Brain Tumor" / "Testing"), size=32).load()
    assert set(inner.part) == {""} and inner.content == alone.content


def test_spelling_of_folders_and_suffixes_is_forgiven(tmp_path):
    write(tmp_path / "training" / "Glioma" / "a.JPG", head(1))
    write(tmp_path / "training" / "NOTUMOR" / "b.jpeg", head(2))
    write(tmp_path / "training" / "pituitary" / "c.PNG", head(3))
    dataset = TumorImages7023(str(tmp_path), size=32).load()
    assert [dataset.info.classes[k] for k in dataset.label] == ["glioma", "notumor", "pituitary"]
    assert set(dataset.part) == {"Training"}


def test_the_second_copy_of_the_yes_no_set_is_not_read(tmp_path):
    for root in (tmp_path, tmp_path / "brain_tumor_dataset"):
        write(root / "yes" / "Y1.jpg", head(1))
        write(root / "no" / "1 no.jpeg", head(2))
    dataset = YesNoImages(str(tmp_path), size=32).load()
    assert dataset.name == ("no/1 no.jpeg", "yes/Y1.jpg")
    assert dataset.label.tolist() == [0, 1] and dataset.part == ("", "")
    shutil.rmtree(tmp_path / "yes"), shutil.rmtree(tmp_path / "no")
    assert YesNoImages(str(tmp_path), size=32).load().name == dataset.name


def test_missing_classes_are_named_and_need_not_be_there(tmp_path, caplog):
    write(tmp_path / "Testing" / "no_tumor" / "a.png", head(1))
    with caplog.at_level(logging.WARNING):
        dataset = TumorImages(str(tmp_path), size=32).load()
    assert dataset.label.tolist() == [2] and dataset.info.classes == CLASSES
    assert "no pictures of glioma_tumor, meningioma_tumor, pituitary_tumor" in caplog.text


def test_all_bad_files_are_listed_at_once_or_left_out(tmp_path):
    root = tumor_folder(tmp_path, each=1)
    part = root / "Training"
    (part / "no_tumor" / "broken.jpg").write_bytes(b"no picture at all")
    (part / "no_tumor" / "empty.png").touch()
    whole = write(tmp_path / "whole.jpg", head(1)).read_bytes()
    (tmp_path / "whole.jpg").unlink()
    (part / "no_tumor" / "short.jpg").write_bytes(whole[: len(whole) // 2])
    (part / "no_tumor" / "scan.dcm").touch()
    (part / "no_tumor" / "Thumbs.db").touch()
    (part / "no_tumor" / ".hidden.png").touch()
    write(part / "abscess" / "x.png", head(9))
    shutil.rmtree(part / "pituitary_tumor")
    (part / "pituitary_tumor").mkdir()
    with pytest.raises(DataError) as caught:
        TumorImages(str(root), size=32).load()
    text = str(caught.value)
    assert "6 problems" in text and "skip_bad" in text
    for part in (
        "broken.jpg",
        "empty.png",
        "short.jpg",
        "scan.dcm",
        "abscess",
        "holds no pictures",
    ):
        assert part in text
    assert "Thumbs" not in text and "hidden" not in text
    dataset, report = TumorImages(str(root), size=32, skip_bad=True).read()
    assert len(dataset) == 11 and len(report.problems) == 6
    verify.check_arrays(dataset)


@pytest.mark.parametrize("make", [TumorImages, YesNoImages, ImageFolder])
def test_a_folder_without_pictures_says_what_it_should_hold(make, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        make(str(tmp_path / "nowhere")).load()
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(DataError, match="pass the folder that does"):
        make(str(tmp_path)).load()


def test_only_bad_files_are_refused_even_when_skipping(tmp_path):
    (tmp_path / "yes").mkdir()
    (tmp_path / "yes" / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="Nothing usable is left"):
        YesNoImages(str(tmp_path), skip_bad=True).load()


def test_any_folder_is_a_dataset(tmp_path):
    for seed, place in enumerate(("fold_a/cat", "fold_a/dog", "fold_b/cat", "fold_b/dog")):
        write(tmp_path / place / "1.png", head(seed))
    dataset = ImageFolder(str(tmp_path), size=32, duplicates="exact").load()
    assert dataset.info.classes == ("cat", "dog") and set(dataset.part) == {"fold_a", "fold_b"}
    verify.check_arrays(dataset)


def test_colour_becomes_grey_by_luminance_and_transparency_black(tmp_path):
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[0] = [[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255]]
    pixels[1] = [[255, 255, 255, 255], [255, 255, 255, 128], [255, 255, 255, 0]]
    grey = images.read_grey(write(tmp_path / "a.png", pixels))
    assert grey.tolist() == [[76, 150, 29], [255, 128, 0]]
    rgb = images.read_grey(write(tmp_path / "b.png", pixels[:1, :, :3].copy()))
    np.testing.assert_array_equal(rgb, np.asarray(Image.open(tmp_path / "b.png").convert("L")))
    alone = images.read_grey(write(tmp_path / "c.png", head(1)))
    np.testing.assert_array_equal(alone, head(1))


def test_all_are_found_by_name():
    for name in ("ImageFolder", "TumorImages", "TumorImages7023", "YesNoImages"):
        assert datasets.get(name).__name__ == name
        assert dataclasses.is_dataclass(datasets.get(name))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: {"label": d.label + 1}, "beyond the 4 classes"),
        (lambda d: {"label": d.label.astype(np.float32)}, "beyond the 4 classes"),
        (lambda d: {"label": d.label[1:]}, "label: has 19 rows"),
        (lambda d: {"content": d.content[1:]}, "content: has 19 rows"),
        (lambda d: {"group": d.group[::-1]}, "not ordered by"),
        (lambda d: {"groups": d.groups[:-1]}, "groups does not name"),
        (lambda d: {"image": d.image[..., 0]}, r"make it \[N H W C\]"),
        (lambda d: {"image": np.repeat(d.image, 3, 3)}, "has 3 channels, info names 1"),
        (lambda d: {"image": np.full(d.image.shape, np.nan, np.float32)}, "not finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(dataset, change, message):
    with pytest.raises(DataError, match=message):
        verify.check_arrays(dataclasses.replace(dataset, **change(dataset)))


@pytest.mark.skipif(
    not REAL.is_dir(), reason="no data at ../shared/data; name another folder in BRAINJAX_DATA"
)
def test_the_real_yes_no_set():
    dataset = YesNoImages(str(REAL / "yes_no"), size=32).load()
    verify.check_arrays(dataset)
    assert np.bincount(dataset.label).tolist() == [73, 148]
    sizes = np.bincount(dataset.group)
    assert 170 <= len(dataset.groups) <= 185 and sizes.max() <= 6
    assert len(set(dataset.content)) > len(dataset.groups)  # near copies, beside exact ones


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    """The builder's module and what it made of the folder, after a first attempt that died half-way."""
    pytest.importorskip("tensorflow_datasets", reason="preparing needs tensorflow_datasets")
    from brainjax.datasets import images_builder

    target = str(tmp_path_factory.mktemp("prepared"))
    complete = images_builder.TumorImages._generate_examples

    def dies(self, pictures):
        yield from list(complete(self, pictures))[:4]
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images_builder.TumorImages, "_generate_examples", dies)
        with pytest.raises(KeyboardInterrupt):
            images_builder.prepare("TumorImages", str(folder), target)
    with pytest.raises(DataError, match="run the preparation"):
        TumorImages(target).load()
    images_builder.prepare("TumorImages", str(folder), target)
    return images_builder, target


def test_a_prepared_folder_gives_the_same_rows(prepared, dataset):
    again = TumorImages(prepared[1], size=32).load()
    for field in dataclasses.fields(dataset):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(dataset, field.name))


def test_other_files_are_not_taken_for_those_prepared(prepared, folder, tmp_path):
    images_builder, target = prepared
    images_builder.prepare("TumorImages", str(folder), target)  # the same again: nothing to do
    with pytest.raises(DataError, match="prepared from other files"):
        images_builder.prepare("TumorImages", str(tumor_folder(tmp_path, each=2)), target)
    with pytest.raises(ConfigError, match="did you mean 'TumorImages'"):
        images_builder.prepare("TumourImages", str(folder), target)


def test_bad_files_stop_the_preparation_or_are_left_out(prepared, tmp_path):
    images_builder, _ = prepared
    for name in ("Y1.jpg", "Y2.png"):
        write(tmp_path / "set" / "yes" / name, head(len(name)))
    (tmp_path / "set" / "yes" / "Y3.png").write_bytes(b"x")
    places = str(tmp_path / "set"), str(tmp_path / "prepared")
    with pytest.raises(DataError, match="Y3.png"):
        images_builder.prepare("YesNoImages", *places)
    assert not list(tmp_path.glob("prepared/**/*.array_record*"))
    images_builder.prepare("YesNoImages", *places, skip_bad=True)
    dataset, report = YesNoImages(places[1], size=32).read()
    assert dataset.name == ("yes/Y1.jpg", "yes/Y2.png")
    assert report.missing == ("the folder: no pictures of no",)


def test_labels_are_numbered_as_a_network_s_classes_are():
    dataset = make_labelled((3, 2, 4))
    assert dataset.with_classes(dataset.info.classes) is dataset
    other = dataset.with_classes(("None", "other", "down", "ACROSS"))
    names = np.array(other.info.classes)[other.label]
    np.testing.assert_array_equal(
        np.char.lower(names), np.repeat(["across", "down", "none"], (3, 2, 4))
    )
    assert other.truth.shape == (9, 4) and not other.truth[:, 1].any()
    with pytest.raises(DataError, match=r"has images of across, down, none, .* knows down, none:"):
        dataset.with_classes(("down", "none"))
