"""Runs contestants in processes of their own, in turns, and tells how far it is."""

import dataclasses
import fnmatch
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from brainjax.lookup import lookup
from brainjax.types import BrainjaxError, ConfigError
from experiments import pages

Reply = dict[str, Any]
# Group -> contestant -> a reply a round; one that failed has none.
Runs = dict[str, dict[str, list[Reply]]]

# The modules that a peer needs, and what installs them.
PEERS = {
    "torch": (("torch", "torchvision"), "torch torchvision"),
    "monai": (("monai",), "monai"),
    "keras": (("keras",), "keras tensorflow-cpu"),
    "torchio": (("torchio",), "torchio"),
    "deepbet": (("deepbet",), "deepbet"),
    "hd-bet": (("HD_BET",), "hd-bet"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What the flags say, for all suites.

    Attributes:
        peers: names in `PEERS`.
        python: interpreter that has them.
        rounds: times that each contestant runs.
        steps: timed steps of each run.
        cases: patterns of groups; empty for all.
        threads: cores of each contestant; 0 for all.
        small: tiny sizes, which prove that a suite runs and measure nothing.
        other: what one suite alone asks.
    """

    peers: tuple[str, ...] = ()
    python: str = sys.executable
    rounds: int = 3
    steps: int = 5
    cases: tuple[str, ...] = ()
    threads: int = 0
    small: bool = False
    other: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One way to do a group's work.

    Attributes:
        call: 'module:function' in this folder.
        arguments: of the function, JSON.
        env: environment variables of its process.
        peer: runs under the peers' interpreter.
    """

    call: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    peer: bool = False


Groups = dict[str, dict[str, Contestant]]


def check_peers(options: Options, known: Sequence[str]) -> None:
    """Raises ConfigError unless every peer takes part in this suite and its library can be imported."""
    for name in options.peers:
        lookup(name, {n: PEERS[n] for n in known}, "peer")
        modules, packages = PEERS[name]
        fix = f"{options.python} -m pip install {packages}, or set --peer_python"
        code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {modules!r})))"
        try:
            missing = subprocess.run([options.python, "-c", code], capture_output=True).returncode
        except OSError as error:
            raise ConfigError(
                f"--peer_python={options.python} cannot be run: {error.strerror}"
            ) from error
        if missing:
            raise ConfigError(f"--peers: {name} is not installed for {options.python}; {fix}")


def chosen(groups: Groups, options: Options) -> Groups:
    """The groups that --cases names, by name, by the part before '/', or by pattern.

    Raises:
        ConfigError: a pattern matches none; the message lists all.
    """
    if not options.cases:
        return groups
    kept = set()
    for pattern in options.cases:
        found = {
            name
            for name in groups
            if fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name.split("/")[0], pattern)
        }
        if not found:
            raise ConfigError(f"--cases={pattern} is none of {', '.join(groups)}")
        kept |= found
    return {name: who for name, who in groups.items() if name in kept}


def measure(groups: Groups, options: Options) -> tuple[Runs, dict[str, str]]:
    """Runs every contestant of every group `options.rounds` times.

    Every round of a group runs each of its contestants once, in an order that turns, so that what else the machine
    does strikes all alike. One that fails is not tried again.

    Returns:
        (replies, what failed: 'group contestant' -> its last line on stderr).

    Raises:
        BrainjaxError: contestants of one group, meant to be one network, differ in their number of parameters.
    """
    runs: Runs = {group: {name: [] for name in who} for group, who in groups.items()}
    failures: dict[str, str] = {}
    total = options.rounds * sum(map(len, groups.values()))
    done, begun = 0, time.perf_counter()
    for group, who in groups.items():
        names = list(who)
        for turn in range(options.rounds):
            for name in [names[(turn + i) % len(names)] for i in range(len(names))]:
                done += 1
                label = f"{group} {name}"
                if label not in failures:
                    try:
                        runs[group][name].append(_child(who[name], options))
                    except BrainjaxError as error:
                        failures[label] = str(error)
                left = (time.perf_counter() - begun) / done * (total - done)
                said = failures.get(label) or f"{runs[group][name][-1]['seconds']:.4g} s"
                print(
                    f"[{done}/{total}, {left / 60:.0f} min left] {label}: {said}", file=sys.stderr
                )
            check_equal(group, runs[group])
    return runs, failures


def check_equal(group: str, runs: Mapping[str, Sequence[Reply]]) -> None:
    """Raises BrainjaxError where replies of one group tell different numbers of parameters."""
    counts = {
        name: r["parameters"]
        for name, replies in runs.items()
        for r in replies
        if "parameters" in r
    }
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise BrainjaxError(f"{group}: not one network: parameters of {told}; mend the peer's twin")


def _child(contestant: Contestant, options: Options) -> Reply:
    """Runs one contestant in a process of its own."""
    python = options.python if contestant.peer else sys.executable
    # Nobody finds a program that another one, or an earlier round, has compiled.
    env = {**os.environ, "BRAINJAX_COMPILATION_CACHE": "", "JAX_ENABLE_COMPILATION_CACHE": "0"}
    env |= {"TF_CPP_MIN_LOG_LEVEL": "3", "BENCHMARK_THREADS": str(options.threads)}
    if contestant.peer:  # ours have large pages as every entry point has; peers as they come
        env.pop(pages.VARIABLE, None)
    if options.threads:
        env["OMP_NUM_THREADS"] = str(options.threads)
    command = [python, "-m", "experiments.benchmarks.child"]
    command += [f"experiments.benchmarks.{contestant.call}", json.dumps(dict(contestant.arguments))]
    try:
        done = subprocess.run(
            command, env={**env, **contestant.env}, capture_output=True, text=True
        )
    except OSError as error:
        raise BrainjaxError(f"{python} cannot be run: {error.strerror}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BrainjaxError(f"failed: {last}")
    return json.loads(done.stdout.splitlines()[-1])
