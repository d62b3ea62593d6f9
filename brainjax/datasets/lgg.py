"""LGG: 110 patients with lower-grade glioma, FLAIR abnormality drawn by hand on every slice.

The folder as Kaggle ships it ("LGG MRI Segmentation", M. Buda): one folder a patient, one
256 x 256 RGB TIFF a slice whose channels are three sequences, and a `_mask.tif` beside it. Where
the pre- or post-contrast sequence of a patient was never acquired, the release repeats FLAIR in its
place: `missing_sequences` finds these patients.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import logging
import os
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from brainjax.datasets import verify
from brainjax.datasets.base import ArrayDataset, DatasetInfo
from brainjax.io import images
from brainjax.types import ConfigError, DataError

INFO = DatasetInfo(
    name="lgg",
    channels=("pre_contrast", "flair", "post_contrast"),
    classes=("FLAIR abnormality",),
    licence="CC BY-NC-SA 4.0",
    citation=(
        "M. Buda, A. Saha, M. A. Mazurowski. Association of genomic subtypes of lower-grade "
        "gliomas with shape features automatically extracted by a deep learning algorithm. "
        "Computers in Biology and Medicine 109, 2019."
    ),
)
SEQUENCES = {"all": (0, 1, 2), "flair": (1,), "t1": (0, 2)}
PREPARED = "lgg_mri"  # the folder that TFDS makes for `lgg_builder.LggMri`
# Grey levels. Equal channels come back from lossy compression up to about 1 level apart; two real
# sequences of the same head differ by more than 3 on average.
SAME_SEQUENCE = 1.5

_SLICE = re.compile(r"(?P<patient>.+)_(?P<number>\d+)(?P<mask>_mask)?\.tiff?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class LGG:
    """The LGG folder as a dataset.

    Attributes:
        dir: the unpacked download, its `kaggle_3m`, a folder of `TCGA_*` folders, one of those, or what
            `experiments.prepare` made of any of them.
        sequences: 'all' for the three channels, 'flair' for FLAIR alone, 't1' for the two T1-weighted ones: patients
            with neither are left out then, and one that a patient has not is black.
        skip_bad: leave bad files out, instead of refusing to start.
        in_memory: hold all slices in memory; off, a prepared folder's are read from disk as batches ask for them.
    """

    dir: str
    sequences: str = "all"
    skip_bad: bool = False
    in_memory: bool = True

    def load(self) -> ArrayDataset:
        """All slices in memory; what `read` reports is logged.

        Raises:
            ConfigError: `sequences` is none of `SEQUENCES`.
            DataError: the folder has bad files and `skip_bad` is off; the message lists them all.
        """
        dataset, report = self.read()
        for line in report.lines():
            logging.getLogger(__name__).warning("%s", line)
        return dataset

    def read(self) -> tuple[ArrayDataset, verify.Report]:
        """All slices in memory, and what was found out about the files.

        `position` is the number in the file name: `{patient}_{position}.tif` is a slice's file.

        Returns:
            image [N H W 3], [N H W 2] or [N H W 1] uint8 with mask [N H W 1] uint8, and the report.

        Raises:
            ConfigError: `sequences` is none of `SEQUENCES`.
            DataError: the folder has bad files and `skip_bad` is off; the message lists them all.
        """
        if self.sequences not in SEQUENCES:
            known = ", ".join(map(repr, SEQUENCES))
            raise ConfigError(f"LGG sequences is {self.sequences!r}; choose {known}")
        if self.sequences == "t1":
            if not self.in_memory:
                raise ConfigError(
                    "LGG sequences 't1' are sorted out in memory; set --config.data.in_memory=True"
                )
            # Only FLAIR shows which of the others merely repeat it.
            dataset, report = dataclasses.replace(self, sequences="all").read()
            return t1_weighted(dataset, report.missing_sequences), report
        if (pathlib.Path(self.dir).expanduser() / PREPARED).is_dir():
            return self._read_prepared()
        if not self.in_memory:
            raise ConfigError(
                f"{self.dir} is read from disk only once prepared: python -m experiments.prepare "
                f"--data_dir={self.dir} --output=PREPARED, then --config.data.dir=PREPARED"
            )
        slices, problems = find_slices(self.dir)
        size = _common_size(slices)
        picked = SEQUENCES[self.sequences]
        image = np.empty((len(slices), *size, len(picked)), np.uint8)
        mask = np.empty((len(slices), *size, 1), np.uint8)

        def decode(row: int) -> list[verify.Problem]:
            return _decode(slices[row], size, picked, image[row], mask[row])

        # Pillow decodes outside the interpreter lock, so threads scale with the cores.
        with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            found = list(pool.map(decode, range(len(slices))))
        problems += [problem for of_one in found for problem in of_one]
        good = np.array([not of_one for of_one in found], bool)
        verify.settle(self.dir, problems, good=int(good.sum()), skip_bad=self.skip_bad)
        if not good.all():
            image, mask = image[good], mask[good]
            slices = [s for s, keep in zip(slices, good, strict=True) if keep]

        groups, group = np.unique([s.patient for s in slices], return_inverse=True)
        dataset = ArrayDataset(
            info=dataclasses.replace(INFO, channels=tuple(INFO.channels[c] for c in picked)),
            image=image,
            mask=mask,
            group=group.astype(np.int32),
            position=np.array([s.number for s in slices], np.int32),
            groups=tuple(groups.tolist()),
        )
        report = verify.Report(tuple(problems), _gaps(dataset), missing_sequences(dataset))
        return dataset, report

    def _read_prepared(self) -> tuple[ArrayDataset, verify.Report]:
        """What `experiments.prepare` wrote; its files were verified then."""
        from brainjax.datasets import lgg_builder  # loads tensorflow_datasets

        if self.in_memory:
            dataset = lgg_builder.load_prepared(self.dir, sequences=self.sequences)
            return dataset, verify.Report((), _gaps(dataset), missing_sequences(dataset))
        from brainjax.data import from_records

        picked = [INFO.channels[c] for c in SEQUENCES[self.sequences]]
        dataset = from_records(lgg_builder.data_source(self.dir), INFO, picked)
        # Comparing sequences would read every slice, which is what this option is there to avoid.
        return dataset, verify.Report((), _gaps(dataset), {})


@dataclasses.dataclass(frozen=True, order=True)
class Slice:
    """The files of one slice; slices sort by (patient, number)."""

    patient: str
    number: int
    image: str
    mask: str


def find_slices(directory: str | os.PathLike) -> tuple[list[Slice], list[verify.Problem]]:
    """Pairs images with masks by file name, without opening any.

    Args:
        directory: as `LGG.dir`.

    Returns:
        The complete pairs ordered by (patient, slice number), and everything that does not pair up.

    Raises:
        DataError: there is no such folder, or no patient in it.
    """
    slices, problems, owners = [], [], {}
    for folder in _patient_folders(directory):
        files = collections.defaultdict(dict)  # slice number -> {'image': path, 'mask': path}
        prefixes = set()
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.suffix.lower() not in (".tif", ".tiff"):
                continue
            match = _SLICE.fullmatch(path.name)
            if match is None:
                fix = "name it <patient>_<number>.tif or <patient>_<number>_mask.tif"
                problems.append(verify.Problem(str(path), "has no slice number", fix))
                continue
            prefixes.add(match["patient"])
            kind = "mask" if match["mask"] else "image"
            other = files[int(match["number"])].setdefault(kind, str(path))
            if other != str(path):
                what = f"has the slice number of {os.path.basename(other)}"
                problems.append(verify.Problem(str(path), what, "remove one of the two"))
        if not files:
            problems.append(verify.Problem(str(folder), "holds no slices", "remove the folder"))

        # A second folder of the same person would end up on another side of a patient split.
        person = {"_".join(prefix.split("_")[:3]) for prefix in prefixes}
        first = next((owners[p] for p in person if p in owners), None)
        owners |= dict.fromkeys(person, folder.name)
        if first is not None:
            what = f"is the same patient as {first}"
            problems.append(verify.Problem(str(folder), what, "keep one of the two folders"))
            continue
        for number, pair in sorted(files.items()):
            if "mask" not in pair:
                fix = "add its _mask.tif (all black where there is no tumour)"
                problems.append(verify.Problem(pair["image"], "has no mask", fix))
            elif "image" not in pair:
                fix = "add the image, or remove the mask"
                problems.append(verify.Problem(pair["mask"], "mask without an image", fix))
            else:
                slices.append(Slice(folder.name, number, **pair))
    return sorted(slices), problems


def missing_sequences(dataset: ArrayDataset) -> Mapping[str, tuple[str, ...]]:
    """Finds the channels that merely repeat FLAIR, because the sequence was not acquired.

    Args:
        dataset: LGG with its three channels; with FLAIR alone nothing can be missing.

    Returns:
        The missing channels by patient; patients with all sequences are not listed.
    """
    missing = {}
    if "flair" not in dataset.info.channels:
        return missing
    flair = dataset.info.channels.index("flair")
    for group, name in enumerate(dataset.groups):
        volume = dataset.image[slice(*np.searchsorted(dataset.group, [group, group + 1]))]
        same = [
            channel
            for c, channel in enumerate(dataset.info.channels)
            if c != flair and _difference(volume[..., c], volume[..., flair]) < SAME_SEQUENCE
        ]
        if same:
            missing[name] = tuple(same)
    return missing


def t1_weighted(dataset: ArrayDataset, missing: Mapping[str, tuple[str, ...]]) -> ArrayDataset:
    """The patients who have a T1-weighted sequence, and of those nothing else.

    Args:
        dataset: LGG with its three channels.
        missing: what `missing_sequences` found in it.

    Returns:
        image [N H W 2]: pre- and post-contrast, black where a patient has but the other.

    Raises:
        DataError: nobody has one.
    """
    picked = SEQUENCES["t1"]
    names = [INFO.channels[c] for c in picked]
    keep = [i for i, g in enumerate(dataset.groups) if not set(names) <= set(missing.get(g, ()))]
    if not keep:
        raise DataError("LGG sequences 't1': all patients have FLAIR alone; use 'flair' or 'all'")
    rows = np.isin(dataset.group, keep)
    image = dataset.image[rows][..., picked]
    group = np.searchsorted(keep, dataset.group[rows]).astype(np.int32)
    for new, old in enumerate(keep):
        for name in missing.get(dataset.groups[old], ()):
            image[group == new, ..., names.index(name)] = 0
    return dataclasses.replace(
        dataset,
        info=dataclasses.replace(dataset.info, channels=tuple(names)),
        image=image,
        mask=dataset.mask[rows],
        group=group,
        position=dataset.position[rows],
        groups=tuple(dataset.groups[i] for i in keep),
    )


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of two uint8 arrays, without a wider copy of either."""
    return float((np.maximum(a, b) - np.minimum(a, b)).mean())


