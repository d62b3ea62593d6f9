"""Results of a sweep put together: one row a trial, means with 95 % intervals over seeds and folds, a ranking."""

import csv
import dataclasses
import io
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from brainjax.lookup import nearest
from brainjax.report import tables
from brainjax.sweep import varied
from brainjax.types import ConfigError, DataError

_RANKED = 10  # rows of the ranking
# Words in the names of metrics of which less is better, such as 'hd95_WT_volume_mean'.
_LOWER = {"nll", "ece", "brier", "hd95", "fp", "fn"}
_FACTS = ("status", "best_loss", "last_loss", "steps", "skipped_steps", "parameters", "seconds")


@dataclasses.dataclass(frozen=True)
class Results:
    """What is there of a sweep.

    Attributes:
        trials: what each `result.json` holds.
        missing: ids of trials without a result.
        metric: the main one.
    """

    trials: Sequence[Mapping[str, Any]]
    missing: Sequence[str]
    metric: str

    @property
    def lower(self) -> bool:
        """Whether less of the main metric is better: of errors and of distances."""
        return not _LOWER.isdisjoint(self.metric.split("_"))

    @property
    def fields(self) -> list[str]:
        """The config fields in which trials differ."""
        return varied(t["overrides"] for t in self.trials)

    @property
    def treatments(self) -> list[str]:
        """Those that are compared; the others, seeds and folds, repeat them."""
        return [f for f in self.fields if not _repeats(f)]

    @property
    def independent(self) -> list[str]:
        """The treatments without those that merely follow from the name in their own section.

        Where each optimizer has its learning rate, the rates are no comparison beside the optimizers.
        """
        kept = self.treatments
        for field in reversed(self.treatments):
            name = f"{field.rpartition('.')[0]}.name"
            others = [f for f in kept if f != field]
            if field != name and name in others:
                groups = self.by(others).values()
                if all(len({str(t["overrides"].get(field)) for t in g}) == 1 for g in groups):
                    kept = others
        return kept

    @property
    def metrics(self) -> list[str]:
        """Numbers that finished trials have."""
        found = dict.fromkeys(k for t in self.trials for k, v in t["metrics"].items() if _is(v))
        return [self.metric, *(k for k in found if k != self.metric)]

    def values(self, trials: Iterable[Mapping[str, Any]], metric: str = "") -> list[float]:
        """Their main metric, or another, where they have one."""
        found = (t["metrics"].get(metric or self.metric) for t in trials)
        return [v for v in found if _is(v)]

    def by(self, fields: Sequence[str]) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
        """Trials by their values of `fields`, in order of appearance."""
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for trial in self.trials:
            key = json.dumps([trial["overrides"].get(f) for f in fields])
            groups.setdefault(key, []).append(trial)
        return {tuple(map(_hashable, json.loads(key))): trials for key, trials in groups.items()}


