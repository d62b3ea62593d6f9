r"""Measures how fast things run, each contestant in a process of its own, in turns.

    python -m experiments.benchmark --suite=cpu --peers=torch,monai,keras --peer_python=VENV/bin/python
        The same network in brainjax and in each peer: equal numbers of parameters, input, dtype and cores.
    python -m experiments.benchmark --suite=gpu --peers=torch --cases='res3d_*'
        In float32 and bfloat16; torch eager, channels last, autotuned and compiled.

Suites:
    cpu, gpu   the networks of experiments/benchmarks/cases.py, trained and applied
    sweep      small classifiers packed into one program, one after another, and alone; peer keras
    pipeline   from a NIfTI file to a brain mask on disk; peers deepbet, hd-bet
    input      batches a second of each feed against what a training step asks for
    augment    random geometry, contrast and artefacts on the device; peers torchio, monai
    synthesis  synthetic heads a second
    cost       how seconds and memory grow with edge, batch, classes, scans and trials

The peers may live in another environment (extra `bench`), and those that it has take part unless --peers names others. Every
round runs each contestant once, in an order that turns, so that what else the machine does strikes all alike; medians count,
and a ratio's spread is its least and largest value within a round. The first contestant of a case is the one that the ratios
are of: its seconds over the other's. The table goes to stdout and --workdir/table.md; result.json and the last line hold every
run. Both files are written after every group, and the same command goes on where it was stopped: what --workdir has of this
suite, measured with the same flags and the same code, is not measured again (--overwrite does).
"""

import dataclasses
import importlib
import os
import pathlib
import platform
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments import entry

SUITES = ("sweep", "cpu", "gpu", "pipeline", "input", "augment", "synthesis", "cost")

