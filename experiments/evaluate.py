r"""Scores a trained model on a folder of patients, or of images.

    python -m experiments.evaluate --checkpoint=checkpoints/lgg_unet --data_dir=DIR --split=all

    python -m experiments.evaluate --checkpoint=checkpoints/tumor4_lite --data_dir=DIR --split=all

    python -m experiments.evaluate --checkpoint=runs/fold0,runs/fold1,runs/fold2 --data_dir=DIR --split=all

--checkpoint is a released model (checkpoints/...) or the directory of a run. Of segmentation, Dice is given per slice and per
patient volume, on the native grid, before and after (`_post`) the 3D clean-up of each patient's stack; of whole volumes
also surface distances, and all of every region. `--without=post_contrast` blacks a sequence out: what the model is worth where it
was not scanned; `--empty=skip --lesions=panoptica` scores volumes by panoptica's conventions instead of BraTS's. Several checkpoints, with commas between them, are averaged. Of
classification, accuracy, AUROC, calibration and the rest, and predictions.csv with every image's probabilities; where the
folder's own folders are the classes, they are matched with the model's by name, and some may be missing.
"""

import pathlib
import time
from typing import Any

from absl import flags

from experiments import entry

_CHECKPOINT = flags.DEFINE_list(
    "checkpoint",
    None,
    "A released model's folder, or a run's; several of one network are averaged.",
    required=True,
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of the data set; default: the one the model was trained with."
)
_SPLIT = flags.DEFINE_enum(
    "split", "all", ["all", "train", "val", "test"], "Which part; 'all' is everything found."
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where result.json and pictures go; default <checkpoint>/evaluation-<split>, of N <the first>/evaluation-of-N-<split>.",
)
_TTA = flags.DEFINE_enum(
    "tta", "", ["", "none", "flip"], "Mirror averaging; default: as the model's config says."
)
_WITHOUT = flags.DEFINE_list(
    "without", [], "Sequences to black out, as if the patients had not been scanned with them."
)
_EMPTY = flags.DEFINE_enum(
    "empty",
    "",
    ["", "one", "zero", "skip"],
    "What a score is worth where prediction and truth are both empty; default: as the model's config says.",
)
_LESIONS = flags.DEFINE_enum(
    "lesions",
    "",
    ["", "none", "brats", "panoptica"],
    "Of volumes: score each lesion by itself, paired by whose rule; default: as the model's config says.",
)
_SKIP_BAD = flags.DEFINE_bool("skip_bad", False, "Leave unusable files out instead of refusing.")


def _rules() -> dict[str, Any]:
    """The inference options that the flags ask for instead of the model's own."""
    rules: dict[str, Any] = {"empty": _EMPTY.value} if _EMPTY.value else {}
    if _LESIONS.value == "none":
        rules["lesions"] = False
    elif _LESIONS.value:
        rules |= {"lesions": True, "lesion_rule": _LESIONS.value}
    return rules


def main() -> None:
    """Loads, predicts, scores, reports."""
    from brainjax.config import bind, build
    from brainjax.infer.evaluate import evaluate
    from brainjax.report import run_report
    from brainjax.train.recipe import targets
    from brainjax.train.restore import open_ensemble
    from brainjax.types import ConfigError

    begun = time.perf_counter()
    paths = _CHECKPOINT.value
    model = open_ensemble(paths, tta=_TTA.value, data_dir=_DATA_DIR.value or "")
    config = model.config.copy_and_resolve_references()
    with config.unlocked():
        if _DATA_DIR.value:
            config.data.dir = _DATA_DIR.value
        if _SKIP_BAD.value:
            config.data.skip_bad = True
    rules = _rules()
    if rules and model.task == "classification":
        raise ConfigError("--empty and --lesions are for masks; drop them for classes")
    dataset = build(config.data, targets()["data"]).load()
    if dataset.target == "label":
        # A folder's own classes are numbered in the order of their names.
        dataset = dataset.with_classes(model.facts["classes"])
    if _WITHOUT.value:
        if dataset.target == "label":
            raise ConfigError(
                "--without is for patients scanned in several sequences; drop it for single images"
            )
        dataset = dataset.without(_WITHOUT.value)
    if _SPLIT.value == "all":
        import numpy as np

        what = "image" if dataset.target == "label" else "patient"
        rows, protocol = np.arange(len(dataset)), f"every {what} of the folder"
    else:
        split = bind(config.split, targets()["split"])(dataset)
        rows, protocol = split.rows(_SPLIT.value), split.protocol
    source = model.source(dataset)
    kind = "evaluation" if len(paths) == 1 else f"evaluation-of-{len(paths)}"
    workdir = pathlib.Path(_WORKDIR.value or f"{paths[0].rstrip('/')}/{kind}-{_SPLIT.value}")
    entry.claim(workdir)
    predictor = model.predictor.with_options(**rules) if rules else model.predictor
    scores = evaluate(predictor, model.variables, source, rows, progress=True)
    scored = dataset.identity(rows)
    seen = sorted(set(scored) & set(model.facts["trained_on"]))
    if seen:
        what = "different images" if dataset.target == "label" else "patients"
        protocol += f"; {len(seen)} of {len(scored)} {what} were trained on"
    if _WITHOUT.value:
        protocol += f"; without {', '.join(_WITHOUT.value)}"
    protocol += "".join(f"; {option}={value}" for option, value in rules.items())

    result = {
        "task": model.task,
        "name": config.name,
        "dataset": dataset.info.name,
        "split": _SPLIT.value,
        "protocol": protocol,
        "metrics": scores.metrics,
        **scores.details,
        **(
            {"n_seen_in_training": len(seen)}
            if model.task == "classification"
            else {"seen_in_training": seen}
        ),
        "checkpoint": ",".join(paths),
        "parameters": model.facts["parameters"],
        "seconds": round(time.perf_counter() - begun, 1),
    }
    entry.write(workdir, result)  # a picture that fails must not cost the result
    scored = run_report.Scored(rows, result, scores.probabilities)
    run_report.scores(workdir, predictor, model.variables, source, scored)
    entry.finish(workdir, result)


if __name__ == "__main__":
    entry.run(main)
