"""BraTS: gliomas in T1, contrast-enhanced T1, T2 and FLAIR, skull-stripped and on one 1 mm grid.

One folder a case, wherever it lies below `dir` (`HGG/`, `LGG/`, none); its files are known by a word at either end of
their names:

    2018-2021  <case>_t1.nii.gz  <case>_t1ce.nii.gz  <case>_t2.nii.gz   <case>_flair.nii.gz  <case>_seg.nii.gz
    2023       <case>-t1n.nii.gz <case>-t1c.nii.gz   <case>-t2w.nii.gz  <case>-t2f.nii.gz    <case>-seg.nii.gz
    2013       T1c_subtrMeanDivStd.nii.gz  Flair_subtrMeanDivStd.nii.gz  OTMultiClass.nii.gz

2013 is the layout of DeepMedic's two example patients.
"""

import collections
import dataclasses
import pathlib
import re
from typing import ClassVar

import numpy as np

from brainjax.datasets import verify, volumes
from brainjax.datasets.base import DatasetInfo
from brainjax.datasets.regions import REGIONS, to_regions
from brainjax.files import files_below
from brainjax.io.files import ending, stem
from brainjax.lookup import lookup
from brainjax.types import ConfigError, DataError

WORDS = {
    "t1": ("t1", "t1n"),
    "t1ce": ("t1ce", "t1c", "t1gd"),
    "t2": ("t2", "t2w"),
    "flair": ("flair", "t2f"),
    "truth": ("seg", "otmulticlass"),
}
_KIND = {word: kind for kind, words in WORDS.items() for word in words}
# A patient may have been scanned more than once: BraTS-GLI-00012-001, Brats18_TCIA01_131_1.
_SESSION = (re.compile(r"(BraTS-\w+-\d+)-\d{3}"), re.compile(r"(Brat[sS]1\d_\w+)_\d"))

INFO = DatasetInfo(
    name="brats",
    channels=("t1", "t1ce", "t2", "flair"),
    classes=REGIONS,
    licence="that of the challenge's year; see its terms of use",
    citation=(
        "B. H. Menze et al. The Multimodal Brain Tumor Image Segmentation Benchmark (BRATS). IEEE TMI 34(10), 2015; "
        "U. Baid et al. The RSNA-ASNR-MICCAI BraTS 2021 Benchmark. arXiv:2107.02314, 2021."
    ),
)