def _patient_folders(directory: str | os.PathLike) -> list[pathlib.Path]:
    root = pathlib.Path(directory).expanduser()
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder; pass the unpacked LGG download by --config.data.dir or --data_dir"
        )
    for inner in ("kaggle_3m", "lgg-mri-segmentation/kaggle_3m", "lgg_mri_segmentation/kaggle_3m"):
        if (root / inner).is_dir():
            root = root / inner
            break
    # An empty TCGA folder is a problem to report, any other is none of ours.
    inside = sorted(p for p in root.iterdir() if p.is_dir())
    folders = [p for p in inside if p.name.startswith("TCGA_") or _holds_slices(p)]
    if not folders and _holds_slices(root):
        folders = [root.resolve()]  # one patient's own folder; '.' must still yield its name
    if not folders:
        raise DataError(
            f"{root}: holds no patients' folders and no slices; "
            "pass the folder that contains kaggle_3m, by --config.data.dir or --data_dir"
        )
    return folders


def _holds_slices(folder: pathlib.Path) -> bool:
    names = (path.name for path in folder.iterdir())
    return any(_SLICE.fullmatch(name) and not name.startswith(".") for name in names)


def _common_size(slices: list[Slice]) -> tuple[int, int]:
    """The most common (H, W) of the images by their headers; of the masks if none can be read."""
    for kind in ("image", "mask"):
        sizes = collections.Counter()
        for item in slices:
            with contextlib.suppress(DataError):  # reported when it is decoded
                sizes[images.read_size(getattr(item, kind))] += 1
        if sizes:
            return sizes.most_common(1)[0][0]
    return 0, 0


