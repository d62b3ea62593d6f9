"""The model card of a released model that segments whole volumes."""

from typing import Any

from brainjax.report import tables
from brainjax.report.card_words import shared

_CARD = """# {name}

{model} with {parameters:,} trainable parameters for {classes}, in volumes with the channels
{channels}, voxels of about {spacing} mm. Weights in {storage}; computation in float32.

**Research use only. Not a medical device: it must not be used for diagnosis or treatment.**

## Use

```sh
python -m experiments.predict --checkpoint=checkpoints/{name} --workdir=OUTPUT DIR
python -m experiments.evaluate --checkpoint=checkpoints/{name} --data_dir=DIR --split=all
```

```python
from brainjax.infer import Segmenter
model = Segmenter.load("checkpoints/{name}")
mask = model(volume)  # [X, Y, Z, {count}] in RAS+ -> bool on the same grid
```

The network sees patches of {patch} voxels, which overlap and are blended.

## Scores

Protocol: {protocol}. Measured on {n_volumes} volumes{independent}, on the grid they were trained on, {exported}.
Where prediction and truth are both empty a score counts as {empty!r}.{also}

{table}

Per volume, Dice:

{volumes}

## Training

{beginning}{steps} steps of {batch_size} patches, loss `{loss}`, optimizer `{optimizer}`, on {n_train} patients of {dataset}; their names
are in `config.json` under `facts.trained_on`, beside every option of the run.

## Data and licence

{rights}

## Limits

Trained on {dataset} alone; other scanners, protocols and diseases are untested. The table above shows the patients
on whom it does badly. The mask is what the annotators of {dataset} outlined, nothing else.{limits}
"""

_SCORES = (
    ("Dice", "dice{}_volume_mean"),
    ("Dice, median", "dice{}_volume_median"),
    ("Dice after clean-up", "dice{}_volume_mean_post"),
    ("IoU", "jaccard{}_volume_mean"),
    ("HD95 in mm", "hd95{}_volume_mean"),
    ("surface Dice", "nsd{}_volume_mean"),
)


def volume_card(name: str, config: dict[str, Any], facts: dict[str, Any]) -> str:
    """Markdown text of a model card.

    Args:
        name: of the release folder.
        config: the training config as a plain dict.
        facts: what `experiments.export` gathered, scores included.
    """
    metrics, classes = facts["metrics"], facts["classes"]
    parts = {"all": "", **({c: f"_{c}" for c in classes} if len(classes) > 1 else {})}
    columns = {"region": "region", **{key: heading for heading, key in _SCORES}}
    rows = [
        {"region": part, **{key: metrics.get(key.format(end)) for _, key in _SCORES}}
        for part, end in parts.items()
    ]
    dice = {"group": "volume", **{f"dice{end}": part for part, end in parts.items()}}
    patch = config["infer"].get("patch") or config["augment"].get("patch") or ("all",)
    seen = {v["group"] for v in facts["per_volume"]} & {*facts["trained_on"]}
    return _CARD.format(
        **shared(name, config, facts),
        count=len(facts["channels"]),
        spacing=" x ".join(f"{s:.3g}" for s in facts["spacing_mm"]),
        patch=" x ".join(map(str, patch)),
        n_volumes=metrics["n_volumes"],
        independent=f", {len(seen)} of which trained it"
        if seen
        else " of patients that took no part in training",
        empty=config["infer"]["empty"],
        table=tables.table(rows, columns),
        volumes=tables.table(facts["per_volume"], dice),
    )
