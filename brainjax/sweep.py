"""Sweeps as lists of overrides: `grid`, `zipped`, `product` and `chain` make them, `shard` deals them out.

A trial is a dict from a config field to its value, named as on the command line:

    product(
        grid({"model.name": ["VGG", "ResNet"], "seed": range(3)}),
        zipped({"optimizer.name": ["adam", "sgd"], "optimizer.learning_rate": [1e-3, 1e-2]}),
    )

are 2 x 3 x 2 = 12 trials, the first field changing slowest. A sweep is no more than a list, so that
comprehensions, slices and `+` work on it too.
"""

import hashlib
import itertools
import json
import pathlib
import re
import runpy
from collections.abc import Iterable, Mapping
from typing import Any

from brainjax.lookup import split_variant
from brainjax.types import ConfigError

Trial = dict[str, Any]
Sweep = list[Trial]

_SLUG = 72  # characters of an id before its hash; file systems take 255


def grid(fields: Mapping[str, Iterable[Any]] | None = None, **more: Iterable[Any]) -> Sweep:
    """Every combination of the values of each field, the first field changing slowest.

    Args:
        fields: dotted field -> its values.
        more: the same for fields without a dot: `grid(seed=range(3))`.

    Raises:
        ConfigError: a field has no values, or one that a config cannot hold.
    """
    values = _values(fields, more)
    return [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]


def zipped(fields: Mapping[str, Iterable[Any]] | None = None, **more: Iterable[Any]) -> Sweep:
    """The first values of all fields, then the second ones, and so on. Arguments as in `grid`.

    Raises:
        ConfigError: as `grid`; or the fields have different numbers of values.
    """
    values = _values(fields, more)
    if len({len(v) for v in values.values()}) > 1:
        counts = ", ".join(f"{k} has {len(v)}" for k, v in values.items())
        raise ConfigError(f"zipped fields need as many values each: {counts}")
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def product(*sweeps: Iterable[Mapping[str, Any]]) -> Sweep:
    """Every trial of the first sweep with every one of the next, the first changing slowest.

    Raises:
        ConfigError: two of the sweeps set one field.
    """
    trials: Sweep = [{}]
    for sweep in map(list, sweeps):
        both = {key for a in trials for key in a} & {key for b in sweep for key in b}
        if both:
            raise ConfigError(f"two factors of a product set {', '.join(sorted(both))}; drop one")
        trials = [{**a, **b} for a in trials for b in sweep]
    return trials


def chain(*sweeps: Iterable[Mapping[str, Any]]) -> Sweep:
    """One sweep after another; a trial that came before is not repeated."""
    found: dict[str, Trial] = {}
    for trial in itertools.chain(*sweeps):
        found.setdefault(_canonical(trial), dict(trial))
    return list(found.values())


def run_id(trial: Mapping[str, Any]) -> str:
    """A name for a trial's folder: its values, readable, and a hash of fields and values.

    It depends on the trial alone, in whatever order its fields are: trials added to a sweep rename none.
    """
    parts = []
    for key, value in sorted(
        trial.items(), key=lambda item: (not item[0].endswith(".name"), item[0])
    ):
        field = "" if key.endswith(".name") else key.rpartition(".")[2]
        text = "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
        parts.append(re.sub(r"[^\w.+-]+", "_", f"{field}{text}"))
    digest = hashlib.sha256(_canonical(trial).encode()).hexdigest()[:8]
    return "-".join(["-".join(parts)[:_SLUG].strip("-") or "base", digest])


def varied(trials: Iterable[Mapping[str, Any]]) -> list[str]:
    """The fields that two of the trials give different values, or only some of them set, in order of appearance."""
    trials = list(trials)
    fields = dict.fromkeys(key for trial in trials for key in trial)
    return [
        key
        for key in fields
        if len({_canonical({key: t[key]}) if key in t else "" for t in trials}) > 1
    ]


def shard(trials: Iterable[Any], which: str) -> list[Any]:
    """The part of `trials` for one of n machines; all parts together are all trials.

    Dealt out like cards, so that each gets a share of whatever is slow.

    Args:
        trials: the same on every machine.
        which: 'i/n', from '1/n' to 'n/n'.

    Raises:
        ConfigError: `which` is nothing of the kind.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", which.strip())
    i, n = map(int, found.groups()) if found else (0, 0)
    if not 1 <= i <= n:
        raise ConfigError(f"--shard={which} must be i/n, from 1/n to n/n, such as 1/4")
    return list(trials)[i - 1 :: n]


def load(path: str) -> Sweep:
    """The sweep that `path`, 'file.py' or 'file.py:variant', gives by its `get_sweep`.

    Raises:
        ConfigError: no such file, it makes no sweep, or an empty one; or what its `get_sweep` raises.
    """
    file, variant = split_variant(path)
    if not pathlib.Path(file).is_file():
        raise ConfigError(
            f"--sweep={path}: there is no file {file}; see the folder configs/sweeps/"
        )
    found = runpy.run_path(file)
    if "get_sweep" not in found:
        raise ConfigError(f"--sweep={path}: {file} has no function get_sweep; see configs/sweeps/")
    trials = chain(found["get_sweep"](*variant))
    if not trials:
        raise ConfigError(f"--sweep={path} has no trials")
    return [{key: _plain(key, value) for key, value in trial.items()} for trial in trials]


def _values(
    fields: Mapping[str, Iterable[Any]] | None, more: Mapping[str, Iterable[Any]]
) -> dict[str, list[Any]]:
    found = {}
    for key, values in {**(fields or {}), **more}.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise ConfigError(f"a sweep over {key} needs a list of values, got {values!r}")
        found[key] = [_plain(key, value) for value in values]
        if not found[key]:
            raise ConfigError(f"a sweep over {key} needs one value or more")
    return found


def _plain(key: str, value: Any) -> Any:
    """`value` as a config holds it: numpy's numbers become Python's, lists tuples."""
    if isinstance(value, list | tuple):
        return tuple(_plain(key, v) for v in value)
    if not isinstance(value, bool | int | float | str | None) and hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, bool | int | float | str | None):
        raise ConfigError(f"a config cannot hold {value!r}, a value of {key}")
    return value


def _canonical(trial: Mapping[str, Any]) -> str:
    return json.dumps(trial, sort_keys=True)
