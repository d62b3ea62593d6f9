"""The model card of a released skull stripper."""

from typing import Any

from brainjax.report.card_words import shared

_CARD = """# {name}

{model} with {parameters:,} trainable parameters that finds the brain in head MRI of any contrast. Weights in
{storage}; computation in float32.

**Research use only. Not a medical device: it must not be used for diagnosis or treatment.**

## Use

```sh
brainjax strip head.nii.gz brain.nii.gz --mask mask.nii.gz
```

```python
from brainjax.infer import Stripper
from brainjax.io import read_volume, write_volume
mask = Stripper.load("{name}")(read_volume("head.nii.gz"))
write_volume("mask.nii.gz", mask)
```

The scan's header must say truly which way is up. The network sees a box of {box} mm at {spacing:g} mm, placed about
the head and then about the brain found in it; the mask is brought back to the scan's own voxels.

The mask holds the brain with the fluid around it {reach}, and ends below the cerebellum.

## Scores

Measured {exported} on {n_heads} real heads, none of which took part in training. A mask of another tool is an
opinion, not the truth.

| head | compared with | Dice | HD95 mm | volume ml | reference ml |
|---|---|---|---|---|---|
{rows}

## Training

{steps} steps{init}, heads a step: {batch_size}; loss `{loss}`, optimizer `{optimizer}`, learning rate {rate:g}. Every step drew new heads
from {n_train} label maps: their pose, size and shape, any contrast or that of a real sequence, lesions, coil shading,
thick slices, noise, fields of view that end early. No scan of anybody was used. All options are in `config.json`.

## Data and licence

{citation}. Licence: {licence}. The weights carry it too.

## Limits

Brains after large resections, animals, specimens and fetuses are untested. Fields of view that show little of the
brain are hard.{limits}
"""


def strip_card(name: str, config: dict[str, Any], facts: dict[str, Any]) -> str:
    """Markdown text of a model card.

    Args:
        name: of the release folder.
        config: the training config as a plain dict.
        facts: of the run, with `per_head`, `storage`, `exported` and `limits` added.
    """
    augment, reach = config["augment"], _reach(**config["data"])
    columns = ("case", "against", "dice", "hd95_mm", "volume_ml", "reference_ml")
    rows = [
        " | ".join(["", *(str(row[c]) for c in columns), ""]).strip() for row in facts["per_head"]
    ]
    common = shared(name, config, facts)
    common["limits"] = f" {facts['limits']}" if facts.get("limits") else ""
    return _CARD.format(
        **common,
        box=" x ".join(f"{n * augment['spacing']:g}" for n in augment["shape"]),
        spacing=augment["spacing"],
        reach=reach,
        n_heads=len({row["case"] for row in facts["per_head"]}),
        rows="\n".join(rows),
        init=f" on top of the run in `{config['train']['init']}`"
        if config["train"].get("init")
        else "",
        rate=config["optimizer"]["learning_rate"],
    )


def _reach(fluid: float = 0.0, cisterns: float = 0.0, bridge: float = 0.0, **_: Any) -> str:
    """How far off the brain its fluid belongs to it, as the card says it."""
    hollows = f", with hollows of the skull's base up to {2 * bridge:g} mm wide" if bridge else ""
    if not fluid:
        return f"up to the dura{hollows}"
    whole = f", and all of it within {cisterns:g} mm of the brain stem" if cisterns else ""
    return f"up to {fluid:g} mm off its closed surface{whole}{hollows}"
