"""A sweep on a cluster: ray (https://docs.ray.io) hands out its groups of trials, the machines train them as ever.

A task is told which trials to train in one JSON text, and answers with their results in another. So nothing of ours
travels pickled, and the machines need not share a disk: with one, an interrupted pack goes on where it stopped; without
one, it begins anew, and weights that are kept stay where they were trained.
"""

import dataclasses
import json
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm

from brainjax.config import from_dict, to_dict
from brainjax.train.sweep import Data, Runner, resolve
from brainjax.train.trial import Trial, groups, make_trials, write_json
from brainjax.types import BrainjaxError, ConfigError


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where tasks run, and what each asks for.

    Attributes:
        address: 'host:port' of a running cluster, or 'auto'; empty for one of this machine alone, which ends with us.
        cpus, gpus: of a task.
    """

    address: str = ""
    cpus: float = 1.0
    gpus: float = 0.0


def run(runner: Runner, base: ConfigDict, trials: Sequence[Trial], cluster: Cluster) -> None:
    """Trains and scores the trials that have no result yet; their results end in `runner.workdir`.

    Args:
        runner: how; its `size` bounds the trials of a pack on each machine.
        base: the config that the trials change.
        trials: of the sweep.
        cluster: where.

    Raises:
        ConfigError: a trial cannot work; ray is not installed, there is no such cluster, none of its nodes has what a task asks for, or
            tasks failed: the others' results stay, and the same call repeats those that did.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigError("--engine=ray needs ray: pip install 'brainjax[ray]'") from error
    left = set(runner.left(trials))
    if not left:
        return
    Data().check([t for t in trials if t.id in left])  # once, here, and not on every machine
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if not cluster.address:
        quiet["include_dashboard"] = False
    try:
        ray.init(address=cluster.address or "local", **quiet)
    except (ConnectionError, ValueError, OSError) as error:
        raise ConfigError(
            f"no ray cluster answers at --ray_address={cluster.address}; start one with `ray start --head`"
        ) from error
    try:
        slots = _slots(ray.nodes(), cluster)
        # A process of its own for each task: jax never gives a GPU's memory back.
        remote = ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_calls=1)(_work)
        by_id = {t.id: t for t in trials}
        waiting = [
            remote.remote(_order(runner, base, [by_id[i] for i in part]))
            for part in divide([[t.id for t in g if t.id in left] for g in groups(trials)], slots)
        ]
        _gather(ray, waiting, by_id, runner, len(left))
    finally:
        ray.shutdown()


def divide(groups: Sequence[Sequence[str]], slots: int) -> list[list[str]]:
    """Groups of trials as tasks: each group into so many even parts that every slot has something to do.

    A part compiles its program anew, so no group is divided further than that.

    Args:
        groups: ids, by the program that trains them; empty ones are left out.
        slots: tasks that can run at the same time.
    """
    groups = [g for g in groups if g]
    tasks = []
    for group in groups:
        parts = min(len(group), math.ceil(slots / len(groups)))
        tasks += [list(group[i::parts]) for i in range(parts)]
    return tasks


def _slots(nodes: Sequence[dict[str, Any]], cluster: Cluster) -> int:
    """Tasks that can run at the same time on what `ray.nodes()` tells.

    Raises:
        ConfigError: none can: a task runs on one node, and ray would wait for ever for one that is large enough.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    wants = {name: n for name, n in (("CPU", cluster.cpus), ("GPU", cluster.gpus)) if n}
    each = [min((int(have.get(k, 0) // n) for k, n in wants.items()), default=1) for have in alive]
    if not any(each):
        told = sorted(f"{h.get('CPU', 0):g} CPUs and {h.get('GPU', 0):g} GPUs" for h in alive)
        raise ConfigError(
            f"no node of the ray cluster has the {cluster.cpus:g} CPUs and {cluster.gpus:g} GPUs that a task asks for "
            f"(there are {', '.join(dict.fromkeys(told)) or 'none'}); lower --ray_cpus or --ray_gpus, or add a larger node"
        )
    return sum(each)


def _order(runner: Runner, base: ConfigDict, trials: Sequence[Trial]) -> str:
    plain = dataclasses.asdict(runner) | {"workdir": str(runner.workdir.resolve()), "quiet": True}
    overrides = [dict(t.overrides) for t in trials]
    return json.dumps({"runner": plain, "base": to_dict(base), "overrides": overrides})


def _work(order: str) -> str:
    """What a worker does: `order` of `_order` -> {'error': ''} and trial -> its config and result."""
    told = json.loads(order)
    options = told["runner"]
    workdir = pathlib.Path(options.pop("workdir"))
    error, trials, found = "", [], {}
    try:
        # Tuples have become lists on the way; a config takes either.
        trials = make_trials(from_dict(told["base"]), told["overrides"])
        runner = Runner(workdir, **options | {"mode": resolve(options["mode"])})
        runner.train(trials, set(runner.left(trials)))
    except BrainjaxError as problem:
        error = str(problem)
    for trial in trials:
        if (result := trial.result(workdir)) is not None:
            found[trial.id] = {"config": dict(trial.config), "result": result}
    return json.dumps({"error": error, "trials": found})


def _gather(ray: Any, waiting: list[Any], by_id: dict[str, Trial], runner: Runner, n: int) -> None:
    """Writes results as they come in, those too whose machine has another disk."""
    errors = []
    with tqdm(
        total=n, unit="trial", dynamic_ncols=True, disable=runner.quiet, file=sys.stderr
    ) as bar:
        while waiting:
            (done,), waiting = ray.wait(waiting)
            try:
                answer = json.loads(ray.get(done))
            except ray.exceptions.RayError as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                errors.append(lines[-1].strip())
                continue
            errors += filter(None, [answer["error"]])
            for name, one in answer["trials"].items():
                folder = by_id[name].folder(runner.workdir)
                if not (folder / "result.json").is_file():
                    write_json(folder / "config.json", one["config"])
                    write_json(folder / "result.json", one["result"])
                bar.update()
    if errors:
        told = "; ".join(dict.fromkeys(" ".join(error.split()) for error in errors))
        raise ConfigError(
            f"{len(errors)} ray tasks failed ({told}); results so far stay, and the same command repeats the rest"
        )
