r"""Says what a classifier sees in an image or a scan, or in all of a folder; segments every case in a folder of volumes.

    python -m experiments.predict --checkpoint=checkpoints/tumor4_lite scan.jpg
    python -m experiments.predict --checkpoint=checkpoints/tumor4_lite FOLDER --workdir=predictions
    python -m experiments.predict --checkpoint=checkpoints/runs/tumor4_volume t1ce.nii.gz FOLDER
    python -m experiments.predict --checkpoint=checkpoints/runs/brats FOLDER --workdir=predictions

Images (.jpg, .jpeg, .png, .tif) may be named one by one, or as folders, which are searched with their sub-folders. Each
gets its class and calibrated probabilities on the screen; --workdir adds predictions.csv, result.json and a picture
of what the network looked at (gradcam.png). An image that cannot be read gets one line on stderr and the exit code
becomes 1; the others are classified all the same.

A classifier of volumes takes scans (.nii, .nii.gz, .mgh, .mgz), or folders of them, in the same way.

Volumes to be segmented lie in folders as the model's data set has them (BraTS cases, say; truth is not needed). Every case gets a
<case>.nii.gz in --workdir on the grid of its first file - labels of BraTS for its three regions, otherwise 1, 2, ... for
the classes - and a picture, <case>.png. Cases of one name from several folders get their folders' names before it. No scan
is overwritten, and masks of an earlier run in --workdir are no cases. Several checkpoints, with commas between them, are averaged.
"""

import math
import pathlib
import sys
import time
from typing import Any

from absl import app, flags

from experiments import entry