@dataclasses.dataclass(frozen=True)
class Brats(volumes.VolumeFolder):
    """BraTS 2018 to 2021 and 2023 as masks of whole tumour, tumour core and enhancing tumour.

    Of the labels, 1 is necrosis (with the non-enhancing core), 2 oedema, and 4, or 3 since 2023, enhancing.

    Attributes:
        modalities: the channels, in this order; a case must have the files of all.
    """

    modalities: tuple[str, ...] = INFO.channels

    INFO: ClassVar[DatasetInfo] = INFO
    LABELS: ClassVar[tuple[int, ...]] = (0, 1, 2, 3, 4)
    ENHANCING: ClassVar[tuple[int, ...]] = (3, 4)

    @property
    def info(self) -> DatasetInfo:
        """With the modalities that were chosen."""
        return dataclasses.replace(self.INFO, channels=tuple(self.modalities))

    def find(self) -> tuple[list[volumes.Case], list[verify.Problem]]:
        """See `VolumeFolder.find`; what is missing from a case is named as a file that would do.

        Raises:
            ConfigError: a modality that does not exist, or one twice.
            DataError: no such folder, or no case in it.
        """
        for name in self.modalities:
            lookup(name, dict.fromkeys(INFO.channels), "modality")
        if not self.modalities or len(set(self.modalities)) < len(self.modalities):
            raise ConfigError(
                f"--config.data.modalities={tuple(self.modalities)}: name one or more, each once"
            )
        root = volumes.existing(self.dir)
        folders: dict[pathlib.Path, dict[str, list[pathlib.Path]]] = {}
        for path in files_below(root):
            kind = _kind(stem(path))
            if kind:
                files = folders.setdefault(path.parent, collections.defaultdict(list))
                files[kind].append(path)
        if not folders:
            raise DataError(
                f"{root}: holds no case, no file such as <case>_flair.nii.gz or <case>-t2f.nii.gz; pass the unpacked "
                "download by --config.data.dir or --data_dir"
            )
        cases, problems, names = [], [], {}
        for folder, files in folders.items():
            found = self._case_problems(folder, files)
            name = folder.resolve().name
            if name in names:
                what = f"has the name of the case in {names[name]}"
                found.append(verify.Problem(str(folder), what, "keep one of the two"))
            names.setdefault(name, folder)
            problems += found
            if not found:
                images = tuple(str(files[m][0]) for m in self.modalities)
                truth = str(files["truth"][0]) if files.get("truth") else ""
                cases.append(volumes.Case(name, _patient(name), images, truth))
        return cases, problems

    def _case_problems(
        self, folder: pathlib.Path, files: dict[str, list[pathlib.Path]]
    ) -> list[verify.Problem]:
        problems = []
        for kind in (*self.modalities, *(("truth",) if self.labelled else ())):
            if kind not in files:
                path = folder / _expected(folder.name, kind, files)
                what = "has no truth" if kind == "truth" else f"the {kind} modality is missing"
                fix = "add this file, or remove the case"
                if kind != "truth" and len(self.modalities) > 1:
                    fix += ", or leave the modality out of --config.data.modalities"
                problems.append(verify.Problem(str(path), what, fix))
        for kind, paths in files.items():
            if len(paths) > 1 and kind in (*self.modalities, "truth"):
                what = f"is a second {kind} beside {paths[0].name}"
                problems.append(verify.Problem(str(paths[1]), what, "remove one of the two"))
        return problems

    def regions(self, label: np.ndarray) -> np.ndarray:
        """[X Y Z] -> whole tumour, tumour core, enhancing tumour [X Y Z 3] bool.

        Raises:
            DataError: a value that is no label, or both 3 and 4 where one is to mean enhancing.
        """
        label = volumes.whole_labels(label, self.LABELS, "export the labels again")
        found = [value for value in self.ENHANCING if (label == value).any()]
        if len(found) > 1:
            raise DataError(
                "holds both 3 and 4, either of which may mean enhancing; use --config.data.name=Brats2013 if 3 is "
                "non-enhancing core, or relabel a resection cavity (4 since 2024) to 0"
            )
        return to_regions(label, found[0] if found else self.ENHANCING[-1])


@dataclasses.dataclass(frozen=True)
class Brats2013(Brats):
    """BRATS 2013, whose label 3 is the non-enhancing core; by default what its two freely shared patients have.

    Attributes:
        modalities: as of `Brats`.
    """

    modalities: tuple[str, ...] = ("flair", "t1ce")

    INFO: ClassVar[DatasetInfo] = dataclasses.replace(
        INFO,
        name="brats2013",
        licence="CC BY-NC-SA 3.0",
        citation=(
            "B. H. Menze et al. The Multimodal Brain Tumor Image Segmentation Benchmark (BRATS). IEEE TMI 34(10), "
            "2015; as shared with DeepMedic by K. Kamnitsas."
        ),
    )
    ENHANCING: ClassVar[tuple[int, ...]] = (4,)


def _kind(name: str) -> str:
    """What a file is, by the last or the first word of its name; '' if nothing that is known."""
    words = re.split(r"[-_.]", name.lower())
    return _KIND.get(words[-1]) or _KIND.get(words[0], "")


def _patient(case: str) -> str:
    matches = (pattern.fullmatch(case) for pattern in _SESSION)
    return next((match[1] for match in matches if match), case)


def _expected(case: str, kind: str, files: dict[str, list[pathlib.Path]]) -> str:
    """The name that a missing file would have, from those that are there."""
    known = [p.name for paths in files.values() for p in paths]
    last = ending(known[0]) or ".nii.gz"
    if any(name.lower().startswith("flair_") or name.startswith("T1c_") for name in known):
        return {"truth": f"OTMultiClass{last}"}.get(
            kind, f"{kind.capitalize()}_subtrMeanDivStd{last}"
        )
    newer = any(stem(name).endswith(("-t1n", "-t1c", "-t2w", "-t2f")) for name in known)
    if newer:
        return f"{case}-{ {'t1': 't1n', 't1ce': 't1c', 't2': 't2w', 'flair': 't2f'}.get(kind, 'seg') }{last}"
    return f"{case}_{'seg' if kind == 'truth' else kind}{last}"
