"""Folders of single pictures with a class each: the public brain-tumour sets, and any other.

All are read alike: decoded, turned grey, cropped to the head, brought to one size, and grouped with what looks the
same (`duplicates.py`), so that splits can keep copies on one side.
"""

import concurrent.futures
import dataclasses
import logging
import os
import pathlib
import sys
from collections.abc import Callable
from typing import ClassVar, TypeVar

import numpy as np
from tqdm import tqdm

from brainjax.datasets import duplicates, folders, verify
from brainjax.datasets.base import DatasetInfo, LabelledDataset
from brainjax.io.images import read_grey
from brainjax.preprocess import crop
from brainjax.types import ConfigError, DataError

T = TypeVar("T")
PREPARED_VERSION = "1.0.0"  # of what `images_builder` writes, in a folder of `info.name`
PATIENCE = 2.0  # seconds before a progress bar appears


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """Any folder of pictures: `class/picture.jpg` or `part/class/picture.jpg`, with .jpg, .jpeg or .png files.

    Attributes:
        dir: the folder that holds the classes or the parts, or one around it; for the sets that
            `experiments.prepare` knows also what it made of one.
        size: edge of the square grid in pixels.
        channels: 1 for grey, 3 for the grey repeated, as networks trained on colour pictures expect.
        crop: to the head, before resizing.
        duplicates: what makes a group: 'near' (alike: another crop, a neighbouring slice), 'exact' (the same
            pixels), or 'none' (every picture is its own group).
        skip_bad: leave bad files out, instead of refusing to start.
    """

    dir: str
    size: int = 128
    channels: int = 1
    crop: bool = True
    duplicates: str = "near"
    skip_bad: bool = False

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="folder",
        channels=("grey",),
        classes=(),  # the names of the sub-folders
        licence="unknown: that of the pictures",
        citation="none",
    )
    parts: ClassVar[tuple[str, ...]] = ()  # whatever there is

    def load(self) -> LabelledDataset:
        """All pictures in memory; missing classes and skipped files are logged.

        Raises:
            ConfigError: a field has an impossible value.
            DataError: the folder has bad files and `skip_bad` is off; the message lists them all.
        """
        dataset, report = self.read()
        for line in report.lines():
            logging.getLogger(__name__).warning("%s", line)
        return dataset

    def read(self) -> tuple[LabelledDataset, verify.Report]:
        """All pictures in memory, and what was found out about the files.

        Raises:
            ConfigError: a field has an impossible value.
            DataError: the folder has bad files and `skip_bad` is off; the message lists them all.
        """
        self._validate()
        if self.is_prepared():
            from brainjax.datasets import images_builder  # loads tensorflow_datasets

            pictures = images_builder.Prepared(self.dir, type(self).__name__)
            found, read = pictures.found, pictures.__getitem__
        else:
            found = self.find()
            read = _reader(found)
        total, small = len(found.pictures), duplicates.THUMBNAIL
        image = np.empty((total, self.size, self.size, self.channels), np.uint8)
        thumbnail = np.empty((total, small, small), np.uint8)
        content = [""] * total

        def take(row: int) -> None:
            grey = read(row)
            content[row] = duplicates.content_hash(grey)
            box = crop.head_box(grey)
            thumbnail[row] = crop.to_square(grey, small, box)
            image[row] = crop.to_square(grey, self.size, box if self.crop else None)[..., None]

        good, problems = self._each(found, take)
        dataset = assemble(
            dataclasses.replace(
                self.info, classes=found.classes, channels=("grey",) * self.channels
            ),
            [found.pictures[row] for row in good],
            # A copy of all images is spared where all are good.
            image if len(good) == len(image) else image[good],
            [content[row] for row in good],
            thumbnail[good],
            self.duplicates,
        )
        return dataset, verify.Report(problems, missing=tuple(found.missing()))

    def find(self) -> folders.Found:
        """What the folder holds, by file names alone.

        Raises:
            DataError: there is no such folder, or no class in it.
        """
        return folders.find_pictures(self.dir, self.info.classes, self.parts)

    def good(self) -> list[folders.Picture]:
        """The pictures that can be read, ordered by name.

        Raises:
            DataError: the folder has bad files and `skip_bad` is off; the message lists them all.
        """
        found = self.find()
        good, _ = self._each(found, _reader(found))
        return [found.pictures[row] for row in good]

    def is_prepared(self) -> bool:
        """Whether `dir` is what `experiments.prepare` wrote, if only in part."""
        folder = pathlib.Path(self.dir).expanduser() / self.info.name
        return (folder / f"{PREPARED_VERSION}.source").is_file()

    def _each(
        self, found: folders.Found, work: Callable[[int], object]
    ) -> tuple[np.ndarray, tuple[verify.Problem, ...]]:
        """Does `work(row)` for all pictures; gives the rows that are good, and all problems."""

        def attempt(row: int) -> verify.Problem | None:
            try:
                work(row)
            except DataError as error:
                return verify.problem_of(found.pictures[row].path, error)
            return None

        faults = _in_threads(attempt, len(found.pictures))
        problems = (*found.problems, *(fault for fault in faults if fault is not None))
        good = np.array([row for row, fault in enumerate(faults) if fault is None], int)
        verify.settle(self.dir, problems, good=len(good), skip_bad=self.skip_bad)
        return good, problems

    def _validate(self) -> None:
        if not 16 <= self.size <= 1024:
            raise ConfigError(f"size={self.size} pixels is out of range: use 16 to 1024")
        if self.channels not in (1, 3):
            raise ConfigError(f"channels={self.channels}; choose 1 (grey) or 3 (the grey repeated)")
        if self.duplicates not in duplicates.MODES:
            modes = ", ".join(duplicates.MODES)
            raise ConfigError(f"duplicates={self.duplicates!r}; choose one of {modes}")


