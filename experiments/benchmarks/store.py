"""What a benchmark has measured, in its folder: written after every group, and not measured again by the same command."""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

import brainjax
from brainjax.files import digest, files_below
from experiments.benchmarks.rounds import Contestant, Failures, Groups, Options, Runs

_ROOT = pathlib.Path(__file__).parents[2]
_SOURCES = (pathlib.Path(brainjax.__file__).parent, _ROOT / "experiments", _ROOT / "configs")


class Store:
    """Replies and failures of the groups of one suite.

    Attributes:
        runs: of the groups that are finished, in the suite's order.
        failures: in them.
        keys: group -> what its figures depend on, as a digest: contestants, rounds, cores, our sources, this machine.
    """

    def __init__(self, groups: Groups, options: Options, found: Mapping[str, Any]):
        """Takes over from an earlier result.

        Args:
            groups: all of the suite.
            options: as they are now.
            found: the earlier result; what was measured otherwise than now is dropped.
        """
        sources = _sources()
        self._now = {g: _key(who, options, sources) for g, who in groups.items()}
        earlier = found.get("keys", {})
        self.keys = {g: key for g, key in self._now.items() if earlier.get(g) == key}
        self.runs: Runs = {g: found["runs"][g] for g in self.keys}
        self.failures: Failures = {
            label: why
            for label, why in found.get("failures", {}).items()
            if label.split(" ")[0] in self.keys
        }

    def put(self, group: str, runs: dict[str, Any], failures: Failures) -> None:
        """Takes in a group, in the place of what there is of it."""
        self.keys[group] = self._now[group]
        self.keys = {g: self.keys[g] for g in self._now if g in self.keys}
        self.runs = {g: self.runs.get(g, runs) if g != group else runs for g in self.keys}
        rest = {k: v for k, v in self.failures.items() if k.split(" ")[0] != group}
        self.failures = rest | failures


def read(path: pathlib.Path) -> dict[str, Any]:
    """The result in a file; nothing where there is none, or no benchmark's."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("task") == "benchmark" else {}


def _key(who: Mapping[str, Contestant], options: Options, sources: str) -> str:
    parts = {
        "contestants": {name: dataclasses.asdict(c) for name, c in who.items()},
        "how": [options.rounds, options.threads, options.timeout, options.python, options.small],
        "machine": [platform.machine(), os.cpu_count(), platform.python_version()],
        "sources": [importlib.metadata.version("jax"), sources],
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _sources() -> str:
    """Digest of our own code."""
    files = (f for root in _SOURCES for f in files_below(root) if f.suffix in (".py", ".cc", ".h"))
    return hashlib.sha256("".join(map(digest, files)).encode()).hexdigest()