_SUITE = flags.DEFINE_enum("suite", "cpu", SUITES, "What to measure.")
_WORKDIR = flags.DEFINE_string(
    "workdir", "checkpoints/runs/benchmark", "Where result.json and table.md go."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Measure again what --workdir has already.")
_PEERS = flags.DEFINE_list(
    "peers",
    None,
    "Other libraries to measure too, see above; default: those that --peer_python has, empty: none.",
)
_PYTHON = flags.DEFINE_string("peer_python", sys.executable, "Interpreter that has the peers.")
_BACKEND = flags.DEFINE_string(
    "keras_backend", None, "Backend of Keras: torch, jax or tensorflow (sweep: torch by default)."
)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Times that each contestant runs.", lower_bound=1)
_CASES = flags.DEFINE_list(
    "cases", [], "Groups to run, such as unet2d_4/train, unet2d_4 or 'res3d_*'; default: all."
)
_THREADS = flags.DEFINE_integer(
    "threads", 0, "Cores for each contestant; 0 for all.", lower_bound=0
)
_TIMEOUT = flags.DEFINE_integer(
    "timeout", 1800, "Seconds after which a contestant's round has failed.", lower_bound=1
)
_SMALL = flags.DEFINE_bool(
    "small", False, "Tiny sizes: shows that a suite runs here; its figures mean nothing."
)
_HEAD = flags.DEFINE_string(
    "head", "", "pipeline: a head scan to strip; default: a synthetic head."
)
_TRIALS = flags.DEFINE_integer("trials", 8, "sweep: trials.", lower_bound=1)
_STEPS = flags.DEFINE_integer(
    "steps", 0, "Timed steps of a run, 5 by default; sweep: of a trial, 200.", lower_bound=0
)
_BATCH = flags.DEFINE_integer("batch_size", 32, "sweep: examples a step.", lower_bound=1)
_SIZE = flags.DEFINE_integer("size", 32, "sweep: edge, a multiple of 8.", lower_bound=8)
_WIDTH = flags.DEFINE_integer(
    "width", 16, "sweep: channels of the first of three convolutions.", lower_bound=1
)


def main() -> None:
    """Measures one suite in child processes."""
    from brainjax.types import BrainjaxError
    from experiments.benchmarks import rounds
    from experiments.benchmarks.store import Store, read

    begun = time.perf_counter()
    workdir = pathlib.Path(_WORKDIR.value)
    suite, groups_of = _suite()
    options = _options(workdir, suite.PEERS)
    workdir.mkdir(parents=True, exist_ok=True)
    groups = groups_of(options)
    chosen = rounds.chosen(groups, options)
    store = Store(groups, options, read(workdir / "result.json"))
    if not _OVERWRITE.value:
        chosen = _left(chosen, store.runs, workdir)

    def keep(*group: Any) -> None:
        store.put(*group)
        _write(workdir, _result(suite, options, store, begun))

    rounds.measure(chosen, options, keep)
    result = _result(suite, options, store, begun)
    print(_write(workdir, result))
    entry.finish(workdir, result)
    if store.failures:
        label, message = next(iter(store.failures.items()))
        raise BrainjaxError(
            f"{len(store.failures)} contestants failed, the first: {label} {message}"
        )


def _left(chosen: Any, done: Any, workdir: pathlib.Path) -> Any:
    """The groups that have yet to be measured."""
    left = {group: who for group, who in chosen.items() if group not in done}
    if len(left) < len(chosen):
        print(
            f"{len(chosen) - len(left)} of {len(chosen)} groups are in {workdir} already and are not measured again; "
            "--overwrite does it",
            file=sys.stderr,
        )
    return left


def _result(suite: Any, options: Any, store: Any, begun: float) -> dict[str, Any]:
    from experiments.benchmarks import table

    summary = table.summarise(store.runs)
    return {
        "task": "benchmark",
        "suite": _SUITE.value,
        "setting": _setting(options, store.runs),
        "metrics": suite.metrics(store.runs, summary),
        "table": summary,
        "runs": store.runs,
        "failures": store.failures,
        "keys": store.keys,
        "seconds": round(time.perf_counter() - begun, 1),
    }


def _write(workdir: pathlib.Path, result: dict[str, Any]) -> str:
    """Writes result.json and table.md; returns the table."""
    from brainjax.files import write_text
    from experiments.benchmarks import table

    text = table.markdown(result["table"], result["failures"])
    entry.write(workdir, result)
    write_text(workdir / "table.md", text)
    return text


def _suite() -> tuple[Any, Any]:
    """The chosen suite's module, and the function that gives its groups."""
    name = _SUITE.value
    module = "networks" if name in ("cpu", "gpu") else name
    found = importlib.import_module(f"experiments.benchmarks.{module}")
    return found, getattr(found, name if module == "networks" else "groups")


def _options(workdir: pathlib.Path, known: Sequence[str]) -> Any:
    """The flags; peers that are asked for by name are there."""
    from experiments.benchmarks import rounds

    sweep = _SUITE.value == "sweep"
    other = {"trials": _TRIALS.value, "batch_size": _BATCH.value, "size": _SIZE.value}
    other |= {"width": _WIDTH.value, "steps": _STEPS.value or 200}
    other |= {"head": _HEAD.value, "workdir": str(workdir)}
    other["keras_backend"] = _BACKEND.value or ("torch" if sweep else "tensorflow")
    options = rounds.Options(
        peers=tuple(_PEERS.value or ()),
        named=_PEERS.value is not None,
        python=_PYTHON.value,
        rounds=_ROUNDS.value,
        steps=_STEPS.value or (1 if _SMALL.value else 5),
        cases=tuple(_CASES.value),
        threads=_THREADS.value,
        timeout=_TIMEOUT.value,
        small=_SMALL.value,
        other=other,
    )
    if options.named:
        rounds.check_peers(options, known)
    elif known:
        options = dataclasses.replace(options, peers=rounds.installed(options, known))
        found = ", ".join(options.peers) or f"none of {', '.join(known)}"
        print(f"peers in {options.python}: {found}", file=sys.stderr)
    return options


def _setting(options: Any, runs: Any) -> dict[str, Any]:
    """What has to be known to read the figures."""
    replies = [r for who in runs.values() for found in who.values() for r in found]
    found: dict[str, Any] = {
        "rounds": options.rounds,
        "small": options.small,
        "peers": list(options.peers),
        "threads": options.threads or os.cpu_count(),
        "machine": platform.machine(),
        "device": next((r["device"] for r in replies if "device" in r), ""),
    }
    if _SUITE.value == "sweep":
        fields = ("trials", "steps", "batch_size", "size", "width")
        return found | {name: options.other[name] for name in fields}
    return found | {"steps": options.steps}


if __name__ == "__main__":
    entry.run(main)
