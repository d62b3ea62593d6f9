r"""Trains a segmentation or classification model, or goes on with a run that was interrupted.

    python -m experiments.train --config=configs/transunet.py
        The embedded synthetic data and a compact TransUNet: a few minutes on two CPU cores.

    python -m experiments.train --config=configs/unet.py:lgg --config.data.dir=DIR
        The LGG data as Kaggle ships it, split by patient.

    python -m experiments.train --config=configs/classifier.py --config.data.dir=DIR
        Four classes of brain tumour images, the folders Training/ and Testing/ as Kaggle ships them.

    python -m experiments.train --config=configs/brats.py:brats --config.data.dir=DIR
        Gliomas in whole volumes of T1, contrast-enhanced T1, T2 and FLAIR, BraTS 2018 to 2023 as distributed.

Any field of the config is a flag: --config.train.steps=500 --config.model.dropout=0.1
--config.optimizer.learning_rate=1e-3 --config.loss.name=jaccard. The same command with the same --workdir
resumes a killed run, bit for bit. On several machines each runs the command, see docs/scaling.md.
Exit codes: 0 done, 1 an error in one line, 75 stopped by SIGTERM or Ctrl-C with its state saved.
"""

import json
import pathlib
import time
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from experiments import entry

_CONFIG = flags.DEFINE_string(
    "config",
    "configs/transunet.py",
    "Config file, with an optional :variant after it. --config.FIELD=VALUE changes a field of it.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the run; default checkpoints/runs/<name of the config>."
)
_PLAN = flags.DEFINE_string(
    "plan",
    None,
    "A plan.json of experiments.prepare, whose numbers replace the config's; --config.FIELD still has the last word.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    "",
    "Several processes train together: HOST:PORT of the first of them, the same in all; 'auto' to find each other as "
    "jax does. Empty: as SLURM's srun or a Cloud TPU pod says, else alone.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", 0, "With --coordinator: how many there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", -1, "With --coordinator: which this is, from 0.")
_QUIET = flags.DEFINE_bool("quiet", False, "No progress bar.")


def main(changes: dict[str, str]) -> None:
    """Trains, scores the test patients, writes the result.

    Args:
        changes: fields of the config that the command line sets, as text.
    """
    # The flags must be parsed, and --help answered, before jax takes its second to load.
    from brainjax.config import load
    from brainjax.override import override
    from brainjax.preprocess import plan
    from brainjax.train import hosts
    from brainjax.train.recipe import targets

    hosts.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    begun = time.perf_counter()
    config = load(_CONFIG.value)
    if _PLAN.value:
        changes = {**plan.load(_PLAN.value).changes(config), **changes}
    config = override(config, changes, targets())
    workdir = pathlib.Path(_WORKDIR.value or f"checkpoints/runs/{config.name}")
    result = train(config, workdir, begun=begun, quiet=_QUIET.value)
    if result is not None:
        entry.finish(workdir, result)


def train(
    config: ConfigDict, workdir: pathlib.Path, *, begun: float, quiet: bool = False
) -> dict[str, Any] | None:
    """Trains what `config` describes in `workdir` and returns the result; of several processes, in the first alone."""
    from brainjax.config import to_dict
    from brainjax.datasets import splits
    from brainjax.infer import release
    from brainjax.infer.calibrate import calibrated
    from brainjax.infer.evaluate import Scores, evaluate
    from brainjax.report import run_report
    from brainjax.train import hosts
    from brainjax.train.loop import Trainer
    from brainjax.train.recipe import make_recipe

    recipe = make_recipe(config)
    _claim(workdir, to_dict(config))
    dataset = recipe.dataset.load()
    split = recipe.split(dataset)
    if not split.leaks:
        splits.check_disjoint(split, dataset)
    trainer = Trainer(recipe, dataset, split, workdir, seed=config.seed, quiet=quiet)
    labels = dataset.target == "label"
    rows_are, groups_are = ("images", "groups of like images") if labels else ("slices", "patients")
    if dataset.rank == 3:
        rows_are, groups_are = "volumes", "patients"
    if hosts.first():
        print(
            f"{config.name}: {type(recipe.model).__name__} with {trainer.parameters:,} parameters; "
            f"{len(split.train)} / {len(split.val)} / {len(split.test)} {rows_are} to train / validate / "
            f"test, of {len(dataset.groups)} {groups_are}\nprotocol: {split.protocol}\nrun: {workdir}",
            flush=True,
        )
        run_report.training_batch(workdir, trainer)
    trainer.run()

    step, variables = trainer.final()
    writes = hosts.first()
    hosts.separate()
    if not writes:
        return None
    predictor, kept = trainer.predictor, to_dict(config)
    if labels and len(split.val):
        predictor = calibrated(predictor, variables, trainer.source, split.val)
        kept["infer"]["temperature"] = predictor.options.temperature
    part = split.judged
    facts = {
        **release.facts_of(dataset),
        "parameters": trainer.parameters,
        "step": step,
        "protocol": split.protocol,
        "trained_on": trainer.trained_on,
    }
    # Before anything else that can fail.
    release.save(workdir / "model", release.Release(kept, facts, variables))
    scores = Scores({}, {} if labels else {"per_volume": []})
    if part != "none":
        rows = split.rows(part)
        scores = evaluate(predictor, variables, trainer.source, rows, progress=not quiet)
        facts["metrics"] = scores.metrics
        release.save(workdir / "model", release.Release(kept, facts, variables))
    result = {
        "task": facts["task"],
        "name": config.name,
        "dataset": dataset.info.name,
        "split": part,
        "protocol": split.protocol,
        "metrics": scores.metrics,
        **scores.details,
        "steps": int(trainer.state.step),
        "chosen_step": step,
        "skipped_steps": int(trainer.state.skipped),
        "parameters": trainer.parameters,
        "seconds": round(time.perf_counter() - begun, 1),
    }
    entry.write(workdir, result)  # a picture that fails must not cost the result
    run_report.curves(workdir, trainer)
    if part != "none":
        scored = run_report.Scored(rows, result, scores.probabilities)
        run_report.final(workdir, trainer, predictor, variables, scored)
    return result


def _claim(workdir: pathlib.Path, config: dict[str, Any]) -> None:
    """Writes config.json, or checks that the run in `workdir` is this one.

    A config that failed before its first checkpoint left nothing to protect: it may be corrected. A result or a model
    is kept, also where the checkpoints are gone.
    """
    from brainjax.files import write_text
    from brainjax.infer import release
    from brainjax.train import hosts
    from brainjax.train.stored import changes
    from brainjax.types import ConfigError

    path = workdir / "config.json"
    begun = any(p.name.isdigit() for p in workdir.glob("checkpoints/*"))
    begun |= (workdir / "result.json").exists() or release.is_release(workdir / "model")
    if begun and path.exists():
        changed = changes(json.loads(path.read_text()), config)
        if changed:
            raise ConfigError(
                f"{workdir} holds a run of another config ({'; '.join(changed[:3])}); choose another "
                f"--workdir, or delete that one"
            )
    if not hosts.first():
        return
    workdir.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    entry.run(main, changes=True)