_CHECKPOINT = flags.DEFINE_list(
    "checkpoint", None, "A released model's folder, or a run's; or several.", required=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where predictions.csv and result.json go.")

_AT_ONCE = 64  # images held in memory in their own size
_PICTURES = 16  # images in gradcam.png
_SCANS_SHOWN = 4  # scans there: each may be as large as a file
_LINES = 50  # images on the screen


def main(paths: list[str]) -> None:
    """Reads, classifies, reports."""
    import numpy as np
    from tqdm import tqdm

    from brainjax.infer import quality
    from brainjax.infer.scan import UNKNOWN, Scan
    from brainjax.io import files as volume_files
    from brainjax.io import images as image_files
    from brainjax.report import predictions
    from brainjax.train.restore import open_ensemble
    from brainjax.types import ConfigError, DataError

    begun = time.perf_counter()
    if not paths:
        raise app.UsageError("name an image or a folder")
    checkpoint = ",".join(_CHECKPOINT.value)
    model = open_ensemble(_CHECKPOINT.value)
    if model.task == "segmentation" and model.rank == 3:
        _volumes(model, paths, begun)
        return
    if model.task != "classification":
        raise ConfigError(
            f"{checkpoint} is a model for {model.task} of slices; see experiments.evaluate"
        )
    if model.rank == 3:
        suffixes, noun, read = volume_files.ENDINGS, "scan", volume_files.read_volume
    else:
        suffixes, noun, read = image_files.ENDINGS, "image", image_files.read_image
    files, bad = find(paths, suffixes)
    names, parts, shown = [], [], []
    bar = tqdm(total=len(files), unit=noun, desc="classifying", delay=2, file=sys.stderr)
    at_once, most = (1, _SCANS_SHOWN) if model.rank == 3 else (_AT_ONCE, _PICTURES)
    for first in range(0, len(files), at_once):
        images, here = [], []
        for path in files[first : first + at_once]:
            bar.update()
            try:
                images.append(read(path))
                here.append(str(path))
            except DataError as error:
                bad.append(str(error))
        if not images:
            continue
        try:
            parts.append(model.probabilities(images))
        except DataError as error:  # a scan, alone here, with nothing in it
            bad.append(f"{here[0]}: {error}")
            continue
        if model.rank == 3:
            for line in quality.of_scan(Scan(here[0], {UNKNOWN: images[0]})):
                print(f"warning: {here[0]}: {line}", file=sys.stderr)
        names += here
        shown += images[: most - len(shown)]
    bar.close()
    for line in bad:
        print(f"error: {line}", file=sys.stderr)
    if not parts:
        sys.exit(1)
    probabilities = np.concatenate(parts)

    width = max(map(len, names[:_LINES]))
    for name, p in list(zip(names, probabilities, strict=True))[:_LINES]:
        ranked = sorted(zip(p, model.classes, strict=True), reverse=True)
        print(f"{name:{width}}  " + "  ".join(f"{c} {x:.3f}" for x, c in ranked))
    if len(names) > _LINES:
        print(f"... and {len(names) - _LINES} more; --workdir keeps them all")
    print(f"Research use only. Model: {checkpoint}, {model.facts.get('dataset', '')}")
    predicted = [model.classes[k] for k in probabilities.argmax(1)]
    result = {
        "task": "prediction",
        "dataset": model.facts.get("dataset", ""),
        "split": "none",
        "metrics": {
            f"n_{noun}s": len(names),
            "counts": {c: predicted.count(c) for c in model.classes},
        },
        "predictions": [
            {
                noun: name,
                "class": c,
                "probabilities": dict(zip(model.classes, map(float, p.round(6)), strict=True)),
            }
            for name, c, p in zip(names, predicted, probabilities, strict=True)
        ],
        "unreadable": bad,
        "checkpoint": checkpoint,
        "seconds": round(time.perf_counter() - begun, 1),
    }
    workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None
    if workdir:
        from brainjax.report import label_report

        workdir.mkdir(parents=True, exist_ok=True)
        predictions.write(workdir / "predictions.csv", names, model.classes, probabilities)
        label_report.looked_at(workdir, model, shown, names)
    entry.finish(workdir, result)
    if bad:
        sys.exit(1)


def _volumes(model: Any, paths: list[str], begun: float) -> None:
    """Segments the cases of every folder; see the top of this file."""
    from tqdm import tqdm

    from brainjax.infer import cases
    from brainjax.io import write_volume
    from brainjax.report import planes
    from brainjax.types import ConfigError, DataError

    if not _WORKDIR.value:
        raise ConfigError("masks are written to --workdir; name a folder")
    workdir = pathlib.Path(_WORKDIR.value)
    found, bad = [], []
    for path in paths:
        try:
            reader, some, problems = cases.find(model, path)
        except DataError as error:
            bad.append(str(error))
            continue
        fresh = [case for case in some if not made_before(case, workdir)]
        found += [(path, reader, case) for case in fresh]
        bad += map(str, problems)
        if some and not fresh:
            bad.append(f"{path}: holds nothing but results in --workdir; name the scans' folder")
    names = masks_of([(path, case) for path, _, case in found], workdir)
    done = []
    bar = tqdm(found, unit="case", desc="segmenting", delay=2, file=sys.stderr)
    for name, (_, reader, case) in zip(names, bar, strict=True):
        target = workdir / f"{name}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            loaded, mask = cases.segment(model, reader, case)
            labels = cases.result(model, loaded, mask)
        except DataError as error:
            bad.append(str(error))
            continue
        z = planes.telling(mask)
        slices = planes.axial(loaded.image, z), planes.axial(mask, z)
        # The picture first: `made_before` knows a mask by it, also of a run that was killed.
        planes.regions(
            workdir / f"{name}.png",
            [slices[0]],
            {"prediction": [slices[1]]},
            [f"{name} z {z}"],
            model.facts["channels"],
            model.facts["classes"],
        )
        try:
            write_volume(target, labels)
        except DataError as error:
            bad.append(str(error))
            continue
        ml = mask.sum((0, 1, 2)) * math.prod(loaded.spacing) / 1000
        row = {
            c: round(float(x), 3) for c, x in zip(model.facts["classes"], ml.tolist(), strict=True)
        }
        print(f"{name}  " + "  ".join(f"{c} {x:.1f} ml" for c, x in row.items()))
        done.append({"case": name, "volume_ml": row})
    for line in bad:
        print(f"error: {line}", file=sys.stderr)
    if done:
        print(f"Research use only. Model: {','.join(_CHECKPOINT.value)}")
        result = {
            "task": "prediction",
            "dataset": model.facts.get("dataset", ""),
            "split": "none",
            "metrics": {"n_volumes": len(done)},
            "predictions": done,
            "unreadable": bad,
            "checkpoint": ",".join(_CHECKPOINT.value),
            "seconds": round(time.perf_counter() - begun, 1),
        }
        entry.finish(workdir, result)
    if bad or not done:
        sys.exit(1)


def made_before(case: Any, workdir: pathlib.Path) -> bool:
    """Whether a case's image is a mask in `workdir` that an earlier run left there, with its picture beside it."""
    from brainjax.io.files import stem

    image = pathlib.Path(case.images[0]).resolve()
    inside = image.is_relative_to(workdir.resolve())
    return inside and image.with_name(f"{stem(image)}.png").exists()


def masks_of(found: list[tuple[str, Any]], workdir: pathlib.Path) -> list[str]:
    """Where in `workdir` the masks go, without .nii.gz: the cases' names, with their folders' before them if need be.

    Args:
        found: (folder, case) of each.
        workdir: of the masks.

    Raises:
        ConfigError: a mask would take the place of a scan or a truth, or two cases are one.
    """
    from brainjax.cli import naming

    names = naming.distinct([c.name for _, c in found], [pathlib.Path(f, c.name) for f, c in found])
    files = [path for _, case in found for path in (*case.images, case.truth) if path]
    naming.keep_apart(map(pathlib.Path, files), [workdir / f"{name}.nii.gz" for name in names])
    return names


def find(paths: list[str], suffixes: tuple[str, ...]) -> tuple[list[pathlib.Path], list[str]]:
    """(files named or found in folders, in order; what is wrong with the rest).

    In folders what archives and file managers leave behind is passed over, as where images are read for training.
    """
    from brainjax.datasets.folders import is_aside
    from brainjax.files import files_below

    files, bad = [], []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            named = [p for p in files_below(path) if p.name.lower().endswith(suffixes)]
            inside = [p for p in named if not is_aside(p.relative_to(path))]
            files += inside
            if not inside:
                bad.append(f"{path}: holds no image ({', '.join(suffixes)})")
        elif path.exists():
            files.append(path)
        else:
            bad.append(f"{path}: no such file; check the path")
    return files, bad


if __name__ == "__main__":
    entry.run(main, positional=True)
