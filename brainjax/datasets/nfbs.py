"""NFBS: 125 T1 heads with brain masks corrected by hand, for skull stripping.

The folder as distributed: `NFBS_Dataset/<id>/sub-<id>_ses-NFB3_T1w.nii.gz` and `..._T1w_brainmask.nii.gz`; the third
file, the stripped brain, follows from the two and is not read.
"""

import dataclasses
import re
from typing import ClassVar

import numpy as np

from brainjax.datasets import verify, volumes
from brainjax.datasets.base import DatasetInfo
from brainjax.files import files_below
from brainjax.io.files import stem
from brainjax.types import DataError

_FILE = re.compile(r"sub-(?P<id>\w+?)_(ses-\w+?_)?T1w(?P<mask>_brainmask)?")


@dataclasses.dataclass(frozen=True)
class NFBS(volumes.VolumeFolder):
    """The Neurofeedback Skull-stripped repository: 256 x 256 x 192 voxels of 1 mm, brain masks."""

    INFO: ClassVar[DatasetInfo] = DatasetInfo(
        name="nfbs",
        channels=("t1",),
        classes=("brain",),
        licence="CC BY-NC-SA 3.0",
        citation=(
            "B. Puccio et al. The Preprocessed Connectomes Project repository of manually corrected skull-stripped "
            "T1-weighted anatomical MRI data. GigaScience 5, 45, 2016."
        ),
    )

    def find(self) -> tuple[list[volumes.Case], list[verify.Problem]]:
        """See `VolumeFolder.find`."""
        root = volumes.existing(self.dir)
        heads: dict[str, dict[str, list[str]]] = {}
        for path in files_below(root):
            match = _FILE.fullmatch(stem(path))
            if match:
                files = heads.setdefault(match["id"], {"image": [], "mask": []})
                files["mask" if match["mask"] else "image"].append(str(path))
        if not heads:
            raise DataError(
                f"{root}: holds no file such as sub-A00028185_ses-NFB3_T1w.nii.gz; pass the unpacked NFBS_Dataset by "
                "--config.data.dir or --data_dir"
            )
        cases, problems = [], []
        for name, files in sorted(heads.items()):
            found = [
                verify.Problem(paths[1], f"is a second {kind} of {name}", "remove one of the two")
                for kind, paths in files.items()
                if len(paths) > 1
            ]
            image, mask = (next(iter(files[kind]), "") for kind in ("image", "mask"))
            if not image:
                found.append(
                    verify.Problem(mask, "is a mask without an image", "add it, or remove the mask")
                )
            if not mask and self.labelled:
                fix = f"add sub-{name}_ses-NFB3_T1w_brainmask.nii.gz"
                found.append(verify.Problem(image, "has no brain mask", fix))
            problems += found
            if not found:
                cases.append(volumes.Case(name, name, (image,), mask))
        return cases, problems

    def regions(self, label: np.ndarray) -> np.ndarray:
        """See `VolumeFolder.regions`."""
        label = volumes.whole_labels(label, (0, 1), "threshold it, to 0 and 1")
        return (label > 0)[..., None]
