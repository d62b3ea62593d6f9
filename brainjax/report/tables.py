"""Markdown tables, one way to print numbers, and the label that a leaking protocol carries everywhere."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

LEAKS = "LEAKS"


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | Mapping[str, str]) -> str:
    """A markdown table, padded so that it also reads well as plain text.

    Args:
        rows: one mapping a row; a missing key prints as '-'.
        columns: keys in order, or key -> heading.

    Returns:
        Lines without a final newline; columns that hold only numbers are aligned to the right.
    """
    keys = list(columns)
    headings = list(columns.values()) if isinstance(columns, Mapping) else keys
    cells = [[cell(row.get(key)) for key in keys] for row in rows]
    lines = [[cell(heading) for heading in headings], *cells]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(keys))]
    numeric = [
        all(_is_number(row.get(key)) or row.get(key) is None for row in rows) and bool(rows)
        for key in keys
    ]

    def line(texts: Sequence[str]) -> str:
        padded = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(texts, widths, numeric, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (width - 1) + (":" if right else "-")
        for width, right in zip(widths, numeric, strict=True)
    ]
    return "\n".join([line(lines[0]), line(rule), *map(line, cells)])


def cell(value: Any) -> str:
    """One value as text: scores with four decimals, counts with thousands separators, None as '-'."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        if value and abs(value) < 1e-3:
            return f"{value:.2e}"
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
    return " ".join(str(value).split()).replace("|", "\\|")


def duration(seconds: float | None) -> str:
    """'42 s', '7.5 min' or '2.1 h'; '-' for None."""
    if seconds is None:
        return "-"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3597 else f"{seconds / 3600:.1f} h"


def leaks(result: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> bool:
    """Whether a score is of patients, or images, that were trained on.

    True for a split by slice, and for an evaluation of patients or images that the model has seen.

    Args:
        result: of `result.json`.
        config: of the run, for results that do not name their protocol.
    """
    seen = result.get("seen_in_training") or result.get("n_seen_in_training")
    if seen or LEAKS.lower() in str(result.get("protocol")).lower():
        return True
    return "by_slice" in (_split_name(config), str(result.get("split")).partition("(")[0])


def protocol(result: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> str:
    """A protocol in a few words: 'patient split, test', or 'LEAKS: slice split, test'.

    Arguments as in `leaks`. 'unknown' where neither tells.
    """
    words = str(result.get("protocol") or "").partition(":")[0].partition(";")[0].strip()
    words = words or _split_name(config) or "unknown"
    part = str(result.get("split") or "")
    if part and part not in words:
        words = f"{words}, {part}"
    if not leaks(result, config):
        return words
    patients = len(result.get("seen_in_training") or ())
    images = result.get("n_seen_in_training") or 0
    seen = f", {patients} patients" if patients else f", {images} images" if images else ""
    return f"{LEAKS}: {words}" + (f"{seen} trained on" if seen else "")


def _split_name(config: Mapping[str, Any] | None) -> str:
    split = (config or {}).get("split")
    return str(split.get("name", "")) if isinstance(split, Mapping) else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
