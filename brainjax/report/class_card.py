"""The model card of a released classifier, of pictures or of volumes."""

from typing import Any

from brainjax.report.card_words import number, shared

_CARD = """# {name}

{model} with {parameters:,} trainable parameters that tells {classes} apart in {shown}. Weights in
{storage}; computation in float32.

**Research use only. Not a medical device: it must not be used for diagnosis or treatment.**

## Use

{use}

## Scores

Protocol: {protocol}.{also} Measured on {n_images} {images}{independent}, {exported}; mirrored images are averaged in
({tta}); probabilities are at temperature {temperature}, fitted on validation {images}.

| metric | value |
|---|---|
{rows}

| class | {images} | precision | recall | F1 | AUROC |
|---|---|---|---|---|---|
{per_class}

Confusion, true class by predicted class:

| | {columns} |
|---|{rules}|
{confusion}

{apart}

## Training

{beginning}{steps} steps of {batch_size} {images}, loss `{loss}`, optimizer `{optimizer}`, on {n_train} different {images} of
{dataset}; hashes of their pixels are in `config.json` under `facts.trained_on`, beside every option of the run.

## Data and licence

{rights}

## Limits

{known}{limits}
"""

_PICTURES = {
    "images": "images",
    "shown": "single images of the head",
    "use": """```python
from brainjax.infer import Classifier
model = Classifier.load("checkpoints/{name}")
model(image)  # [height, width] or [height, width, 3] uint8 -> {{class: probability}}
```

```sh
python -m experiments.predict --checkpoint=checkpoints/{name} IMAGE_OR_FOLDER
python -m experiments.evaluate --checkpoint=checkpoints/{name} --data_dir=DIR --split=all
```

An image is made grey, {cropped}resized to {size} x {size} and scaled by its own intensities.""",
    "apart": """The interval treats images as independent. Images that are alike were kept on one side, but the data set does not say
which images are of one patient: those of one patient that look different may be on both sides, so the figures for
new patients may be lower.""",
    "known": """Trained on {dataset} alone: its pictures come from unknown scanners, sequences and patients, and "no tumour" images partly
from other sources than the tumours. An image of anything else is given one of these classes all the same.""",
}
_VOLUMES = {
    "images": "volumes",
    "shown": "whole heads, volumes of the sequence {channels}",
    "use": """```python
from brainjax.infer import ScanClassifier
from brainjax.io import read_volume
model = ScanClassifier.load("checkpoints/{name}")
model(read_volume("scan.nii.gz"))  # -> {{class: probability}}
```

```sh
python -m experiments.predict --checkpoint=checkpoints/{name} SCAN_OR_FOLDER
python -m experiments.compare_volumes --volumes=checkpoints/{name}
```

A scan is turned to RAS+, resampled to {spacing} mm, cut to a box of {shape} voxels about the brain and scaled by its own
intensities. It must show the whole head, not a stripped brain.""",
    "apart": "The interval treats volumes as independent; every one is of another patient.",
    "known": """Trained on {dataset} alone. Where these are generated heads, the scores say how well it tells generated tumours apart,
not how it does on patients. A scan of anything else is given one of these classes all the same.""",
}

_METRICS = (
    ("accuracy", "accuracy"),
    ("balanced accuracy", "balanced_accuracy"),
    ("F1, mean over classes", "f1_macro"),
    ("AUROC, mean over classes", "auroc_macro"),
    ("negative log-likelihood", "nll"),
    ("expected calibration error", "ece"),
    ("Brier score", "brier"),
)


def class_card(name: str, config: dict[str, Any], facts: dict[str, Any]) -> str:
    """Markdown text of a classifier's model card.

    Args:
        name: of the release folder.
        config: the training config as a plain dict.
        facts: what `experiments.export` gathered, scores included.
    """
    kind, data = _VOLUMES if facts.get("rank") == 3 else _PICTURES, config["data"]
    common = shared(name, config, facts)
    own = {
        **common,
        "cropped": "cropped to the head, " if data.get("crop") else "",
        "size": data.get("size"),
        "spacing": data.get("spacing"),
        "shape": " x ".join(map(str, data.get("shape", ()))),
    }
    metrics, per_class = facts["metrics"], facts["per_class"]
    rows = [f"| {label} | {number(metrics[key])} |" for label, key in _METRICS]
    low, high = metrics["accuracy_ci95"]
    rows.insert(1, f"| its 95 % interval | {low:.4f} to {high:.4f} |")
    return _CARD.format(
        **common,
        **{key: text.format(**own) for key, text in kind.items()},
        n_images=metrics["n_images"],
        independent=_independent(facts["n_seen_in_training"], facts.get("part")),
        tta="`infer.tta`: " + config["infer"]["tta"],
        temperature=config["infer"]["temperature"],
        rows="\n".join(rows),
        per_class="\n".join(
            f"| {c['class']} | {c['n']} | "
            + " | ".join(number(c[k]) for k in ("precision", "recall", "f1", "auroc"))
            + " |"
            for c in per_class
        ),
        columns=" | ".join(facts["classes"]),
        rules="|".join("---" for _ in facts["classes"]),
        confusion="\n".join(
            f"| {c} | {' | '.join(map(str, counts))} |"
            for c, counts in zip(facts["classes"], facts["confusion"], strict=True)
        ),
    )


def _independent(seen: int, part: str | None) -> str:
    """What the scored pictures had to do with the model."""
    if seen:
        return f", {seen} of which trained it"
    if part == "val":
        return " that chose its temperature and took no other part in training"
    return " that took no part in training"
