"""Run directories read back and put side by side, the unfinished and the leaking named as such."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from brainjax.lookup import nearest
from brainjax.report import tables
from brainjax.types import ConfigError, DataError

METRICS = (
    "dice_volume_mean",
    "dice_volume_median",
    "dice_volume_mean_post",
    "dice_volume_median_post",
    "dice_slice_mean",
    "jaccard_slice_mean",
    "dice_WT_volume_mean",
    "dice_TC_volume_mean",
    "dice_ET_volume_mean",
    "hd95_volume_mean",
    "nsd_volume_mean",
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "auroc_macro",
    "ece",
)
# Shown in a column of their own, or no choice of the experimenter.
_OWN_COLUMN = ("name", "train.steps", "train.batch_size")


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run directory holds.

    Attributes:
        path: the directory.
        config: of `config.json`, {} where there is none.
        result: of `result.json`, {} while the run goes on.
        lines: of `metrics.jsonl`, as far as they are complete.
    """

    path: pathlib.Path
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]

    @property
    def finished(self) -> bool:
        """Whether the run has a result."""
        return bool(self.result)

    @property
    def leaks(self) -> bool:
        """Whether its scores are of patients that were trained on."""
        return tables.leaks(self.result, self.config)

    @property
    def per_volume(self) -> Sequence[Mapping[str, Any]]:
        """One dict a scored patient, [] where there are none."""
        return self.result.get("per_volume") or []

    def status(self) -> str:
        """'finished', or how far it came."""
        if self.finished:
            return "finished"
        steps = _get(self.config, "train.steps")
        done = max((line["step"] for line in self.lines), default=0)
        return f"unfinished: step {done:,}" + (f" of {steps:,}" if steps else "")


def read(path: str | os.PathLike) -> Run:
    """Reads a run directory, or an evaluation's inside one.

    Raises:
        DataError: no such directory, nothing of a run in it, or a damaged file; one line with the fix.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such run directory; give the --workdir of a training run")
    result = _json(path / "result.json")
    if result is not None and not _is_result(result):
        raise DataError(
            f"{path / 'result.json'}: is not the result of a run; run the command that writes it again"
        )
    config = _json(path / "config.json")
    if config is None and result is not None:
        config = result.get("config") or _json(path.parent / "config.json")
    lines = _lines(path / "metrics.jsonl")
    if result is None and config is None and not lines:
        raise DataError(
            f"{path}: holds no config.json, result.json or metrics.jsonl; give the --workdir of a "
            f"training run"
        )
    return Run(path, config or {}, result or {}, lines)


def comparison(runs: Sequence[Run], metrics: Sequence[str] = ()) -> str:
    """One markdown table of several runs, with notes on what its numbers do not support.

    Args:
        runs: in the order of the rows.
        metrics: names of numbers in `result.json`'s metrics; those of `METRICS` that some run has, if
            empty.

    Raises:
        ConfigError: a metric that no finished run has; names the nearest.
    """
    known = {key for run in runs for key in run.result.get("metrics", {})}
    metrics = metrics or [name for name in METRICS if name in known]
    for name in metrics:
        if known and name not in known:
            raise ConfigError(f"no run has the metric {name!r}: {nearest(name, known)}")
    rows = []
    for run, name, changes in zip(runs, names(runs), differences(runs), strict=True):
        steps = run.result.get("steps") or _get(run.config, "train.steps")
        batch_size = _get(run.config, "train.batch_size")
        row = {
            "run": name,
            "protocol": tables.protocol(run.result, run.config),
            "differs in": ", ".join(changes) or None,
            "steps x batch": f"{steps:,} x {batch_size}" if steps and batch_size else steps,
            "time": tables.duration(run.result.get("seconds")),
            "parameters": run.result.get("parameters"),
            "patients": len(run.per_volume) or None,
            "images": run.result.get("metrics", {}).get("n_images"),
            **{key: run.result.get("metrics", {}).get(key) for key in metrics},
            "status": run.status(),
        }
        rows.append(row)
    columns = [
        c
        for c in rows[0]
        if c in metrics or any(row[c] not in (None, "finished", "-") for row in rows)
    ]
    return "\n\n".join([tables.table(rows, columns), *notes(runs)])


def notes(runs: Sequence[Run]) -> list[str]:
    """Sentences on why scores may not be compared, where they may not."""
    found = []
    if any(run.leaks for run in runs):
        found.append(
            f"{tables.LEAKS}: scored on patients or images that were also trained on; such a score says nothing "
            "about new ones and compares with no honest split."
        )
    tested = {frozenset(str(v.get("group")) for v in r.per_volume) for r in runs if r.per_volume}
    if len(tested) > 1:
        found.append(
            "These runs were scored on different patients: part of the difference between their "
            "scores is the patients'."
        )
    if any(not run.finished for run in runs):
        found.append("Unfinished runs have no test scores yet; the same command resumes them.")
    return found


def differences(runs: Sequence[Run]) -> list[list[str]]:
    """Per run, 'field=value' for the config fields that tell the runs apart.

    A field counts if two runs give it different values, or if only some runs have it although the
    section is of the same kind. The options that one kind of loss has and another lacks follow
    from `loss.name` and are left out; so are steps and batch size, which have their own column.
    """
    flat = [_flat(run.config) for run in runs]
    told: list[list[str]] = [[] for _ in runs]
    for key in sorted({key for one in flat for key in one} - set(_OWN_COLUMN)):
        holders = [one for one in flat if key in one]
        kind = f"{key.rpartition('.')[0]}.name"
        kinds = {str(one.get(kind)) for one in holders}
        lacking = any(one and key not in one and str(one.get(kind)) in kinds for one in flat)
        if lacking or len({json.dumps(one[key]) for one in holders}) > 1:
            for one, mine in zip(flat, told, strict=True):
                if key in one:
                    mine.append(f"{key}={_value(one[key])}")
    return told


def names(runs: Sequence[Run]) -> list[str]:
    """The shortest ends of the directories' paths that tell them apart; an evaluation keeps its run's."""
    paths = [run.path.absolute().parts for run in runs]
    shortest = []
    for path in paths:
        for length in range(1, len(path) + 1):
            end = path[-length:]
            unique = sum(other[-length:] == end for other in paths) == 1
            if (unique and not end[0].startswith("evaluation")) or length == len(path):
                shortest.append("/".join(end))
                break
    return shortest


def _json(path: pathlib.Path) -> dict[str, Any] | None:
    """The object in a JSON file, None where there is no file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); run the command that wrote it again"
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds no JSON object; run the command that writes it again")
    return value


def _is_result(value: Mapping[str, Any]) -> bool:
    """Whether what is there has the types of a result; anything may be missing."""
    volumes = value.get("per_volume") or []
    return (
        isinstance(value.get("metrics", {}), dict)
        and isinstance(volumes, list)
        and all(isinstance(volume, dict) for volume in volumes)
        and isinstance(value.get("seen_in_training", []), list)
        and all(
            isinstance(value.get(key), int | float | None)
            for key in ("seconds", "steps", "parameters")
        )
    )


def _lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """The complete lines; a run that is still writing has half a line at the end."""
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    lines = []
    for text in texts:
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("step"), int):
            lines.append(value)
    return lines


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def _get(config: Mapping[str, Any], key: str) -> Any:
    return _flat(config).get(key)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(str, value)) if value else "()"
    return str(value)
