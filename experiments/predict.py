r"""Says what a classifier sees in an image, or in every image of a folder.

    python -m experiments.predict --checkpoint=checkpoints/tumor4_resnet scan.jpg
    python -m experiments.predict --checkpoint=checkpoints/tumor4_resnet FOLDER --workdir=predictions

Images (.jpg, .jpeg, .png, .tif) may be named one by one, or as folders, which are searched with their sub-folders. Each
gets its class and calibrated probabilities on the screen; --workdir adds predictions.csv, result.json and a picture
of what the network looked at (gradcam.png). An image that cannot be read gets one line on stderr and the exit code
becomes 1; the others are classified all the same.
"""

import pathlib
import sys
import time

from absl import app, flags

from experiments import entry

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "A released classifier's folder, or a run's.", required=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where predictions.csv and result.json go.")

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
_AT_ONCE = 64  # images held in memory in their own size
_PICTURES = 16  # images in gradcam.png
_LINES = 50  # images on the screen


def main(paths: list[str]) -> None:
    """Reads, classifies, reports."""
    import numpy as np
    from tqdm import tqdm

    from brainjax.io.images import read_image
    from brainjax.report import predictions
    from brainjax.train.restore import open_model
    from brainjax.types import ConfigError, DataError

    begun = time.perf_counter()
    if not paths:
        raise app.UsageError("name an image or a folder")
    model = open_model(_CHECKPOINT.value)
    if model.task != "classification":
        raise ConfigError(f"{_CHECKPOINT.value} is a model for {model.task}, not a classifier")
    files, bad = find(paths)
    names, parts, shown = [], [], []
    bar = tqdm(total=len(files), unit="image", desc="classifying", delay=2, file=sys.stderr)
    for first in range(0, len(files), _AT_ONCE):
        images = []
        for path in files[first : first + _AT_ONCE]:
            bar.update()
            try:
                images.append(read_image(path))
                names.append(str(path))
            except DataError as error:
                bad.append(str(error))
        if images:
            parts.append(model.probabilities(images))
            shown += images[: _PICTURES - len(shown)]
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
    print(f"Research use only. Model: {_CHECKPOINT.value}, {model.facts.get('dataset', '')}")
    predicted = [model.classes[k] for k in probabilities.argmax(1)]
    result = {
        "task": "prediction",
        "dataset": model.facts.get("dataset", ""),
        "split": "none",
        "metrics": {
            "n_images": len(names),
            "counts": {c: predicted.count(c) for c in model.classes},
        },
        "predictions": [
            {
                "image": name,
                "class": c,
                "probabilities": dict(zip(model.classes, map(float, p.round(6)), strict=True)),
            }
            for name, c, p in zip(names, predicted, probabilities, strict=True)
        ],
        "unreadable": bad,
        "checkpoint": _CHECKPOINT.value,
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


def find(paths: list[str]) -> tuple[list[pathlib.Path], list[str]]:
    """(image files named or found in folders, in order; what is wrong with the rest)."""
    files, bad = [], []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            files += inside
            if not inside:
                bad.append(f"{path}: holds no image ({', '.join(SUFFIXES)})")
        elif path.exists():
            files.append(path)
        else:
            bad.append(f"{path}: no such file; check the path")
    return files, bad


if __name__ == "__main__":
    entry.run(main, positional=True)
