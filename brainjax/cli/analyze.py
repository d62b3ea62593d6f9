"""`brainjax analyze`: scans in; masks, measurements and a report out, one folder a scan."""

import argparse
import json
import pathlib
import sys
import time
from typing import Any

from brainjax import memory
from brainjax.cli import naming
from brainjax.cli.failures import said
from brainjax.cli.resume import remaining
from brainjax.types import ConfigError, DataError

_CONTRASTS = ("t1", "t1ce", "t2", "flair")
_HELP = """\
Finds the brain, says which tumour there may be, outlines and measures it, and writes a report you can open anywhere.

examples:
  brainjax analyze head.nii.gz --output results
  brainjax analyze BraTS-GLI-00001-000/ --output results       a folder with _t1, _t1ce, _t2, _flair (or -t1n ...)
  brainjax analyze --t1ce a.nii.gz --flair b.nii.gz --output results
  brainjax analyze patient_*.nii.gz --output results           files of one folder belong together by their names, too
  brainjax analyze cohort/ --output results                    every scan in a tree; run it again to go on

For every scan, in results/NAME/, on the grid of its first file:
  report.html          all there is to see, in one file, offline
  brain_mask.nii.gz, tumour.nii.gz, probability.nii.gz, uncertainty.nii.gz
  measurements.json, measurements.csv, overlay.png
  segmentation.dcm     with --dicom-seg, of a DICOM series: the masks for archives and viewers of DICOM
and results/result.json over all. Pictures (.jpg, .png, .tif) get classes and a heat map,
and one whose colours are three sequences an outline too.
A scan that cannot be done gets one line on stderr; the others are done, and the exit code is 1.
Research use only."""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Declares the command line."""
    parser = subparsers.add_parser(
        "analyze",
        help="brain, tumour, measurements and report of a scan",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", nargs="*", metavar="SCAN", help="a file, or a folder of one scan or of many"
    )
    parser.add_argument("--output", "-o", required=True, metavar="DIR", help="where the results go")
    for contrast in _CONTRASTS:
        parser.add_argument(
            f"--{contrast}", metavar="FILE", help=f"the {contrast} of one scan, instead of SCAN"
        )
    parser.add_argument("--mask", metavar="FILE", help="a brain mask to use, of one scan")
    parser.add_argument("--no-strip", action="store_true", help="take the scan as stripped already")
    parser.add_argument(
        "--skip",
        action="append",
        default=[],
        choices=("slices", "volume", "segment"),
        help="leave a stage out; may be given again",
    )
    for stage, what in (
        ("strip", "skull stripping"),
        ("slices", "classification by slices"),
        ("volume", "classification of the volume"),
        ("segment", "tumour segmentation of volumes, of whatever contrasts there are"),
        ("segment-t1", "tumour segmentation of volumes without FLAIR"),
        ("picture", "tumour segmentation of single pictures"),
    ):
        parser.add_argument(
            f"--{stage}-model", metavar="NAME", help=f"released model or folder for {what}"
        )
    parser.add_argument(
        "--dicom-seg",
        action="store_true",
        help="of a DICOM series, write the masks as a DICOM segmentation too (extra dicom)",
    )
    parser.add_argument("--overwrite", action="store_true", help="do finished scans again")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Analyses every scan; returns the exit code."""
    from tqdm import tqdm

    from brainjax.files import write_text
    from brainjax.infer.pipeline import Pipeline
    from brainjax.io import dicom_seg
    from brainjax.report import analysis_files

    begun = time.perf_counter()
    output = pathlib.Path(arguments.output)
    jobs, failed = _jobs(arguments)
    _refuse_folders_of_scans(jobs, output)
    output.mkdir(parents=True, exist_ok=True)
    options = _options(arguments)

    def done(job: Any) -> bool:
        asked = options | {analysis_files.SEGMENTATION: arguments.dicom_seg and job.first.is_dir()}
        return not arguments.overwrite and analysis_files.finished(
            output / job.name, job.contrasts, asked
        )

    todo, refused = remaining(jobs, done)
    failed += [f"{job.name}: {error}" for job, error in refused]
    others = {job.name for job, _ in refused}
    jobs = [job for job in jobs if job.name not in others]
    if arguments.dicom_seg:
        dicom_seg.require()
    if todo:
        pipeline = Pipeline.load(**_models(arguments, todo))
    bar = tqdm(todo, unit="scan", disable=len(todo) < 2, file=sys.stderr)
    for job in bar:
        try:
            line = _analyze(pipeline, job, output / job.name, arguments, options)
        except Exception as error:  # whatever is wrong with one scan, the others are done
            failed.append(said(error, job.first))
            tqdm.write(f"error: {failed[-1]}", file=sys.stderr)
        else:
            tqdm.write(line)
        memory.give_back()
    result = _summary(jobs, output, failed, time.perf_counter() - begun)
    write_text(output / "result.json", json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))
    return 1 if failed else 0


def _models(arguments: argparse.Namespace, jobs: list[Any]) -> dict[str, str]:
    """What `Pipeline.load` is to open for these scans."""
    from brainjax.infer.scan import PICTURE

    models = _named_models(arguments)
    models |= dict.fromkeys(arguments.skip, "")
    if "segment" in arguments.skip:
        models["segment_t1"] = ""
    if arguments.no_strip or arguments.mask:
        models["strip"] = ""
    if "segment" in arguments.skip or not any(PICTURE in job.contrasts for job in jobs):
        models["picture"] = ""
    return models