def _decode(
    item: Slice, size: tuple[int, int], picked: tuple[int, ...], image: np.ndarray, mask: np.ndarray
) -> list[verify.Problem]:
    """Decodes a pair into image [H W C] and mask [H W 1], or says all that is wrong with it."""
    problems = []
    try:
        pixels = images.read_image(item.image)
        problems += verify.image_problems(
            item.image, pixels, size=size, channels=len(INFO.channels)
        )
    except DataError as error:
        problems.append(verify.problem_of(item.image, error))
    try:
        label = images.read_image(item.mask)
        problems += verify.mask_problems(item.mask, label, size=size)
    except DataError as error:
        problems.append(verify.problem_of(item.mask, error))
    if not problems:
        image[...] = pixels if len(picked) == pixels.shape[2] else pixels[..., picked]
        mask[..., 0] = label.reshape(size) > 127
    return problems


def _gaps(dataset: ArrayDataset) -> Mapping[str, tuple[int, ...]]:
    """Slice numbers missing between a patient's first and last slice."""
    gaps = {}
    for group, name in enumerate(dataset.groups):
        numbers = dataset.position[slice(*np.searchsorted(dataset.group, [group, group + 1]))]
        absent = set(range(numbers[0], numbers[-1] + 1)) - set(numbers.tolist())
        if absent:
            gaps[name] = tuple(sorted(absent))
    return gaps
