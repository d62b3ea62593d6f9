r"""Scores a trained model on a folder of patients.

    python -m experiments.evaluate --checkpoint=checkpoints/lgg_unet --data_dir=DIR --split=all

--checkpoint is a released model (checkpoints/...) or the directory of a run. Dice is given per slice and per
patient volume, on the native grid, before and after (`_post`) the 3D clean-up of each patient's stack.
"""

import pathlib
import time

from absl import flags

from experiments import entry

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "A released model's folder, or a run's.", required=True
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of the data set; default: the one the model was trained with."
)
_SPLIT = flags.DEFINE_enum(
    "split", "all", ["all", "train", "val", "test"], "Which part; 'all' is every patient found."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where result.json and pictures go; default <checkpoint>/evaluation-<split>."
)
_TTA = flags.DEFINE_enum(
    "tta", "", ["", "none", "flip"], "Mirror averaging; default: as the model's config says."
)
_SKIP_BAD = flags.DEFINE_bool("skip_bad", False, "Leave unusable files out instead of refusing.")


def main() -> None:
    """Loads, predicts, scores, reports."""
    from brainjax.config import bind, build
    from brainjax.infer.evaluate import evaluate
    from brainjax.report import run_report
    from brainjax.train.recipe import targets
    from brainjax.train.restore import open_model

    begun = time.perf_counter()
    model = open_model(_CHECKPOINT.value, tta=_TTA.value)
    config = model.config.copy_and_resolve_references()
    with config.unlocked():
        if _DATA_DIR.value:
            config.data.dir = _DATA_DIR.value
        if _SKIP_BAD.value:
            config.data.skip_bad = True
    dataset = build(config.data, targets()["data"]).load()
    if _SPLIT.value == "all":
        import numpy as np

        rows, protocol = np.arange(len(dataset)), "every patient of the folder"
    else:
        split = bind(config.split, targets()["split"])(dataset)
        rows, protocol = split.rows(_SPLIT.value), split.protocol
    source = model.source(dataset)
    scores = evaluate(model.predictor, model.variables, source, rows, progress=True)
    seen = {volume["group"] for volume in scores.per_volume} & set(model.facts["trained_on"])
    if seen:
        protocol += f"; {len(seen)} of {len(scores.per_volume)} patients were trained on"

    workdir = pathlib.Path(
        _WORKDIR.value or f"{_CHECKPOINT.value.rstrip('/')}/evaluation-{_SPLIT.value}"
    )
    workdir.mkdir(parents=True, exist_ok=True)
    result = {
        "task": "segmentation",
        "name": config.name,
        "dataset": dataset.info.name,
        "split": _SPLIT.value,
        "protocol": protocol,
        "metrics": scores.metrics,
        "per_volume": scores.per_volume,
        "seen_in_training": sorted(seen),
        "checkpoint": _CHECKPOINT.value,
        "parameters": model.facts["parameters"],
        "seconds": round(time.perf_counter() - begun, 1),
    }
    scored = run_report.Scored(rows, result)
    run_report.scores(workdir, model.predictor, model.variables, source, scored)
    entry.finish(workdir, result)


if __name__ == "__main__":
    entry.run(main)
