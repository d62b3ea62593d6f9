r"""Runs every trial of a sweep, or goes on with one that was interrupted, and reports on all of them.

    python -m experiments.sweep --config=configs/unet.py --sweep=configs/sweeps/seeds.py --workdir=DIR
        The run of configs/unet.py from five seeds.

    python -m experiments.sweep --config=configs/classifier.py:reference --sweep=configs/sweeps/r0_grid.py --workdir=DIR
        4 networks x 3 losses x 3 optimizers.

--config is the run that every trial changes; its fields are flags here too (--config.train.steps=500). --sweep is a file
whose get_sweep() returns a list of changes, made by grid, zipped, product and chain of brainjax.sweep. All trials
are checked before the first one starts.

Trials that differ in nothing but loss, optimizer, schedule, split and seed share one compiled program. --pack says
how: 'packed' trains them side by side, --pack_size at once; 'devices' divides them among the devices; 'sequential' one
after another, compiled once; 'auto' chooses. The numbers are the same to rounding, and those of
experiments.train. No trial is stopped early, and the last averaged weights are scored; a classifier's with the
temperature that is fitted on its validation images.

The same command resumes: finished trials are not repeated. A trial that diverges, or whose last step was not finite, is
recorded as such, and the others go on. On several machines: --shard=1/4 to --shard=4/4, with one --workdir on a shared disk, or with one
each, which --report_only --merge=DIR1,DIR2,... puts together. Or --engine=ray (pip install 'brainjax[ray]'), with
--ray_address=HOST:PORT of a running cluster, whose machines then share out the groups among them.

In --workdir: sweep.csv (a row a trial), sweep.md (means with 95 % intervals over seeds and folds, ranking), sweep.png
(box plots), result.json, and trials/<id>/ with each trial's config.json and result.json. Exit codes: 0 done, 1 an
error, 75 stopped by SIGTERM or Ctrl-C with its state saved.
"""

import json
import pathlib
import time
from typing import Any

from absl import flags

from experiments import entry

_CONFIG = flags.DEFINE_string(
    "config",
    "configs/classifier.py:reference",
    "Config file, with an optional :variant after it. --config.FIELD=VALUE changes a field of it.",
)
_SWEEP = flags.DEFINE_string(
    "sweep",
    "configs/sweeps/r0_grid.py",
    "File that makes the sweep, with an optional :variant after it.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Directory of the sweep; default checkpoints/runs/<name of the config>-<sweep>.",
)
_SHARD = flags.DEFINE_string("shard", "1/1", "i/n: run this one of n parts, counted from 1.")
_PACK = flags.DEFINE_string("pack", "auto", "auto, packed, devices or sequential.")
_SIZE = flags.DEFINE_integer("pack_size", 0, "Trials trained at once at most; 0 for all.")
_KEEP = flags.DEFINE_bool("keep_weights", False, "Keep each trial's weights in trials/<id>/model.")
_METRIC = flags.DEFINE_string(
    "metric", "", "Name in the results' metrics to report; default: what the config monitors."
)
_ONLY = flags.DEFINE_bool(
    "report_only", False, "Train nothing; report on the results that are there."
)
_MERGE = flags.DEFINE_list("merge", [], "Further directories of this sweep to report on.")
_ENGINE = flags.DEFINE_enum("engine", "local", ["local", "ray"], "Who runs the trials.")
_ADDRESS = flags.DEFINE_string(
    "ray_address", "", "Of a ray cluster; empty: one of this machine alone."
)
_CPUS = flags.DEFINE_float("ray_cpus", 1.0, "Cores that a ray task asks for.", lower_bound=0.0)
_GPUS = flags.DEFINE_float("ray_gpus", 0.0, "GPUs that a ray task asks for.", lower_bound=0.0)
_QUIET = flags.DEFINE_bool("quiet", False, "No progress bar.")


def main(changes: dict[str, str]) -> None:
    """Runs the sweep and reports.

    Args:
        changes: fields of the config that the command line sets, as text.
    """
    # The flags must be parsed, and --help answered, before jax takes its second to load.
    from brainjax import sweep
    from brainjax.config import load
    from brainjax.override import override
    from brainjax.train.recipe import targets

    begun = time.perf_counter()
    stem = "-".join(filter(None, _SWEEP.value.replace(".py", "").rpartition("/")[2].split(":")))
    if _ONLY.value and _WORKDIR.value:
        workdir = pathlib.Path(_WORKDIR.value)
    else:
        base = override(load(_CONFIG.value), changes, targets())
        workdir = pathlib.Path(_WORKDIR.value or f"checkpoints/runs/{base.name}-{stem}")
    if not _ONLY.value:
        run(sweep.load(_SWEEP.value), base, workdir)
    entry.finish(workdir, report(workdir, begun=begun, name=stem))


def run(overrides: list[dict[str, Any]], base: Any, workdir: pathlib.Path) -> None:
    """Runs this shard's trials that have no result yet."""
    from brainjax import sweep
    from brainjax.train.sweep import Runner, resolve
    from brainjax.train.trial import groups, make_trials, write_json

    # Of a cluster, the worker's machine decides.
    mode = resolve(_PACK.value) if _ENGINE.value == "local" else _PACK.value
    mine = sweep.shard(overrides, _SHARD.value)
    trials = make_trials(base, overrides)
    left = sum(t.result(workdir) is None for t in sweep.shard(trials, _SHARD.value))
    plan = [{"id": t.id, "overrides": t.overrides} for t in trials]
    write_json(workdir / "sweep.json", {"trials": plan})
    print(
        f"{len(trials)} trials in {len(groups(trials))} group(s) of one program each; "
        f"{len(mine)} here, {left} to do, {mode}\nsweep: {workdir}",
        flush=True,
    )
    runner = Runner(workdir, mode, _SIZE.value, _KEEP.value, _QUIET.value)
    if _ENGINE.value == "local":
        runner.run(trials, _SHARD.value)
        return
    from brainjax.train import cluster

    wanted = cluster.Cluster(_ADDRESS.value, _CPUS.value, _GPUS.value)
    cluster.run(runner, base, sweep.shard(trials, _SHARD.value), wanted)


def report(workdir: pathlib.Path, *, begun: float, name: str) -> dict[str, Any]:
    """Writes sweep.csv, sweep.md and sweep.png; returns the result."""
    from brainjax.files import write_text
    from brainjax.report import figures
    from brainjax.report import sweep as tables

    found = tables.read([workdir, *_MERGE.value], _METRIC.value)
    text = tables.markdown(found, name)
    write_text(workdir / "sweep.csv", tables.to_csv(found))
    write_text(workdir / "sweep.md", text)
    print(text)
    if found.values(found.trials):
        title = f"{name}: {len(found.trials)} trials"
        figures.boxes(workdir / "sweep.png", found, title=title)
    rows = [row for row in tables.summary(found) if row["n"]]
    return {
        "task": "sweep",
        "name": name,
        "dataset": sorted({t["dataset"] for t in found.trials}),
        "split": sorted({t["split"] for t in found.trials}),
        "metric": found.metric,
        "metrics": {
            "trials": len(found.trials),
            "diverged": sum(t["status"] == "diverged" for t in found.trials),
            "missing": len(found.missing),
        },
        "best": json.loads(json.dumps(rows[0])) if rows else None,
        "seconds": round(time.perf_counter() - begun, 1),
        "seconds_in_trials": round(sum(t["seconds"] for t in found.trials), 1),
    }


if __name__ == "__main__":
    entry.run(main, changes=True)
