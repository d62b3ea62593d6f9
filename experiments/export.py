r"""Turns a finished run into a released model: weights in 16 bits, config, checksums, model card.

    python -m experiments.export --run=checkpoints/runs/unet_lgg --output=checkpoints/lgg_unet

The weights are rounded first and then scored again on the run's own test patients (without any, on those of validation), so that the figures on the card
are those of the file that ships. The folder works wherever a checkpoint is asked for.
"""

import pathlib
import shutil
import time

from absl import flags

from experiments import entry

_RUN = flags.DEFINE_string("run", None, "Directory of a finished run.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.", required=True)
_DTYPE = flags.DEFINE_enum(
    "dtype", "bfloat16", ["bfloat16", "float16", "float32"], "Storage of the weights."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data; default: the run's.")
_LIMITS = flags.DEFINE_string(
    "limits", "", "Sentences for the card's last section: where the model is known to fail."
)
_ALSO = flags.DEFINE_string(
    "also",
    "",
    "Sentences for the card's scores: what else was measured of this model or one trained like it.",
)
_BEGUN_WITH = flags.DEFINE_string(
    "begun_with",
    "",
    "Sentences for the card's licences: whose published weights the training began with, and under which terms.",
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where result.json goes; default <run>/export.")


def main() -> None:
    """Rounds, scores, writes."""
    import dataclasses
    import datetime

    from brainjax.config import bind, build, from_dict, to_dict
    from brainjax.infer import release
    from brainjax.infer.evaluate import evaluate
    from brainjax.report.card import model_card
    from brainjax.report.class_card import class_card
    from brainjax.report.volume_card import volume_card
    from brainjax.train.recipe import targets
    from brainjax.train.restore import open_model
    from brainjax.types import ConfigError

    begun = time.perf_counter()
    run, output = pathlib.Path(_RUN.value), pathlib.Path(_OUTPUT.value)
    final = release.load(run / "model")
    config = from_dict(final.config)
    data = {**config.data.to_dict(), "dir": _DATA_DIR.value} if _DATA_DIR.value else config.data
    dataset = build(data, targets()["data"]).load()
    split = bind(config.split, targets()["split"])(dataset)
    if split.judged == "none":
        raise ConfigError(
            f"{run} was trained on all there is, so nothing scores it; {run / 'model'} is a release as it is, without a card"
        )
    if "dir" in config.data:
        with config.unlocked():  # where the data lay while training is of no use to anyone else
            config.data.dir = pathlib.Path(config.data.dir).name

    rows = split.rows(split.judged)
    stored = dataclasses.replace(final, config=to_dict(config))
    workdir = pathlib.Path(_WORKDIR.value or run / "export")
    # Scored from a draft: an earlier release in --output stays whole until this one is finished.
    draft = release.save(workdir / "draft", stored, dtype=_DTYPE.value)
    model = open_model(draft)
    scores = evaluate(model.predictor, model.variables, model.source(dataset), rows, progress=True)
    facts = {
        **final.facts,
        "metrics": scores.metrics,
        **scores.details,
        "storage": _DTYPE.value,
        "exported": datetime.date.today().isoformat(),
        "limits": _LIMITS.value,
        "also": _ALSO.value,
        "begun_with": _BEGUN_WITH.value,
        "part": split.judged,
    }
    if model.task == "classification":
        facts["n_seen_in_training"] = len({*dataset.identity(rows)} & {*facts["trained_on"]})
    stored = dataclasses.replace(stored, facts=facts)
    write_card = volume_card if dataset.rank == 3 else model_card
    write_card = class_card if model.task == "classification" else write_card
    card = write_card(output.name, stored.config, facts)
    release.save(output, stored, dtype=_DTYPE.value, card=card)
    shutil.rmtree(draft)
    result = {
        "task": "export",
        "dataset": dataset.info.name,
        "split": split.judged,
        "protocol": split.protocol,
        "metrics": scores.metrics,
        **scores.details,
        "output": str(output),
        "bytes": sum(path.stat().st_size for path in output.iterdir() if path.is_file()),
        "seconds": round(time.perf_counter() - begun, 1),
    }
    entry.finish(workdir, result)


if __name__ == "__main__":
    entry.run(main)
