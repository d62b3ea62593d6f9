"""Runs contestants in processes of their own, in turns, and tells how far it is."""

import contextlib
import dataclasses
import fnmatch
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from brainjax.lookup import lookup
from brainjax.types import BrainjaxError, ConfigError
from experiments import pages

Reply = dict[str, Any]
# Group -> contestant -> a reply a round; one that failed has none.
Runs = dict[str, dict[str, list[Reply]]]
# 'group contestant', or a group that cannot be compared -> why.
Failures = dict[str, str]
Keep = Callable[[str, dict[str, list[Reply]], Failures], None]

# The modules that a peer needs, and what installs them.
PEERS = {
    "torch": (("torch", "torchvision"), "torch torchvision"),
    "monai": (("monai",), "monai"),
    "keras": (("keras",), "keras"),
    "torchio": (("torchio",), "torchio"),
    "deepbet": (("deepbet",), "deepbet"),
    "hd-bet": (("HD_BET",), "hd-bet"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What the flags say, for all suites.

    Attributes:
        peers: names in `PEERS`.
        named: whether they were asked for by name: then one that cannot take part is an error.
        python: interpreter that has them.
        rounds: times that each contestant runs.
        steps: timed steps of each run.
        cases: patterns of groups; empty for all.
        threads: cores of each contestant; 0 for all.
        timeout: seconds that a contestant may take for a round.
        small: tiny sizes, which prove that a suite runs and measure nothing.
        other: what one suite alone asks.
    """

    peers: tuple[str, ...] = ()
    named: bool = False
    python: str = sys.executable
    rounds: int = 3
    steps: int = 5
    cases: tuple[str, ...] = ()
    threads: int = 0
    timeout: int = 1800
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


def installed(options: Options, known: Sequence[str]) -> tuple[str, ...]:
    """Those of a suite's peers that `options.python` has.

    Raises:
        ConfigError: it cannot be run.
    """
    return tuple(name for name in known if not _missing(options, name))


def check_peers(options: Options, known: Sequence[str]) -> None:
    """Raises ConfigError unless every peer takes part in this suite and what it needs can be imported."""
    for name in options.peers:
        lookup(name, {n: PEERS[n] for n in known}, "peer")
        if packages := _missing(options, name):
            fix = f"{options.python} -m pip install {packages}, or set --peer_python"
            raise ConfigError(f"--peers: {name} is not installed for {options.python}; {fix}")


def _missing(options: Options, name: str) -> str:
    """The packages that a peer is made of; nothing where all are there."""
    modules, packages = PEERS[name]
    if name == "keras":
        backend = options.other["keras_backend"]
        modules, packages = (*modules, backend), f"{packages} {backend}"
    code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {modules!r})))"
    try:
        absent = subprocess.run([options.python, "-c", code], capture_output=True).returncode
    except OSError as error:
        raise ConfigError(
            f"--peer_python={options.python} cannot be run: {error.strerror}"
        ) from error
    return packages if absent else ""


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


def measure(groups: Groups, options: Options, keep: Keep) -> None:
    """Runs every contestant of every group `options.rounds` times.

    Every round of a group runs each of its contestants once, in an order that turns, so that what else the machine
    does strikes all alike. One that fails is not tried again. Of a group whose contestants turn out to be different
    networks, which cannot be compared, nothing remains but that failure.

    Args:
        groups: who takes part.
        options: how.
        keep: called after every group with its name, its replies and what failed in it.
    """
    total, done, begun = options.rounds * sum(map(len, groups.values())), 0, time.perf_counter()
    for count, (group, who) in enumerate(groups.items(), 1):
        runs: dict[str, list[Reply]] = {name: [] for name in who}
        failures: Failures = {}
        for name in order(list(who), options.rounds):
            if (label := f"{group} {name}") not in failures:
                try:
                    runs[name].append(call(who[name], options))
                    check_equal(group, runs)
                except Unequal as error:
                    runs, failures[group] = {name: [] for name in who}, str(error)
                    break
                except BrainjaxError as error:
                    failures[label] = str(error)
            done += 1
            left = (time.perf_counter() - begun) / done * (total - done)
            said = failures.get(label) or f"{runs[name][-1]['seconds']:.4g} s"
            print(f"[{done}/{total}, {left / 60:.0f} min left] {label}: {said}", file=sys.stderr)
        if group in failures:
            print(f"{group} is left out: {failures[group]}", file=sys.stderr)
            done = options.rounds * sum(len(w) for w in list(groups.values())[:count])
        keep(group, runs, failures)


def order(names: Sequence[str], rounds: int) -> list[str]:
    """Every name once a round; each round begins with the next."""
    return [names[(turn + i) % len(names)] for turn in range(rounds) for i in range(len(names))]


class Unequal(BrainjaxError):
    """The contestants of a group, meant to be one network, are not."""


def check_equal(group: str, runs: Mapping[str, Sequence[Reply]]) -> None:
    """Raises Unequal where replies of one group tell different numbers of parameters."""
    counts = {
        name: r["parameters"]
        for name, replies in runs.items()
        for r in replies
        if "parameters" in r
    }
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise Unequal(f"{group}: not one network: parameters of {told}; mend the peer's twin")


def call(contestant: Contestant, options: Options) -> Reply:
    """Runs one contestant in a process of its own.

    Raises:
        BrainjaxError: it failed, took longer than `options.timeout` or gave no reply.
    """
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
    code, out, err = _finished(command, {**env, **contestant.env}, options.timeout)
    if code:
        last = (err.strip().splitlines() or [f"exit code {code}"])[-1]
        raise BrainjaxError(f"failed: {last}")
    return _reply(out)


def _finished(command: list[str], env: dict[str, str], timeout: int) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command, which with all that it starts ends by then, or when we do."""
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
            errors="replace",
            process_group=0,
        )
    except OSError as error:
        raise BrainjaxError(f"{command[0]} cannot be run: {error.strerror}") from error
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise BrainjaxError(
                f"failed: no reply after {timeout} s; raise --timeout if it needs more"
            ) from None
        raise
    return process.returncode, out, err


def _reply(text: str) -> Reply:
    """The last line that is a reply: libraries may print theirs before and after."""
    lines = text.strip().splitlines()
    for line in reversed(lines):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and "peak_bytes" in found:
            return found
    raise BrainjaxError(f"failed: it gave no reply, but ended with {(lines or [''])[-1]!r}")
