r"""Measures how fast things run, each contestant in a process of its own, in turns.

    python -m experiments.benchmark --suite=sweep
        N small classifiers trained in one program ('packed'), one after another by one program ('sequential') and as
        runs of their own ('alone').
    python -m experiments.benchmark --suite=sweep --peers=keras --peer_python=VENV/bin/python
        And by Keras, one after another; keras and its backend may live in another environment (extra `parity`).

Every round runs each contestant once, in an order that turns, so that what else the machine does strikes all alike; the
medians count. Times are from data in memory to trained weights, compiling included, importing not; on a busy machine
the seconds of processor time beside them say more. JSON in --workdir and as the last line.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import flags

from experiments import entry

OURS = ("packed", "sequential", "alone")

_SUITE = flags.DEFINE_enum("suite", "sweep", ["sweep"], "What to measure.")
_WORKDIR = flags.DEFINE_string("workdir", "checkpoints/runs/benchmark", "Where result.json goes.")
_PEERS = flags.DEFINE_list("peers", [], "Other libraries to measure too: keras.")
_PYTHON = flags.DEFINE_string("peer_python", sys.executable, "Interpreter that has the peers.")
_BACKEND = flags.DEFINE_string(
    "keras_backend", "torch", "Backend of Keras: torch, jax or tensorflow."
)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Times that each contestant runs.", lower_bound=1)
_TRIALS = flags.DEFINE_integer("trials", 8, "Trials of the sweep.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 200, "Training steps of a trial.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", 32, "Examples a step.", lower_bound=1)
_SIZE = flags.DEFINE_integer("size", 32, "Edge of the images, a multiple of 8.", lower_bound=8)
_WIDTH = flags.DEFINE_integer(
    "width", 16, "Channels of the first of three convolutions.", lower_bound=1
)
_ONE = flags.DEFINE_string(
    "contestant", "", "Run this one, once, in this process: for the children."
)


def main() -> None:
    """Measures in child processes, or, as such a child, once."""
    if _ONE.value:
        contestant = keras_trials if _ONE.value == "keras" else jax_trials
        print(json.dumps(contestant(_ONE.value)))
        return
    begun = time.perf_counter()
    names = [*_PEERS.value, *OURS]  # a peer that is not installed ends it at once
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(_ROUNDS.value):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(_child(name))
            print(f"round {turn + 1}: {name} {found[name][-1]['seconds']:.1f} s", file=sys.stderr)
    seconds, cpu = (
        {name: statistics.median(r[key] for r in runs) for name, runs in found.items()}
        for key in ("seconds", "cpu_seconds")
    )
    rates = {name: 60 * _TRIALS.value / s for name, s in seconds.items()}
    result = {
        "task": "benchmark",
        "suite": _SUITE.value,
        "setting": {
            "trials": _TRIALS.value,
            "steps": _STEPS.value,
            "batch_size": _BATCH.value,
            "size": _SIZE.value,
            "width": _WIDTH.value,
            "rounds": _ROUNDS.value,
            "device": found["packed"][0]["device"],
            **({"keras_backend": _BACKEND.value} if "keras" in names else {}),
        },
        "metrics": {
            **{f"{name}_seconds": round(s, 2) for name, s in seconds.items()},
            **{f"{name}_cpu_seconds": round(s, 2) for name, s in cpu.items()},
            **{f"{name}_trials_per_minute": round(r, 2) for name, r in rates.items()},
            **{
                f"packed_over_{name}": round(rates["packed"] / rates[name], 2)
                for name in names
                if name != "packed"
            },
        },
        "runs": found,
        "seconds": round(time.perf_counter() - begun, 1),
    }
    workdir = pathlib.Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    entry.finish(workdir, result)


def _child(name: str) -> dict[str, Any]:
    """Runs one contestant in a process of its own."""
    from brainjax.types import BrainjaxError

    python = _PYTHON.value if name in _PEERS.value else sys.executable
    flag = {"trials": _TRIALS, "steps": _STEPS, "batch_size": _BATCH, "size": _SIZE}
    flag |= {"width": _WIDTH, "keras_backend": _BACKEND, "contestant": None}
    values = [f"--{k}={name if f is None else f.value}" for k, f in flag.items()]
    try:
        done = subprocess.run(
            [python, "-m", "experiments.benchmark", *values],
            # Nobody finds a program that another one, or an earlier round, has compiled.
            env={
                **os.environ,
                "BRAINJAX_COMPILATION_CACHE": "",
                "JAX_ENABLE_COMPILATION_CACHE": "0",
            },
            capture_output=True,
            text=True,
        )
    except OSError as error:
        raise BrainjaxError(f"--peer_python={python} cannot be run: {error.strerror}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BrainjaxError(f"contestant {name} failed: {last}; see --peers and --peer_python")
    return json.loads(done.stdout.splitlines()[-1])


def rate(trial: int) -> float:
    """Learning rate of a trial, the same for every contestant."""
    return 1e-3 * 1.25**trial


def images() -> tuple[Any, Any]:
    """[N H W 1] uint8 and [N] int32: noise of four brightnesses."""
    import numpy as np

    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(4, dtype=np.int32), 128)
    image = rng.integers(0, 64, (512, _SIZE.value, _SIZE.value, 1), np.uint8)
    return image + 48 * label[:, None, None, None].astype(np.uint8), label


def jax_trials(how: str) -> dict[str, Any]:
    """Trains all trials with brainjax, the way `how` says."""
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

    image, label = images()
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
    model = spec(VGG, num_classes=4, convs=(1, 1, 1), width=_WIDTH.value)
    config = base.tumour_images("benchmark", model).copy_and_resolve_references()
    steps = _STEPS.value
    with config.unlocked():
        # What the peers do not do is off.
        config.split.update(test=0.1, val=0.0)
        config.input.update(normalize="none", balance=False, foreground=0.0)
        strengths = {k: 0.0 for k, v in config.augment.items() if isinstance(v, float)}
        config.augment.update(**strengths, flip=(0.0, 0.0))
        config.loss.label_smoothing = 0.0
        config.optimizer = spec(optax.adam, learning_rate=1e-3)
        config.train.update(steps=steps, batch_size=_BATCH.value, ema=0.0, clip_norm=0.0)
        config.train.update(checkpoint_every=steps, eval_every=steps, log_every=steps)
    rates = [rate(i) for i in range(_TRIALS.value)]
    trials = make_trials(config.lock(), sweep.grid({"optimizer.learning_rate": rates}))
    source, split = trials[0].recipe.source(data), trials[0].recipe.split(data)

    def pack(program: Program, some: list[Any], folder: pathlib.Path) -> None:
        made = Pack(program, some, [split] * len(some), folder)
        with StopRequest() as stop:
            made.train(stop)
        jax.block_until_ready(made.states)
        made.close()

    with tempfile.TemporaryDirectory() as name:
        folder, clock = pathlib.Path(name), _Clock()
        if how == "alone":
            for i, t in enumerate(trials):
                run = Trainer(t.recipe, data, split, folder / str(i), seed=t.seed, quiet=True)
                run.run()
                jax.block_until_ready(run.state)
        else:
            program, size = Program(trials, source), len(trials) if how == "packed" else 1
            for i in range(0, len(trials), size):
                pack(program, trials[i : i + size], folder / str(i))
        spent = clock.read()
    return {**spent, "device": jax.devices()[0].device_kind}


def keras_trials(_: str) -> dict[str, Any]:
    """Trains all trials with Keras, one after another, as its users do: compile and fit."""
    os.environ["KERAS_BACKEND"] = _BACKEND.value
    import keras
    import numpy as np

    image, label = images()
    rows = np.random.default_rng(1).integers(0, len(label), _STEPS.value * _BATCH.value)
    x, y = image[rows].astype(np.float32), np.eye(4, dtype=np.float32)[label[rows]]
    clock = _Clock()
    for trial in range(_TRIALS.value):
        net = keras.Sequential([keras.layers.Input(x.shape[1:])])
        for i in range(3):
            net.add(keras.layers.Conv2D(_WIDTH.value << i, 3, padding="same", activation="relu"))
            net.add(keras.layers.MaxPooling2D())
        net.add(keras.layers.GlobalAveragePooling2D())
        net.add(keras.layers.Dense(4))
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        net.compile(keras.optimizers.Adam(rate(trial)), loss)
        net.fit(x, y, batch_size=_BATCH.value, epochs=1, verbose=0)
    return clock.read()


class _Clock:
    """Seconds since it was made: on the wall, and of this process on all cores."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Both, to two decimals."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {"seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)}


if __name__ == "__main__":
    entry.run(main)
