r"""Compares two ways to classify a volume: the vote of 27 slices, and a network that sees it whole.

    python -m experiments.compare_volumes --volumes=checkpoints/runs/tumor4_volume --workdir=comparison
        A run of configs/volume_classifier.py and the classifier of pictures that came with brainjax, on 40 synthetic
        heads of a seed that trained neither.

Both see the same scans, T1 after contrast agent, whole heads. The table goes to the screen and, with --workdir, to
comparison.md there, with predictions-slices.csv, predictions-volume.csv and result.json beside it. `rule` is the vote's
own: healthy from 95 % on, else the likeliest tumour; all other columns take the likeliest class of all. Seconds are the
median per scan after the first one, which compiles.
"""

import pathlib
import statistics
import sys
import time

from absl import flags

from experiments import entry

_SLICES = flags.DEFINE_string(
    "slices", "tumor4_lite", "A released classifier of pictures, by name or folder, or a run's."
)
_VOLUMES = flags.DEFINE_string(
    "volumes",
    None,
    "A released classifier of volumes, by name or folder, or a run's.",
    required=True,
)
_SUBJECTS = flags.DEFINE_integer("subjects", 40, "Heads, a quarter of each class.")
_SEED = flags.DEFINE_integer("seed", 1, "Of the heads; not that of the training.")
_SIZE = flags.DEFINE_integer("size", 128, "X and Y of the scans in voxels, over 240 mm.")
_DEPTH = flags.DEFINE_integer("depth", 96, "Z of the scans in voxels, over some 145 mm.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the table and the predictions go.")

_COLUMNS = {
    "way": "way",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "auroc_macro": "AUROC",
    "accuracy_rule": "accuracy by rule",
    "nll": "NLL",
    "seconds_per_scan": "s per scan",
}


def main() -> None:
    """Generates, classifies twice, compares."""
    import numpy as np
    from tqdm import tqdm

    from brainjax.datasets import SyntheticTumors
    from brainjax.files import write_text
    from brainjax.infer import Classifier, ScanClassifier
    from brainjax.infer.vote import vote
    from brainjax.report import predictions, tables
    from brainjax.types import ConfigError

    begun = time.perf_counter()
    slices, volumes = _open(_SLICES.value, Classifier), _open(_VOLUMES.value, ScanClassifier)
    if slices.classes != volumes.classes:
        raise ConfigError(
            f"{_SLICES.value} and {_VOLUMES.value} know other classes; choose models of the same ones"
        )
    if volumes.config.data.get("seed") == _SEED.value:
        raise ConfigError(f"--seed={_SEED.value} trained {_VOLUMES.value}; choose another one")
    heads = SyntheticTumors(
        subjects=_SUBJECTS.value, seed=_SEED.value, size=_SIZE.value, slices=_DEPTH.value
    )
    if slices.classes != heads.info.classes:
        raise ConfigError(f"{_SLICES.value} does not know {', '.join(heads.info.classes)}")
    labels, answers, seconds = [], [], {"slices": [], "volume": []}
    found = {"slices": [], "volume": []}
    for scan, label in tqdm(heads.scans(), total=heads.subjects, file=sys.stderr):
        start = time.perf_counter()
        voted = vote(slices, scan, pictures=0)
        middle = time.perf_counter()
        whole = volumes.probabilities([scan])[0]
        seconds["slices"].append(middle - start)
        seconds["volume"].append(time.perf_counter() - middle)
        found["slices"].append([voted.probabilities[name] for name in slices.classes])
        found["volume"].append(whole)
        answers.append(slices.classes.index(voted.answer))
        labels.append(label)
    labels, names = np.array(labels), [f"head_{i:04d}" for i in range(len(labels))]
    rows, per_class, confusion = _scores(found, labels, np.array(answers), seconds, slices.classes)
    text = "\n\n".join(
        [
            tables.table(list(rows.values()), _COLUMNS),
            tables.table(
                [row for way in per_class.values() for row in way],
                ("way", "class", "n", "precision", "recall", "f1", "auroc"),
            ),
        ]
    )
    print(text)
    result = {
        "task": "comparison",
        "dataset": heads.info.name,
        "split": "held-out",
        "protocol": f"{heads.subjects} synthetic heads of seed {heads.seed}, which trained neither model",
        "metrics": {way: {k: v for k, v in row.items() if k != "way"} for way, row in rows.items()},
        "per_class": per_class,
        "confusion": confusion,
        "checkpoints": {"slices": _SLICES.value, "volume": _VOLUMES.value},
        "seconds": round(time.perf_counter() - begun, 1),
    }
    workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None
    if workdir:
        workdir.mkdir(parents=True, exist_ok=True)
        write_text(workdir / "comparison.md", text + "\n")
        for way, p in found.items():
            path = workdir / f"predictions-{way}.csv"
            predictions.write(path, names, slices.classes, np.asarray(p), labels)
    entry.finish(workdir, result)


def _open(name: str, kind: type):
    """The model of that name or folder, or the one that a run stands for."""
    from brainjax.infer import released
    from brainjax.train.restore import open_model
    from brainjax.types import CheckpointError

    folder = pathlib.Path(name)
    model = open_model(folder if folder.is_dir() else released.find(name))
    if not isinstance(model, kind):
        raise CheckpointError(f"{name} is opened with {type(model).__name__}, not {kind.__name__}")
    return model


def _scores(found, labels, answers, seconds, classes):
    """Rows of the table, scores of each class, and the confusion, each by way."""
    import numpy as np

    from brainjax.metrics import classification

    rows, per_class, confusion = {}, {}, {}
    for way, p in found.items():
        p = np.asarray(p, np.float64)
        scores = classification.summarize(p / p.sum(1, keepdims=True), labels, classes)
        per_class[way] = [{"way": way, **row} for row in scores.pop("per_class")]
        confusion[way] = scores.pop("confusion")
        rows[way] = {"way": way, **scores}
        rows[way]["seconds_per_scan"] = round(
            statistics.median(seconds[way][1:] or seconds[way]), 3
        )
    rows["slices"]["accuracy_rule"] = float((answers == labels).mean())
    matrix = classification.confusion_matrix(answers, labels, len(classes))
    confusion["slices_rule"] = matrix.tolist()
    return rows, per_class, confusion


if __name__ == "__main__":
    entry.run(main)
