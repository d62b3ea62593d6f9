"""Suite `sweep`: N small classifiers in one program ('packed'), one after another by one program ('sequential') and as
runs of their own ('alone'); and by Keras, one after another.

Times are from data in memory to trained weights, compiling included, importing not.
"""

import pathlib
import statistics
import tempfile
from typing import Any

from experiments.benchmarks import child
from experiments.benchmarks.rounds import Contestant, Groups, Options, Runs
from experiments.benchmarks.sweep_data import images
from experiments.benchmarks.table import Summary

PEERS = ("keras",)
OURS = ("packed", "sequential", "alone")
FIELDS = ("trials", "steps", "batch_size", "size", "width")
SMALL = {"trials": 2, "steps": 2, "batch_size": 4, "size": 8, "width": 2}


def groups(options: Options) -> Groups:
    """One group: the three ways, and Keras."""
    fields = SMALL if options.small else {name: options.other[name] for name in FIELDS}
    trials = fields["trials"]
    rest = {name: value for name, value in fields.items() if name != "trials"}
    # The learning rates of the trials, the same for every contestant.
    same = {"rates": [1e-3 * 1.25**i for i in range(trials)], **rest}
    who = {how: Contestant("sweep:train", {"how": how, **same}) for how in OURS}
    if "keras" in options.peers:
        env = {"KERAS_BACKEND": options.other.get("keras_backend", "torch")}
        who["keras"] = Contestant("peer_keras:trials", same, env, peer=True)
    return {"sweep": who}


def metrics(runs: Runs, summary: Summary) -> dict[str, float]:
    """Median seconds, of the wall and of all cores, trials a minute, and how many times as many 'packed' does."""
    found: dict[str, float] = {}
    replies = {name: r for name, r in runs.get("sweep", {}).items() if r}
    for name, each in replies.items():
        for key in ("seconds", "cpu_seconds"):
            found[f"{name}_{key}"] = round(statistics.median(r[key] for r in each), 2)
    seconds = {n: statistics.median(r["seconds"] for r in each) for n, each in replies.items()}
    for name, each in seconds.items():
        trials = replies[name][0]["units"]
        found[f"{name}_trials_per_minute"] = round(60 * trials / each, 2)
        if name != "packed" and "packed" in seconds:
            found[f"packed_over_{name}"] = round(each / seconds["packed"], 2)
    return found


def train(
    how: str, rates: list[float], steps: int, batch_size: int, size: int, width: int
) -> dict[str, Any]:
    """Trains one trial a learning rate, the way `how` says."""
    import jax
    import numpy as np
    import optax

    from brainjax import sweep
    from brainjax.config import spec
    from brainjax.datasets.base import DatasetInfo, LabelledDataset
    from brainjax.models import VGG
    from brainjax.train.loop import Trainer
    from brainjax.train.pack import Pack, Program
    from brainjax.train.signals import StopRequest
    from brainjax.train.trial import make_trials
    from configs import base

    image, label = images(size)
    names = tuple(f"{i:04d}" for i in range(len(label)))
    data = LabelledDataset(
        info=DatasetInfo("noise", ("grey",), tuple("abcd"), "none", "nobody"),
        image=image,
        label=label,
        group=np.arange(len(label), dtype=np.int32),
        groups=names,
        name=names,
        part=("",) * len(names),
        content=names,
    )
    model = spec(VGG, num_classes=4, convs=(1, 1, 1), width=width)
    config = base.tumour_images("benchmark", model).copy_and_resolve_references()
    with config.unlocked():
        # What the peers do not do is off.
        config.split.update(test=0.1, val=0.0)
        config.input.update(normalize="none", balance=False, foreground=0.0)
        strengths = {k: 0.0 for k, v in config.augment.items() if isinstance(v, float)}
        config.augment.update(**strengths, flip=(0.0, 0.0))
        config.loss.label_smoothing = 0.0
        config.optimizer = spec(optax.adam, learning_rate=1e-3)
        config.train.update(steps=steps, batch_size=batch_size, ema=0.0, clip_norm=0.0)
        config.train.update(checkpoint_every=steps, eval_every=steps, log_every=steps)
    trials = make_trials(config.lock(), sweep.grid({"optimizer.learning_rate": rates}))
    source, split = trials[0].recipe.source(data), trials[0].recipe.split(data)

    def pack(program: Program, some: list[Any], folder: pathlib.Path) -> None:
        made = Pack(program, some, [split] * len(some), folder)
        with StopRequest() as stop:
            made.train(stop)
        jax.block_until_ready(made.states)
        made.close()

    with tempfile.TemporaryDirectory() as name:
        folder, clock = pathlib.Path(name), child.Clock()
        if how == "alone":
            for i, t in enumerate(trials):
                run = Trainer(t.recipe, data, split, folder / str(i), seed=t.seed, quiet=True)
                run.run()
                jax.block_until_ready(run.state)
        else:
            program, count = Program(trials, source), len(trials) if how == "packed" else 1
            for i in range(0, len(trials), count):
                pack(program, trials[i : i + count], folder / str(i))
        spent = clock.read()
    device = jax.devices()[0].device_kind
    return {**spent, "units": len(rates), "unit": "trials", "device": device}