def read(directories: Sequence[str | os.PathLike], metric: str = "") -> Results:
    """The results under the workdirs of one sweep; shards may have had one each.

    Args:
        directories: workdirs of `experiments.sweep`.
        metric: the main one; that which the runs monitor, if empty.

    Raises:
        DataError: no such directory, nothing in it, or a damaged file.
        ConfigError: no trial has that metric; names the nearest.
    """
    order: dict[str, None] = {}
    found: dict[str, Mapping[str, Any]] = {}
    for directory in map(pathlib.Path, directories):
        if not directory.is_dir():
            raise DataError(f"{directory}: no such directory; give the --workdir of a sweep")
        plan = directory / "sweep.json"
        if plan.is_file():
            order |= dict.fromkeys(t["id"] for t in _json(plan)["trials"])
        for path in sorted(directory.glob("trials/*/result.json")):
            result = _json(path)
            found.setdefault(result["id"], result)
    if not found:
        listed = ", ".join(map(str, directories))
        raise DataError(f"{listed}: no trial has a result yet; run the sweep first")
    trials = sorted(
        found.values(), key=lambda t: list(order).index(t["id"]) if t["id"] in order else len(order)
    )
    known = {k for t in trials for k, v in t["metrics"].items() if _is(v)}
    if metric and metric not in known:
        raise ConfigError(f"no trial has the metric {metric!r}: {nearest(metric, known)}")
    return Results(trials, [x for x in order if x not in found], metric or trials[0]["monitor"])


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and half the width of its 95 % confidence interval, t s / sqrt(n); None for a single value.

    Student's t has n - 1 degrees of freedom and s the n - 1 in its denominator.
    """
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return mean, None
    spread = float(np.std(values, ddof=1))
    return mean, float(stats.t.ppf(0.975, n - 1)) * spread / math.sqrt(n)


def to_csv(results: Results) -> str:
    """One row a trial: id, varied fields, status, metrics, losses, costs."""
    fields, metrics = results.fields, results.metrics
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", *fields, *_FACTS, "split", "protocol", *metrics])
    for t in results.trials:
        settings = [_text(t["overrides"].get(f), "") for f in fields]
        facts = [t.get(f) for f in (*_FACTS, "split", "protocol")]
        writer.writerow([t["id"], *settings, *facts, *(t["metrics"].get(m) for m in metrics)])
    return out.getvalue()


def summary(results: Results) -> list[dict[str, Any]]:
    """One dict for each combination of the treatments, over its seeds and folds, best mean first.

    Keys: the treatments; `n` scored trials, `mean`, `low`, `high` of the 95 % interval (None for n = 1), `diverged`
    trials, `leaks` and `seconds` on average. Combinations without a score come last.
    """
    rows = []
    for values, trials in results.by(results.treatments).items():
        scores = results.values(trials)
        mean, half = interval(scores) if scores else (None, None)
        rows.append(
            {
                **dict(zip(results.treatments, values, strict=True)),
                "n": len(scores),
                "mean": mean,
                "low": None if half is None else mean - half,
                "high": None if half is None else mean + half,
                "diverged": sum(t["status"] == "diverged" for t in trials),
                "leaks": tables.LEAKS if any(map(tables.leaks, trials)) else None,
                "seconds": float(np.mean([t["seconds"] for t in trials])),
            }
        )
    sign = 1 if results.lower else -1
    return sorted(rows, key=lambda row: math.inf if row["mean"] is None else sign * row["mean"])


def markdown(results: Results, name: str = "") -> str:
    """The report: what was run, the ranking, every combination, and each treatment over all others."""
    rows, metric = summary(results), results.metric
    diverged = sum(t["status"] == "diverged" for t in results.trials)
    words = [f"{len(results.trials)} trials", f"{diverged} diverged"]
    if results.missing:
        words.append(f"{len(results.missing)} without a result yet")
    repeats = [f for f in results.fields if f not in results.treatments]
    over = f"over {', '.join(repeats)}" if repeats else "of single trials, so without intervals"
    protocols = sorted({f"{t['protocol']} ({t['split']} rows)" for t in results.trials})
    columns = {f: label(f) for f in results.treatments}
    scores = {"n": "n", "mean": metric}
    if any(row["low"] is not None for row in rows):
        scores |= {"low": "95 % from", "high": "to"}
    scores |= {"diverged": "diverged"} if diverged else {}
    scores |= {"leaks": "leaks"} if any(row["leaks"] for row in rows) else {}
    parts = [
        f"# {name or 'Sweep'}: {', '.join(words)}",
        f"{metric}{', less is better' * results.lower}: means {over}. Scored on: {'; '.join(protocols)}.",
    ]
    if any(tables.leaks(t) for t in results.trials):
        parts.append(
            f"{tables.LEAKS}: some were scored on patients or pictures that were also trained on."
        )
    shown = [row | {f: _text(row[f]) for f in columns} for row in rows]
    ranked = [{"rank": i, **row} for i, row in enumerate(shown[:_RANKED], 1) if row["n"]]
    if ranked:
        parts += ["## Best", tables.table(ranked, {"rank": "rank", **columns, **scores})]
    if columns:
        order = list(results.by(results.treatments))
        places = [order.index(tuple(row[f] for f in columns)) for row in rows]
        every = [row for _, row in sorted(zip(places, shown, strict=True), key=lambda x: x[0])]
        cost = {"seconds": "seconds a trial"}
        parts += ["## All", tables.table(every, {**columns, **scores, **cost})]
    for field in results.independent:
        parts += [f"## By {label(field)}", _marginal(results, field)]
    return "\n\n".join(parts) + "\n"


def label(field: str) -> str:
    """A config field in a heading: 'model', 'optimizer', 'learning rate'."""
    section, _, last = field.rpartition(".")
    return section if last == "name" else last.replace("_", " ")


def _marginal(results: Results, field: str) -> str:
    """One treatment's values, each over all trials that have it."""
    rows = []
    best, worst = (min, max) if results.lower else (max, min)
    for (value,), trials in results.by([field]).items():
        scores = results.values(trials)
        rows.append(
            {
                label(field): _text(value),
                "trials": len(trials),
                "mean": float(np.mean(scores)) if scores else None,
                "median": float(np.median(scores)) if scores else None,
                "best": best(scores, default=None),
                "worst": worst(scores, default=None),
            }
        )
    return tables.table(rows, list(rows[0]))


def _repeats(field: str) -> bool:
    """Whether a field says which repetition a trial is, rather than what is tried."""
    return field in ("seed", "split.seed", "split.fold")  # another protocol is none


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _text(value: Any, missing: str = "-") -> str:
    if value is None:
        return missing
    return "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _is(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{path}: cannot be read ({error}); delete it and run the sweep again"
        ) from error
