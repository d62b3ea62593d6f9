"""What the pipeline found out about a scan: the report, the viewer and the files on disk say what stands here."""

import dataclasses
import functools
from typing import Any

import numpy as np

from brainjax import __version__
from brainjax.datasets.regions import REGIONS, enhancing_label, to_regions
from brainjax.infer.localize import Lesion
from brainjax.infer.scan import Scan
from brainjax.io import Volume

STATUSES = ("done", "given", "skipped", "failed")


@dataclasses.dataclass(frozen=True)
class Stage:
    """How one stage went.

    Attributes:
        name: 'strip', 'classify', 'segment', 'localize', ...
        status: one of `STATUSES`.
        model: the released model's name or the checkpoint's path; '' where there was none.
        seconds: that it took.
        note: what it did instead, or why it did nothing; '' where there is nothing to say.
        facts: of the model (see `brainjax.infer.release`).
    """

    name: str
    status: str
    model: str = ""
    seconds: float = 0.0
    note: str = ""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Analysis:
    """The answer to one scan. All volumes are on the grid of the scan's first and have its header.

    Attributes:
        scan: as it was read.
        brain: uint8, 1 where brain.
        tumour: uint8; labels of BraTS (1 necrosis and non-enhancing core, 2 oedema, 4 enhancing), or where
            `regional` is off 1 for tumour.
        regional: whether the parts of the tumour are told apart.
        probability: float32 in 0 to 1, of whole tumour.
        uncertainty: float32 in 0 to 1, how far the predictions of the scan and its mirror images differ.
        classes: how ('slices': the vote of slices, 'volume': the 3D network) -> class -> probability.
        answers: how -> the likeliest class.
        rules: how -> the class by the rule that no head is healthy below 95 %, where there is that rule (`infer.vote`).
        lesions: largest first.
        pictures: title -> [H W 3] uint8.
        warnings: what the reader must know before believing any of it.
        stages: in the order they ran.
        seconds: in all.
    """

    scan: Scan
    brain: Volume | None = None
    tumour: Volume | None = None
    regional: bool = True
    probability: Volume | None = None
    uncertainty: Volume | None = None
    classes: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    answers: dict[str, str] = dataclasses.field(default_factory=dict)
    rules: dict[str, str] = dataclasses.field(default_factory=dict)
    lesions: tuple[Lesion, ...] = ()
    pictures: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()
    seconds: float = 0.0

    @functools.cached_property
    def regions(self) -> dict[str, np.ndarray]:
        """'WT', and 'TC' and 'ET' where parts are told apart -> [X Y Z] bool; empty without a tumour mask."""
        if self.tumour is None:
            return {}
        labels = self.tumour.data
        if not self.regional:
            return {REGIONS[0]: labels > 0}
        masks = to_regions(labels, enhancing_label(labels))
        return {name: masks[..., k] for k, name in enumerate(REGIONS)}

    def stage(self, name: str) -> Stage | None:
        """The stage of that name, if it was reached."""
        return next((s for s in self.stages if s.name == name), None)

    def volume_ml(self, mask: np.ndarray) -> float:
        """Size of a mask [X Y Z] on the scan's grid."""
        return float(np.count_nonzero(mask)) * self.scan.grid.voxel_ml

    def facts(self) -> dict[str, Any]:
        """Everything but voxels and pictures, ready for JSON; millilitres and millimetres, world axes RAS+."""
        grid = self.scan.grid
        return {
            "scan": {
                "name": self.scan.name,
                "contrasts": list(self.scan.volumes),
                "shape": list(grid.shape),
                "spacing_mm": [round(float(s), 4) for s in grid.spacing],
                "orientation": grid.orientation,
                "notes": list(self.scan.notes),
            },
            "brain_ml": None if self.brain is None else round(self.volume_ml(self.brain.data), 3),
            "regions_ml": {
                name: round(self.volume_ml(mask), 3) for name, mask in self.regions.items()
            },
            "classes": {
                how: {name: round(float(p), 6) for name, p in of.items()}
                for how, of in self.classes.items()
            },
            "answers": dict(self.answers),
            "rules": dict(self.rules),
            "lesions": [lesion.facts() for lesion in self.lesions],
            "warnings": list(self.warnings),
            "stages": [
                {k: v for k, v in dataclasses.asdict(stage).items() if k != "facts"}
                for stage in self.stages
            ],
            "seconds": round(self.seconds, 2),
            "brainjax": __version__,
            "use": "research use only",
        }
