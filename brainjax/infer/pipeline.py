"""One scan in, one answer out: skull stripping, classification, tumour segmentation, localisation, linked.

    pipeline = Pipeline.load()
    analysis = pipeline("scan.nii.gz")  # or a folder of contrasts, or a DICOM series
    print(analysis.facts())

Every stage says which model it used, how long it took, and what it did instead where it could not do its work; one
that fails stops none of the others.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from brainjax.infer import contrast, heat, localize, picture, quality, released, tumour, unlike
from brainjax.infer.analysis import Analysis, Stage
from brainjax.infer.classifier import Classifier
from brainjax.infer.scan import UNKNOWN, MissingContrast, Scan, read_scan
from brainjax.infer.scan_classifier import ScanClassifier
from brainjax.infer.segmenter import Segmenter
from brainjax.infer.strip import Stripper
from brainjax.infer.vote import HEALTHY, healthy_class, vote
from brainjax.io import Volume, read_volume
from brainjax.preprocess.grid import resample
from brainjax.types import BrainjaxError, DataError

MODELS = {
    "strip": "strip_unet",
    "slices": "tumor4_lite",
    "volume": "",
    "segment": "lgg_unet",
    "segment_t1": "lgg_t1_unet",
    "picture": "lgg_unet",
}
STAGES = ("strip", "slices", "volume", "segment", "localize")
_BARE = 0.9  # Dice of all that is not black with the stripper's brain: such a scan has been stripped before
_TELLING = ("t1ce", "t1", "flair", "t2")  # contrasts by what they tell of a tumour's kind
_PLAIN = ("t1", "t1ce", "flair", "t2")  # by how well brain and skull are told apart
_NO_FLAIR = "there is no FLAIR, in which most of a glioma shows; a tumour outlined in T1 alone is a rough one"
_NO_SKULL = "the scan has no skull, and the classifier learned from whole heads: its probabilities are less to be relied on"
_SURE = 0.5  # probability of no tumour, and
_MUCH = 1.0  # ml of tumour, from which two stages contradict one another

Progress = Callable[[str, float], None]


class Pipeline:
    """The stages with their models, opened once for any number of scans.

    Attributes:
        stripper: finds the brain; None to take the scan as stripped.
        slices: the classifier whose votes over slices make one answer; None to do without.
        volume: the classifier of whole volumes; None to do without.
        segmenter: finds the tumour; None to do without.
        second: finds it in scans that `segmenter` cannot do with, those without FLAIR; None to leave them without.
        painter: finds the tumour in a single picture whose colours are three sequences; None to do without.
        names: of `MODELS`, what each was loaded from.
    """

    def __init__(
        self,
        stripper: Stripper | None = None,
        slices: Classifier | None = None,
        volume: ScanClassifier | None = None,
        segmenter: Segmenter | None = None,
        painter: Segmenter | None = None,
        second: Segmenter | None = None,
        names: Mapping[str, str] | None = None,
    ):
        """Takes models that are open; `load` opens them."""
        self.stripper, self.slices, self.volume = stripper, slices, volume
        self.segmenter, self.second, self.painter = segmenter, second, painter
        self.names = dict(names or {})
        for model in filter(None, (segmenter, second)):
            # The stage mirrors the scan itself, to see how far the answers differ.
            model.predictor = model.predictor.with_options(tta="none")

    @classmethod
    def load(cls, **models: str) -> "Pipeline":
        """Opens the models.

        Args:
            models: 'strip', 'slices', 'volume', 'segment', 'segment_t1' or 'picture' -> a released model's name or folder, or ''
                to leave the stage out; `MODELS` where nothing is said, and where the 'segment' is named no 'segment_t1'.

        Raises:
            CheckpointError: a model is missing, damaged, or made for something else.
            TypeError: another stage.
        """
        unknown = set(models) - set(MODELS)
        if unknown:
            raise TypeError(f"no such stage: {', '.join(sorted(unknown))}; use {', '.join(MODELS)}")
        # Whoever names a segmenter, or wants none, does not want another in its place.
        names = {**MODELS, **({"segment_t1": ""} if "segment" in models else {}), **models}
        kinds = {
            "strip": Stripper,
            "slices": Classifier,
            "volume": ScanClassifier,
            "segment": Segmenter,
            "picture": Segmenter,
            "segment_t1": Segmenter,
        }
        opened = [
            kind.load(released.find(names[stage])) if names[stage] else None
            for stage, kind in kinds.items()
        ]
        return cls(*opened, names=names)

    def __call__(
        self,
        scan: Scan | Volume | str | pathlib.Path | Mapping[str, Any],
        *,
        brain: Volume | str | pathlib.Path | None = None,
        progress: Progress | None = None,
    ) -> Analysis:
        """Analyses a scan.

        Args:
            scan: a `Scan`; a path (see `read_scan`); contrast -> path; or a volume of unknown contrast.
            brain: a brain mask on any grid in the same world, instead of the stripper's.
            progress: called with one of `STAGES` and the share of it that is done, 0.0 to 1.0.

        Raises:
            DataError: the scan or the mask cannot be read, or the scan's voxel size is no head's.
        """
        run = _Run(_as_scan(scan), progress or (lambda *_: None))
        quality.require_head(run.scan)
        given = None if brain is None else _on_grid(brain, run.scan)
        run.warnings += quality.of_scan(run.scan)
        self._strip(run, given)
        run.name_contrast()
        self._classify(run)
        self._segment(run)
        run.localize()
        return run.analysis()

    def picture(self, image: np.ndarray | str | pathlib.Path, *, name: str = "picture") -> Analysis:
        """Analyses a single picture: see `brainjax.infer.picture.analyze`."""
        names = self.names.get("slices", ""), self.names.get("picture", "")
        return picture.analyze(image, name, self.slices, self.painter, names)

    def _strip(self, run: "_Run", given: np.ndarray | None) -> None:
        def work() -> tuple[str, str]:
            if given is not None:
                run.brain = given
                return "given", "the mask that was given"
            if self.stripper is None:
                run.brain, run.bare = _not_black(run.scan), True
                return (
                    "skipped",
                    "the scan was said to be stripped: all that is not black was taken",
                )
            name, volume = run.scan.prefer(*_PLAIN)
            found = self.stripper.find(volume).mask.data > 0
            if not found.any():
                raise DataError("no brain was found; is it a head, and its orientation right?")
            bare = _not_black(run.scan)
            if 2 * (bare & found).sum() > _BARE * (bare.sum() + found.sum()):
                run.brain, run.bare = bare, True
                return "done", "stripped before: all that is not black was taken"
            run.brain = found
            return "done", f"of the {name}" if len(run.scan.volumes) > 1 else ""

        run.stage("strip", self.names.get("strip", ""), self.stripper, work)
        if run.brain is not None:
            run.warnings += quality.of_brain(run.scan, run.brain)

    def _classify(self, run: "_Run") -> None:
        name, volume = run.scan.prefer(*_TELLING)
        note = f"of the {name}" if len(run.scan.volumes) > 1 else ""

        def slices() -> tuple[str, str]:
            if self.slices is None:
                return "skipped", ""
            found = vote(self.slices, volume, run.mask)
            run.found["classes"]["slices"] = dict(found.probabilities)
            run.found["rules"]["slices"] = found.answer
            run.found["answers"]["slices"] = likeliest = max(
                found.probabilities, key=found.probabilities.get
            )
            run.found["pictures"].update(found.pictures)
            run.warnings += [*found.notes, *unlike.unsure(found.probabilities)]
            if run.bare:
                run.warnings.append(_NO_SKULL)
            if found.answer == likeliest:
                return "done", note
            # The reference's rule calls nearly everybody ill; it is told, and not taken for the answer.
            rule = f"by the rule that none is healthy below {HEALTHY:.0%}: {found.answer}"
            return "done", "; ".join(filter(None, (note, rule)))

        def whole() -> tuple[str, str]:
            if self.volume is None:
                return "skipped", ""
            found = self.volume(volume)
            run.found["classes"]["volume"] = found
            run.found["answers"]["volume"] = likeliest = max(found, key=found.get)
            title = f"whole volume: {likeliest} {found[likeliest]:.2f}"
            run.found["pictures"][title] = heat.planes(volume, self.volume.heat(volume, likeliest))
            return "done", note

        run.stage("slices", self.names.get("slices", ""), self.slices, slices)
        run.stage("volume", self.names.get("volume", ""), self.volume, whole)

    def _segment(self, run: "_Run") -> None:
        model, role = self.segmenter, "segment"
        instead = self.second is not None and tumour.can_do(self.second, run.scan)
        if model is not None and instead and not tumour.can_do(model, run.scan):
            model, role = self.second, "segment_t1"

        def work() -> tuple[str, str]:
            if model is None:
                return "skipped", ""
            found = tumour.segment(
                model, run.scan, run.brain, progress=lambda x: run.tell("segment", x)
            )
            run.found.update(
                tumour=found.labels,
                regional=found.regional,
                probability=found.probability,
                uncertainty=found.uncertainty,
            )
            if role == "segment_t1":
                run.warnings.append(_NO_FLAIR)
            if not found.missing:
                return "done", ""
            missing = ", ".join(found.missing)
            if model.rank == 2 and "flair" in run.scan.volumes:
                return "done", f"FLAIR stood in for {missing}"
            return "done", f"without {missing}: parts that show there alone are missed"

        run.stage("segment", self.names.get(role, ""), model, work)


class _Run:
    """One scan on its way through the stages."""

    def __init__(self, scan: Scan, tell: Progress):
        self.begun, self.scan, self.tell = time.perf_counter(), scan, tell
        self.brain: np.ndarray | None = None
        self.bare = False  # whether the scan was stripped before
        self.warnings: list[str] = []
        self.stages: list[Stage] = []
        self.found: dict[str, Any] = {"classes": {}, "answers": {}, "rules": {}, "pictures": {}}

    @property
    def mask(self) -> Volume | None:
        """The brain with the scan's header."""
        return (
            None if self.brain is None else self.scan.first.with_data(self.brain.astype(np.uint8))
        )

    def stage(
        self, name: str, model: str, opened: Any, work: Callable[[], tuple[str, str]]
    ) -> None:
        """Does one stage and notes how it went."""
        self.tell(name, 0.0)
        begun = time.perf_counter()
        try:
            status, note = work()
        except MissingContrast as error:
            status, note = "skipped", str(error)
        except BrainjaxError as error:
            status, note = "failed", str(error)
            self.warnings.append(f"{name} failed: {error}")
        facts = dict(opened.facts) if opened is not None and status == "done" else {}
        used = model if status == "done" else ""
        self.stages.append(Stage(name, status, used, time.perf_counter() - begun, note, facts))
        self.tell(name, 1.0)

    def name_contrast(self) -> None:
        """Gives a volume of unknown contrast the one that it looks like."""
        if UNKNOWN not in self.scan.volumes:
            return
        volume = self.scan.volumes[UNKNOWN]
        found = contrast.guess(
            volume, np.ones(self.scan.grid.shape, bool) if self.brain is None else self.brain
        )
        if found in self.scan.volumes:
            return  # one that is named so goes before a guess
        named = {found if c == UNKNOWN else c: v for c, v in self.scan.volumes.items()}
        self.scan = dataclasses.replace(self.scan, volumes=named)
        other = " or FLAIR" if found == "t1" else ""
        self.warnings.append(
            f"the contrast is not known; it looks like {found.upper()}{other} and was taken for {found.upper()}: "
            f"say it in the file's name, as in scan_flair.nii.gz"
        )

    def localize(self) -> None:
        """Measures what was segmented."""

        def work() -> tuple[str, str]:
            partial = Analysis(
                self.scan,
                tumour=self.found.get("tumour"),
                regional=self.found.get("regional", True),
            )
            if partial.tumour is None:
                return "skipped", "nothing was segmented"
            self.found["lesions"] = localize.measure(partial.regions, self.scan.grid.affine)
            return "done", ""

        self.stage("localize", "", None, work)

    def analysis(self) -> Analysis:
        """All that was found."""
        made = Analysis(self.scan, brain=self.mask, **self.found)
        self.warnings += _contradictions(made)
        return dataclasses.replace(
            made,
            warnings=tuple(dict.fromkeys(self.warnings)),
            stages=tuple(self.stages),
            seconds=time.perf_counter() - self.begun,
        )