def _named_models(arguments: argparse.Namespace) -> dict[str, str]:
    """Stage -> the model that the command line names for it."""
    stages = ("strip", "slices", "volume", "segment", "segment_t1", "picture")
    chosen = {stage: getattr(arguments, f"{stage}_model") for stage in stages}
    return {stage: name for stage, name in chosen.items() if name}


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was asked of the analysis, for a second run to know whether it asks the same."""
    from brainjax.files import digest

    return {
        "models": _named_models(arguments),
        "skip": sorted(set(arguments.skip)),
        "no_strip": arguments.no_strip,
        "mask": digest(arguments.mask) if arguments.mask else "",
    }


def _jobs(arguments: argparse.Namespace) -> tuple[list[Any], list[str]]:
    """The scans, each with a name of its own, and what is wrong with the rest of the paths.

    Raises:
        ConfigError: paths and options do not fit together.
        DataError: there is nothing to analyse.
    """
    from brainjax.infer.scan import Files, find_scans, of_files

    named = {c: pathlib.Path(getattr(arguments, c)) for c in _CONTRASTS if getattr(arguments, c)}
    if bool(named) == bool(arguments.paths):
        raise ConfigError("name scans, or the files of one scan's contrasts as in --t1 FILE")
    if named:
        first = next(iter(named.values()))
        missing = [str(p) for p in named.values() if not p.exists()]
        if missing:
            raise DataError(f"{missing[0]}: no such file; check the path")
        return [Files(find_scans(first)[0].name, named)], []
    failed: list[str] = []
    found = of_files([path for path in arguments.paths if pathlib.Path(path).is_file()], failed)
    for path in arguments.paths:
        if not pathlib.Path(path).is_file():
            try:
                found += find_scans(path, without=[arguments.output], failed=failed)
            except DataError as error:
                failed.append(str(error))
    for error in failed:
        print(f"error: {error}", file=sys.stderr)
    found = _once(found)
    if arguments.mask and len(found) != 1:
        raise ConfigError(f"--mask is of one scan; there are {len(found)}")
    names = naming.distinct([one.name for one in found], [one.first for one in found])
    return [one._replace(name=name) for one, name in zip(found, names, strict=True)], failed


def _once(found: list[Any]) -> list[Any]:
    """Without those whose files all belong to another one, too: what is named twice is done once, and whole."""
    files = [frozenset(p.resolve() for p in one.contrasts.values()) for one in found]
    return [
        one
        for i, one in enumerate(found)
        if not any(
            files[i] < other or (files[i] == other and j < i) for j, other in enumerate(files)
        )
    ]


def _refuse_folders_of_scans(jobs: list[Any], output: pathlib.Path) -> None:
    """Raises ConfigError where results would go among the files of a scan: what is there of their names is deleted."""
    lies = {
        p.resolve() if p.is_dir() else p.resolve().parent
        for job in jobs
        for p in job.contrasts.values()
    }
    for job in jobs:
        folder = output / job.name
        if folder.resolve() in lies:
            raise ConfigError(f"{folder} holds a scan; choose another --output for the results")


def _analyze(
    pipeline: Any,
    job: Any,
    folder: pathlib.Path,
    arguments: argparse.Namespace,
    options: dict[str, Any],
) -> str:
    """Does one scan; returns what to say of it."""
    from brainjax.infer.scan import PICTURE, read_scan
    from brainjax.report import analysis_files

    if PICTURE in job.contrasts:
        analysis = pipeline.picture(job.contrasts[PICTURE], name=job.name)
    else:
        scan = read_scan(contrasts=job.contrasts, name=job.name)
        analysis = pipeline(scan, brain=arguments.mask)
    series = _series(job) if arguments.dicom_seg else None
    analysis_files.write(folder, analysis, series, files=job.contrasts, options=options)
    facts = analysis.facts()
    words = [f"{job.name}:"]
    if facts["brain_ml"] is not None:
        words.append(f"brain {facts['brain_ml']:.0f} ml,")
    for how, classes in facts["classes"].items():
        best = max(classes, key=classes.get)
        words.append(f"{best} {classes[best]:.2f} by {how},")
    if facts["regions_ml"]:
        words.append(f"tumour {facts['regions_ml']['WT']:.1f} ml in {len(facts['lesions'])} parts,")
    warnings = f"{len(facts['warnings'])} warnings, " if facts["warnings"] else ""
    return " ".join(words) + f" {warnings}{facts['seconds']:.1f} s"


def _series(job: Any) -> pathlib.Path | None:
    """The DICOM folder whose grid the results have; None, and a line that says so, where it is none."""
    from tqdm import tqdm

    if job.first.is_dir():
        return job.first
    tqdm.write(
        f"{job.name}: {job.first.name} is no DICOM series, no segmentation.dcm", file=sys.stderr
    )
    return None


def _summary(
    jobs: list[Any], output: pathlib.Path, failed: list[str], seconds: float
) -> dict[str, Any]:
    """`result.json`: what is finished, whenever it was."""
    from brainjax.report import analysis_files

    scans = {}
    for job in jobs:
        try:
            facts = json.loads((output / job.name / analysis_files.DONE).read_text())
        except (OSError, ValueError):
            continue
        scans[job.name] = {k: facts[k] for k in ("brain_ml", "regions_ml", "classes", "warnings")}
    return {
        "task": "analysis",
        "dataset": "scans",
        "split": "none",
        "metrics": {"n_scans": len(scans), "n_failed": len(failed)},
        "scans": scans,
        "failed": failed,
        "seconds": round(seconds, 1),
    }
