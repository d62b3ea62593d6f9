"""The model card of a released model: what it is, what it was trained on, how well it does, what it is not."""

from typing import Any

from brainjax.report.card_words import number, shared

_CARD = """# {name}

{model} with {parameters:,} trainable parameters for {classes}, in slices with the channels
{channels}. Weights in {storage}; computation in float32.

**Research use only. Not a medical device: it must not be used for diagnosis or treatment.**

## Use

```python
from brainjax.infer import Segmenter
model = Segmenter.load("checkpoints/{name}")
mask = model(volume)  # [slices, height, width, {count}] -> [slices, height, width] bool, same grid
```

```sh
python -m experiments.evaluate --checkpoint=checkpoints/{name} --data_dir=DIR --split=all
```

Slices of one patient are given together, in scan order: intensities are normalised per patient volume and each
slice is seen with its {context} neighbours.

## Scores

Protocol: {protocol}. Measured on {n_volumes} patients ({n_slices} slices){independent}, on the
native grid, {exported}. Where prediction and truth are both empty a slice counts as {empty!r}.{also}

| metric | as predicted | after 3D clean-up |
|---|---|---|
{rows}

Per patient:

| patient | slices | Dice | Dice after clean-up |
|---|---|---|---|
{volumes}

## Training

{beginning}{steps} steps of {batch_size} slices at {size}, loss `{loss}`, optimizer `{optimizer}`, on {n_train} patients of {dataset};
their names are in `config.json` under `facts.trained_on`, beside every option of the run.

## Data and licence

{rights}

## Limits

Trained on {dataset} alone; other scanners, protocols and diseases are untested. The table above shows the patients
on whom it does badly. The mask is what the annotators of {dataset} outlined, nothing else.{limits}
"""

_METRICS = (
    ("Dice per volume, mean", "dice_volume_mean"),
    ("Dice per volume, median", "dice_volume_median"),
    ("Dice per slice, mean", "dice_slice_mean"),
    ("Dice of slices with a lesion, mean", "dice_foreground_slice_mean"),
    ("Jaccard per volume, mean", "jaccard_volume_mean"),
    ("Jaccard per slice, mean", "jaccard_slice_mean"),
    ("Precision per volume, mean", "precision_volume_mean"),
    ("Recall per volume, mean", "recall_volume_mean"),
)


def model_card(name: str, config: dict[str, Any], facts: dict[str, Any]) -> str:
    """Markdown text of a model card.

    Args:
        name: of the release folder.
        config: the training config as a plain dict.
        facts: what `experiments.export` gathered, scores included.
    """
    metrics = facts["metrics"]
    rows = [
        f"| {label} | {number(metrics[key])} | {number(metrics[f'{key}_post'])} |"
        for label, key in _METRICS
    ]
    volumes = [
        f"| {v['group']} | {v['n_slices']} | {number(v['dice'])} | {number(v['dice_post'])} |"
        for v in facts["per_volume"]
    ]
    size = config["input"]["size"]
    tested = {v["group"] for v in facts["per_volume"]}
    seen = tested & set(facts["trained_on"])
    return _CARD.format(
        **shared(name, config, facts),
        count=len(facts["channels"]),
        context=config["input"]["context"] - 1,
        n_volumes=metrics["n_volumes"],
        n_slices=metrics["n_slices"],
        independent=f", {len(seen)} of whom trained it"
        if seen
        else " that took no part in training",
        empty=config["infer"]["empty"],
        rows="\n".join(rows),
        volumes="\n".join(volumes),
        size=f"{size} x {size}" if size else "native size",
    )