def _contradictions(analysis: Analysis) -> list[str]:
    """Where one stage says tumour and another says none."""
    found = []
    volume = sum(lesion.volume_ml for lesion in analysis.lesions)
    for how, classes in analysis.classes.items():
        name = healthy_class(list(classes))
        if name is None:
            continue
        healthy = classes[name]
        if analysis.tumour is not None and volume >= _MUCH and healthy > _SURE:
            found.append(
                f"the stages disagree: {volume:.1f} ml of tumour were segmented, and by {how} there is none ({healthy:.0%})"
            )
        if analysis.tumour is not None and not analysis.lesions and healthy < 1 - _SURE:
            found.append(
                f"the stages disagree: no tumour was segmented, and by {how} there is one ({1 - healthy:.0%})"
            )
    return found


def _as_scan(scan: Scan | Volume | str | pathlib.Path | Mapping[str, Any]) -> Scan:
    if isinstance(scan, Scan):
        return scan
    if isinstance(scan, Volume):
        return Scan("scan", {UNKNOWN: scan}, scan.notes)
    if isinstance(scan, Mapping):
        return read_scan(contrasts=scan)
    return read_scan(scan)


def _on_grid(brain: Volume | str | pathlib.Path, scan: Scan) -> np.ndarray:
    """A mask that was given, [X Y Z] bool on the scan's grid.

    Raises:
        DataError: it cannot be read, or is empty there.
    """
    volume = brain if isinstance(brain, Volume) else read_volume(brain)
    if volume.data.ndim != 3:
        raise DataError(f"the brain mask has {volume.data.ndim} axes; give one of three")
    mask = volume.with_data((volume.data > 0.5).astype(np.uint8))
    if not volume.grid.matches(scan.grid):
        mask = resample(mask, scan.grid, order=0)
    if not mask.data.any():
        raise DataError("the brain mask is empty on the grid of the scan; is it of the same head?")
    return mask.data > 0


def _not_black(scan: Scan) -> np.ndarray:
    """[X Y Z] bool: what is not the value of the volume's corner, in any contrast, and the holes in it."""
    inside = np.zeros(scan.grid.shape, bool)
    for volume in scan.volumes.values():
        inside |= volume.data != volume.data[0, 0, 0]
    return ndimage.binary_fill_holes(inside)
