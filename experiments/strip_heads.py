r"""Scores a skull stripper on heads whose brain is known, and releases it with what it scored.

    python -m experiments.strip_heads --data_dir=HEADS --workdir=OUT
        The stripper that came with brainjax.
    python -m experiments.strip_heads --checkpoint=checkpoints/runs/strip_unet --data_dir=HEADS --release=checkpoints/strip_unet
        A run's; its weights are rounded to 16 bits first, and the card gives the scores of the rounded ones.

HEADS holds a folder for each case with image.nii.gz and mask.nii.gz, or one or several mask_TOOL.nii.gz: what another
tool made of the scan, which is an opinion and not the truth. Each of them is one row of the table. --workdir gets
scores.csv, result.json and heads.png, where every outline can be looked at.
"""

import csv
import dataclasses
import pathlib
import statistics
import sys
import time

from absl import flags

from experiments import entry

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "strip_unet", "A released stripper's name or folder, or a run's folder."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of cases.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the table and the pictures go.")
_MIRROR = flags.DEFINE_bool("mirror", False, "Average with the mirrored scan.")
_BORDER = flags.DEFINE_float("border", 0.0, "Grow the masks by so many mm; negative to shrink.")
_RELEASE = flags.DEFINE_string("release", None, "Folder to write a released model to.")
_LIMITS = flags.DEFINE_string("limits", "", "Sentences for the last section of its card.")


def main() -> None:
    """Strips, compares, draws, releases."""
    import jax
    import numpy as np
    from tqdm import tqdm

    from brainjax.infer.strip import Stripper
    from brainjax.io import read_volume
    from brainjax.metrics.surface import hd95, surface_distances
    from brainjax.preprocess.orient import reorient
    from brainjax.report import heads
    from brainjax.types import DataError

    begun = time.perf_counter()
    folder = pathlib.Path(_DATA_DIR.value)
    cases = sorted(p.parent for p in folder.glob("*/image.nii.gz"))
    if not cases:
        raise DataError(f"{folder} holds no CASE/image.nii.gz; check --data_dir")
    masks = {case: sorted(case.glob("mask*.nii.gz")) for case in cases}
    without = [case.name for case, found in masks.items() if not found]
    if without:
        raise DataError(
            f"{len(without)} of {len(cases)} cases have no mask.nii.gz or mask_TOOL.nii.gz "
            f"({', '.join(without[:3])}): add it, or take the case away"
        )
    stored = _stored(_CHECKPOINT.value)
    workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None
    if _RELEASE.value:
        rounded = jax.tree.map(lambda x: x.astype("bfloat16").astype("float32"), stored.variables)
        stored = dataclasses.replace(stored, variables=rounded)
    stripper = Stripper(stored.config, stored.facts, stored.variables)
    stripper.mirror = _MIRROR.value
    rows, pictures = [], []
    for case in tqdm(cases, unit="head", file=sys.stderr):
        scan = reorient(read_volume(case / "image.nii.gz"))
        start = time.perf_counter()
        found = stripper.find(scan, border=_BORDER.value)
        seconds = time.perf_counter() - start
        ours = found.mask.data.astype(bool)
        for path in masks[case]:
            mask = reorient(read_volume(path))
            if mask.data.shape != ours.shape or not mask.grid.matches(scan.grid, 0.5):
                raise DataError(f"{path} is not on the grid of its image; resample it")
            reference = mask.data > 0.5
            dice = 2.0 * np.sum(ours & reference) / max(1, ours.sum() + reference.sum())
            far = hd95(surface_distances(ours, reference, scan.spacing))
            tool = path.name.removesuffix(".nii.gz").removeprefix("mask").lstrip("_")
            rows.append(
                {
                    "case": case.name,
                    "against": tool or "truth",
                    "dice": round(float(dice), 4),
                    "hd95_mm": round(float(far), 2),
                    "volume_ml": round(found.volume_ml, 1),
                    "reference_ml": round(float(reference.sum()) * scan.grid.voxel_ml, 1),
                    "seconds": round(seconds, 2),
                }
            )
            pictures.append((f"{case.name}, {tool or 'truth'}: {dice:.3f}", scan, ours, reference))
    for row in rows:
        print("  ".join(f"{k} {v}" for k, v in row.items()))
    result = {
        "task": "strip",
        "dataset": folder.name,
        "split": "all",
        "metrics": {
            "n_heads": len(cases),
            "dice_mean": round(statistics.mean(r["dice"] for r in rows), 4),
            "dice_min": min(r["dice"] for r in rows),
        },
        "per_head": rows,
        "checkpoint": _CHECKPOINT.value,
        "seconds": round(time.perf_counter() - begun, 1),
    }
    if workdir:
        workdir.mkdir(parents=True, exist_ok=True)
        with (workdir / "scores.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        heads.outlines(pictures, workdir / "heads.png")
    if _RELEASE.value:
        _release(stored, result)
    entry.finish(workdir, result)


def _stored(name: str):
    """The release of that name or folder, or the one that a run stands for."""
    from brainjax.infer import release, released
    from brainjax.train.restore import open_stored
    from brainjax.types import CheckpointError

    folder = pathlib.Path(name)
    stored = open_stored(folder) if folder.is_dir() else release.load(released.find(name))
    if stored.task != "strip":
        raise CheckpointError(f"{name} is a model for {stored.task}, not for skull stripping")
    return stored


def _release(stored, result: dict) -> None:
    """Writes the release with its scores."""
    import datetime

    from brainjax.infer import release
    from brainjax.report.strip_card import strip_card

    output, config = pathlib.Path(_RELEASE.value), stored.config
    # Where the data lay while training is of no use to anyone else.
    config["data"]["dir"] = pathlib.Path(config["data"]["dir"]).name
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result["per_head"]]
    facts = {
        **stored.facts,
        "metrics": result["metrics"],
        "per_head": rows,
        "storage": "bfloat16",
        "exported": datetime.date.today().isoformat(),
        "limits": _LIMITS.value,
    }
    stored = dataclasses.replace(stored, config=config, facts=facts)
    card = strip_card(output.name, config, facts)
    release.save(output, stored, dtype="bfloat16", card=card)


if __name__ == "__main__":
    entry.run(main)
