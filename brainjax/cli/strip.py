"""`brainjax strip`: scans in, brains and masks out, on the same grid."""

import argparse
import glob
import json
import math
import pathlib
import sys
import time
from typing import Any, NamedTuple

from brainjax import __version__, memory
from brainjax.cli import naming
from brainjax.cli.failures import said
from brainjax.cli.resume import remaining
from brainjax.files import by_folder, digest, files_below, write_text
from brainjax.types import ConfigError, DataError

_HELP = """\
Finds the brain in head scans of any contrast (T1, T2, FLAIR, with or without contrast agent, adults and infants) and
writes the scan with everything else set to 0, on its own grid and with its own header.

examples:
  brainjax strip head.nii.gz brain.nii.gz
  brainjax strip head.nii.gz brain.nii.gz --mask mask.nii.gz --border 2
  brainjax strip scans/ more/*.nii.gz --output-dir stripped
      writes stripped/NAME_brain.nii.gz, NAME_mask.nii.gz and NAME_mask.json, which says of what scan they are

A scan may be NIfTI, MGH, or a folder of one DICOM series (with --output-dir, a folder is searched for scans instead;
masks, labels and the results of this command are none; a folder of a DICOM series is one).
One that is missing or cannot be read gets one line on stderr; the others are done, and the exit code is 1.
Research use only: look at every mask."""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Declares the command line."""
    parser = subparsers.add_parser(
        "strip",
        help="find the brain in head scans of any contrast",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="IMAGE OUT, or scans with --output-dir"
    )
    parser.add_argument("--mask", metavar="FILE", help="also write the mask, 1 where brain")
    parser.add_argument("--output-dir", metavar="DIR", help="for any number of scans")
    parser.add_argument(
        "--border",
        type=_millimetres,
        default=0.0,
        metavar="MM",
        help="grow the mask, or shrink it if negative",
    )
    parser.add_argument(
        "--model", default=None, metavar="NAME", help="a released model's name or folder"
    )
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="average with the mirrored scan: slower, a little better",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="with --output-dir: do finished scans again"
    )
    parser.set_defaults(run=run)


def _millimetres(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of mm; give one such as 2 or -1.5")
    return value


class Job(NamedTuple):
    """A scan and what is written of it; the mask and `record` may be None."""

    scan: pathlib.Path
    brain: pathlib.Path
    mask: pathlib.Path | None
    record: pathlib.Path | None = None


def run(arguments: argparse.Namespace) -> int:
    """Strips every scan; returns the exit code."""
    jobs, failed = _jobs(arguments)
    how = {"Model": arguments.model, "Border": arguments.border, "Mirror": arguments.mirror}
    todo, refused = remaining(jobs, lambda job: not arguments.overwrite and _done(job, how))
    failed += len(refused)
    if not todo:
        return 1 if failed else 0

    from tqdm import tqdm

    from brainjax.infer.strip import DEFAULT, Stripper

    stripper = Stripper.load(arguments.model or DEFAULT)
    stripper.mirror = arguments.mirror
    bar = tqdm(todo, unit="scan", disable=len(todo) < 2, file=sys.stderr)
    for job in bar:
        begun = time.perf_counter()
        try:
            line = _strip(stripper, job, how)
        except Exception as error:  # whatever is wrong with one scan, the others are done
            failed += 1
            tqdm.write(f"error: {said(error, job.scan)}", file=sys.stderr)
        else:
            tqdm.write(f"{job.scan}: {line}, {time.perf_counter() - begun:.1f} s")
        memory.give_back()
    return 1 if failed else 0


def _strip(stripper: Any, job: Job, how: dict[str, Any]) -> str:
    """Does one scan; returns what to say of it."""
    import numpy as np

    from brainjax.infer.strip import THRESHOLD
    from brainjax.io import read_volume, write_volume

    scan, brain, mask, record = job
    volume = read_volume(scan)
    found = stripper.find(volume, border=how["Border"])
    inside = found.mask.data.astype(bool)
    if not inside.any():
        if (found.probability >= THRESHOLD).any():
            border = f"--border {how['Border']:g}"
            raise DataError(f"{scan}: {border} leaves nothing of the brain; shrink it by less")
        raise DataError(f"{scan}: no brain was found; is it a head, and its orientation right?")
    facts = {"Type": "Brain", "Sources": [str(scan.resolve())], "Options": how}
    facts |= {"GeneratedBy": [{"Name": "brainjax", "Version": __version__}]}
    if record is not None:  # before the rest: whose results these are, should this be the end
        facts["SHA256"] = digest(scan)
        write_text(record, _json({**facts, "Finished": False}))
    inside = inside.reshape(*inside.shape, *(1,) * (volume.data.ndim - 3))
    write_volume(
        brain, volume.with_data(np.where(inside, volume.data, np.zeros((), volume.data.dtype)))
    )
    if mask is not None:
        write_volume(mask, found.mask)
    if record is not None:
        write_text(
            record, _json({**facts, "VolumeMl": round(found.volume_ml, 1), "Finished": True})
        )
    notes = "".join(f"; {note}" for note in volume.notes)
    return f"brain of {found.volume_ml:.0f} ml{notes}"


def _json(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=2) + "\n"


def _jobs(arguments: argparse.Namespace) -> tuple[list[Job], int]:
    """The scans with what is to be written of each, and how many paths held none, of which stderr is told.

    Raises:
        ConfigError: paths and options do not fit together, or a result would take a scan's place.
        DataError: a lone scan is missing, or the folder that its results go to.
    """
    from brainjax.io.files import stem

    if not arguments.output_dir:
        if len(arguments.paths) != 2:
            raise ConfigError(
                "name the scan and the file to write; for several scans, give --output-dir DIR"
            )
        scan, brain = map(pathlib.Path, arguments.paths)
        mask = pathlib.Path(arguments.mask) if arguments.mask else None
        for path in filter(None, (brain, mask)):
            if not stem(path):
                raise ConfigError(
                    f"{path}: the name of the file to write must end in .nii.gz or .nii"
                )
            if not path.parent.is_dir():
                raise DataError(f"{path.parent}: no such folder; make it first, or check the path")
        naming.keep_apart([scan], filter(None, (brain, mask)))
        if not scan.exists():
            raise DataError(f"{scan}: no such file or folder; check the path")
        return [Job(scan, brain, mask)], 0
    if arguments.mask:
        raise ConfigError(
            "with --output-dir every mask is written as NAME_mask.nii.gz; leave --mask out"
        )
    folder = pathlib.Path(arguments.output_dir)
    scans, failed = _find(arguments.paths, folder)
    if not scans:
        return [], failed
    if folder.resolve() in {scan.resolve() for scan in scans}:
        raise ConfigError(f"{folder} is a DICOM series itself; choose another --output-dir")
    names = naming.distinct([stem(scan) or scan.resolve().name for scan in scans], scans)
    jobs = [
        Job(
            scan,
            *(folder / f"{name}_{end}" for end in ("brain.nii.gz", "mask.nii.gz", "mask.json")),
        )
        for scan, name in zip(scans, names, strict=True)
    ]
    naming.keep_apart(scans, (path for job in jobs for path in job[1:]))
    folder.mkdir(parents=True, exist_ok=True)
    return jobs, failed


def _find(paths: list[str], output: pathlib.Path) -> tuple[list[pathlib.Path], int]:
    """Scans named, found in folders, or matched by patterns that the shell left alone; and how many paths held none."""
    from brainjax.io.files import ENDINGS

    found: list[pathlib.Path] = []
    failed = 0
    for text in paths:
        path = pathlib.Path(text)
        if path.is_dir():
            inside = _inside(path, output)
        elif path.exists():
            inside = [path]
        else:
            inside = sorted(map(pathlib.Path, glob.glob(text, recursive=True)))
        if not inside:
            failed += 1
            wanted = f"{', '.join(ENDINGS)}, a folder of DICOM files"
            print(f"error: {text}: no scan there ({wanted}); check the path", file=sys.stderr)
        found += inside
    # Named twice, done once.
    return list({p.resolve(): p for p in found}.values()), failed


def _inside(folder: pathlib.Path, output: pathlib.Path) -> list[pathlib.Path]:
    """The scans of a tree without the folder of the results: files of volumes, and folders of DICOM files.

    What this command has written is none, wherever it is found; nor are masks.
    """
    from brainjax.infer.scan import is_scan
    from brainjax.io.dicom import are_dicom
    from brainjax.io.files import stem

    found = []
    for place, files in by_folder(files_below(folder, without=[output])).items():
        volumes = [p for p in files if is_scan(p)]
        found += [p for p in volumes if not _is_ours(p, stem(p))]
        # A folder with volumes may hold the series that they were made from.
        if not volumes and are_dicom(files):
            found.append(place)
    return sorted(found)


def _is_ours(path: pathlib.Path, name: str) -> bool:
    """Whether a file is a brain that this command has written."""
    record = path.with_name(f"{name.removesuffix('_brain')}_mask.json")
    return name.endswith("_brain") and bool(_recorded(record))


def _recorded(record: pathlib.Path) -> dict[str, Any]:
    """What an earlier run has written about its results; nothing where there was none."""
    try:
        facts = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and "SHA256" in facts else {}


def _done(job: Job, how: dict[str, Any]) -> bool:
    """Whether a scan is finished, with these options.

    Raises:
        DataError: what lies in the place of its results is not of this scan.
    """
    if job.record is None or not (job.brain.exists() or job.mask.exists()):
        return False
    facts = _recorded(job.record)
    if facts.get("SHA256") != digest(job.scan):
        of = f"of {facts['Sources'][0]}" if facts.get("Sources") else "of no scan that is known"
        raise DataError(
            f"{job.scan}: {job.brain} is there, and is {of}; choose another --output-dir, or give --overwrite"
        )
    whole = facts.get("Finished") is True and job.brain.exists() and job.mask.exists()
    return whole and facts.get("Options") == how
