"""Medians, ratios and their spread; the table of them."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Summary = dict[str, dict[str, dict[str, Any]]]


def summarise(runs: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> Summary:
    """Group -> contestant -> medians over the rounds of every number it told, and how the group's first compares.

    `ratio` is the first contestant's median seconds over this one's, below 1 where the first is faster; `low` and
    `high` are the least and the largest of the ratios within a round. A contestant without replies is left out.
    """
    summary: Summary = {}
    for group, contestants in runs.items():
        first = next(iter(contestants.values()))
        summary[group] = {}
        for name, replies in contestants.items():
            if not replies:
                continue
            found = {
                key: statistics.median(r[key] for r in replies)
                for key, value in replies[0].items()
                if isinstance(value, (int, float)) and not isinstance(value, bool)
            }
            found |= {k: v for k, v in replies[0].items() if isinstance(v, str)}
            if first and replies is not first:
                base = statistics.median(r["seconds"] for r in first)
                pairs = [a["seconds"] / b["seconds"] for a, b in zip(first, replies, strict=False)]
                found |= {"ratio": base / found["seconds"], "low": min(pairs), "high": max(pairs)}
            summary[group][name] = found
    return summary


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Least-squares slope of log y against log x: the power of x that y grows with."""
    a, b = [math.log(v) for v in x], [math.log(v) for v in y]
    mean_a, mean_b = statistics.fmean(a), statistics.fmean(b)
    below = sum((v - mean_a) ** 2 for v in a)
    return sum((v - mean_a) * (w - mean_b) for v, w in zip(a, b, strict=True)) / below


def markdown(summary: Summary, failures: Mapping[str, str]) -> str:
    """The table as Markdown, which reads well on a terminal too; what failed is below it.

    'compile s' is the part of 'first s' that comes ahead of the first step, where it can be told apart; 'RSS' is the
    most memory that the process had, 'device' the most that the accelerator held.
    """
    first = {group: next(iter(found), "") for group, found in summary.items()}
    head = ("case", "contestant", "s", "compile s", "first s", "device GB", "RSS GB", "a second")
    head += ("ratio (spread)",)
    rows = [head, ("-",) * len(head)]
    for group, contestants in summary.items():
        for name, found in contestants.items():
            rate = found.get("units", 0) / found["seconds"]
            ratio = "1" if name == first[group] else ""
            if "ratio" in found:
                ratio = f"{found['ratio']:.2f} ({found['low']:.2f}-{found['high']:.2f})"
            rows.append(
                (
                    group,
                    name,
                    f"{found['seconds']:.4g}",
                    *(_cell(found, f"{key}_seconds", 1, ".3g") for key in ("compile", "first")),
                    *(_cell(found, f"{key}_bytes", 1e9, ".2f") for key in ("device", "peak")),
                    f"{rate:.4g} {found['unit']}" if rate else "",
                    ratio,
                )
            )
    width = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = []
    for row in rows:
        fill = "-" if row[0] == "-" else " "
        cells = (text.ljust(w, fill) for text, w in zip(row, width, strict=True))
        lines.append("| " + " | ".join(cells) + " |")
    told = [f"- {label}: {message}" for label, message in failures.items()]
    return "\n".join([*lines, *([""] + told if told else [])]) + "\n"


def _cell(found: Mapping[str, Any], key: str, scale: float, form: str) -> str:
    return format(found[key] / scale, form) if key in found else ""
