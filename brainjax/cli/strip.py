"""`brainjax strip`: scans in, brains and masks out, on the same grid."""

import argparse
import collections
import glob
import pathlib
import sys
import time

from brainjax import memory
from brainjax.types import ConfigError, DataError

_HELP = """\
Finds the brain in head scans of any contrast (T1, T2, FLAIR, with or without contrast agent, adults and infants) and
writes the scan with everything else set to 0, on its own grid and with its own header.

examples:
  brainjax strip head.nii.gz brain.nii.gz
  brainjax strip head.nii.gz brain.nii.gz --mask mask.nii.gz --border 2
  brainjax strip scans/ more/*.nii.gz --output-dir stripped
      writes stripped/NAME_brain.nii.gz and stripped/NAME_mask.nii.gz for every scan

A scan may be NIfTI, MGH, or a folder of one DICOM series (with --output-dir, a folder is searched for scans instead).
One that cannot be read gets one line on stderr; the others are done, and the exit code is 1.
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
        type=float,
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


def run(arguments: argparse.Namespace) -> int:
    """Strips every scan; returns the exit code."""
    jobs = _jobs(arguments)
    todo = [
        job for job in jobs if arguments.overwrite or not arguments.output_dir or not _done(job)
    ]
    if len(todo) < len(jobs):
        print(
            f"{len(jobs) - len(todo)} scans are done already; --overwrite does them again",
            file=sys.stderr,
        )
    if not todo:
        return 0

    from tqdm import tqdm

    from brainjax.infer.strip import DEFAULT, Stripper

    stripper = Stripper.load(arguments.model or DEFAULT)
    stripper.mirror = arguments.mirror
    failed = 0
    bar = tqdm(todo, unit="scan", disable=len(todo) < 2, file=sys.stderr)
    for scan, brain, mask in bar:
        begun = time.perf_counter()
        try:
            line = _strip(stripper, scan, brain, mask, arguments.border)
        except (DataError, OSError) as error:
            failed += 1
            tqdm.write(f"error: {error}", file=sys.stderr)
        else:
            tqdm.write(f"{scan}: {line}, {time.perf_counter() - begun:.1f} s")
        memory.give_back()
    return 1 if failed else 0


def _strip(
    stripper, scan: pathlib.Path, brain: pathlib.Path, mask: pathlib.Path | None, border: float
) -> str:
    """Does one scan; returns what to say of it."""
    import numpy as np

    from brainjax.io import read_volume, write_volume

    volume = read_volume(scan)
    found = stripper.find(volume, border=border)
    inside = found.mask.data.astype(bool)
    if not inside.any():
        raise DataError(f"{scan}: no brain was found; is it a head, and its orientation right?")
    inside = inside.reshape(*inside.shape, *(1,) * (volume.data.ndim - 3))
    write_volume(
        brain, volume.with_data(np.where(inside, volume.data, np.zeros((), volume.data.dtype)))
    )
    if mask is not None:
        write_volume(mask, found.mask)
    notes = "".join(f"; {note}" for note in volume.notes)
    return f"brain of {found.volume_ml:.0f} ml{notes}"


def _jobs(
    arguments: argparse.Namespace,
) -> list[tuple[pathlib.Path, pathlib.Path, pathlib.Path | None]]:
    """(scan, brain to write, mask to write) of each scan.

    Raises:
        ConfigError: paths and options do not fit together.
        DataError: nothing to strip.
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
        if brain.resolve() == scan.resolve():
            raise ConfigError(f"{brain} is the scan itself; choose another name")
        return [(scan, brain, mask)]
    if arguments.mask:
        raise ConfigError(
            "with --output-dir every mask is written as NAME_mask.nii.gz; leave --mask out"
        )
    folder = pathlib.Path(arguments.output_dir)
    scans = _find(arguments.paths)
    names = _names(scans)
    jobs = [
        (scan, folder / f"{name}_brain.nii.gz", folder / f"{name}_mask.nii.gz")
        for scan, name in zip(scans, names, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    return jobs


def _find(paths: list[str]) -> list[pathlib.Path]:
    """Scans named, found in folders, or matched by patterns that the shell left alone."""
    from brainjax.io.files import ENDINGS, stem

    found: list[pathlib.Path] = []
    for text in paths:
        path = pathlib.Path(text)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if stem(p) and p.is_file())
        elif path.exists():
            inside = [path]
        else:
            inside = sorted(map(pathlib.Path, glob.glob(text, recursive=True)))
        if not inside:
            raise DataError(f"{text}: no scan there ({', '.join(ENDINGS)}); check the path")
        found += inside
    return list(dict.fromkeys(found))


def _names(scans: list[pathlib.Path]) -> list[str]:
    """A name for each scan: its file's, with the folder before it where files of one name are in several."""
    from brainjax.io.files import stem

    names = [stem(scan) or scan.name for scan in scans]
    twice = {name for name, count in collections.Counter(names).items() if count > 1}
    names = [
        f"{scan.resolve().parent.name}_{name}" if name in twice else name
        for scan, name in zip(scans, names, strict=True)
    ]
    for name, count in collections.Counter(names).items():
        if count > 1:
            same = [str(scan) for scan, own in zip(scans, names, strict=True) if own == name]
            raise ConfigError(
                f"{' and '.join(same)} would be written as one file; strip them into different folders"
            )
    return names


def _done(job: tuple[pathlib.Path, pathlib.Path, pathlib.Path | None]) -> bool:
    # The mask is written last, so that its presence says that the scan is finished.
    return job[2] is not None and job[1].exists() and job[2].exists()