@dataclasses.dataclass(frozen=True)
class TumorImages(ImageFolder):
    """The 4-class set of 3,264 pictures (S. Bhuvaji et al.); fields as of `ImageFolder`.

    Its `Training/` and `Testing/` share pictures: see `duplicates.py` and the splits `as_shipped`, `stratified`.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="tumor_images",
        channels=("grey",),
        classes=("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"),
        licence="MIT",
        citation=(
            "S. Bhuvaji, A. Kadam, P. Bhumkar, S. Dedge, S. Kanchan. Brain Tumor Classification (MRI). "
            "Kaggle, 2020. doi:10.34740/KAGGLE/DSV/1183165"
        ),
    )
    parts: ClassVar[tuple[str, ...]] = ("Training", "Testing")


@dataclasses.dataclass(frozen=True)
class TumorImages7023(ImageFolder):
    """The 4-class set of 7,023 pictures (M. Nickparvar), which took in the smaller one; fields as of `ImageFolder`."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="tumor_images_7023",
        channels=("grey",),
        classes=("glioma", "meningioma", "notumor", "pituitary"),
        licence="CC0 1.0, as stated on Kaggle",
        citation="M. Nickparvar. Brain Tumor MRI Dataset. Kaggle, 2021. doi:10.34740/KAGGLE/DSV/2645886",
    )
    parts: ClassVar[tuple[str, ...]] = ("Training", "Testing")


@dataclasses.dataclass(frozen=True)
class YesNoImages(ImageFolder):
    """The yes/no set of 253 pictures (N. Chakrabarty); fields as of `ImageFolder`.

    Kaggle ships it twice in one archive; the second copy, `brain_tumor_dataset/`, is not read beside the first.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="yes_no_images",
        channels=("grey",),
        classes=("no", "yes"),
        licence="not stated on Kaggle",
        citation="N. Chakrabarty. Brain MRI Images for Brain Tumor Detection. Kaggle, 2019.",
    )


def assemble(
    info: DatasetInfo,
    pictures: list[folders.Picture],
    image: np.ndarray,
    content: list[str],
    thumbnail: np.ndarray,
    mode: str,
) -> LabelledDataset:
    """Groups the pictures and orders them by (group, name).

    Args:
        info: of the dataset.
        pictures: N, ordered by name.
        image: [N H W C] uint8.
        content: N hashes.
        thumbnail: [N S S] uint8, of the heads.
        mode: as `ImageFolder.duplicates`.
    """
    names = [picture.name for picture in pictures]
    group = duplicates.components(content, thumbnail, mode)
    order = np.argsort(group, kind="stable")  # within a group pictures stay in order of names
    first = order[np.searchsorted(group[order], np.unique(group))]
    return LabelledDataset(
        info=info,
        image=image[order],
        label=np.array([info.classes.index(pictures[row].label) for row in order], np.int32),
        group=group[order],
        groups=tuple(names[row] for row in first),
        name=tuple(names[row] for row in order),
        part=tuple(pictures[row].part for row in order),
        content=tuple(content[row] for row in order),
        duplicates=mode,
    )


def _reader(found: folders.Found) -> Callable[[int], np.ndarray]:
    return lambda row: read_grey(found.pictures[row].path)


def _in_threads(work: Callable[[int], T], count: int) -> list[T]:
    """[work(0), ..., work(count - 1)], with a bar once it takes long."""
    # Pillow and NumPy leave the interpreter lock, so threads scale with the cores.
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        done = pool.map(work, range(count))
        options = {"unit": "picture", "delay": PATIENCE, "file": sys.stderr, "disable": None}
        return list(tqdm(done, total=count, desc="reading", **options))
