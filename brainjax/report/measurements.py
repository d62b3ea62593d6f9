"""What was measured, for other programs: `measurements.json` with everything, `measurements.csv` a row a lesion."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from brainjax.files import write_text
from brainjax.infer.analysis import Analysis
from brainjax.infer.localize import rows, volumes_ml
from brainjax.report.words import no_formula

JSON, CSV = "measurements.json", "measurements.csv"


def write(
    directory: str | os.PathLike,
    analysis: Analysis,
    files: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Writes both files, each whole or not at all; `JSON` and `CSV` are their names.

    The table has one row for all of the scan ('all'), then one for each lesion, the largest first.

    Args:
        directory: exists.
        analysis: what to tell.
        files: what to tell of each file that the scan was read from.
        options: what was asked of the analysis.

    Raises:
        DataError: they cannot be written there.
    """
    directory = pathlib.Path(directory)
    # Infinity and NaN are no JSON: better to fail here than in whatever reads it.
    facts = {**analysis.facts(), "files": dict(files or {}), "options": dict(options or {})}
    text = json.dumps(facts, indent=2, allow_nan=False) + "\n"
    write_text(directory / CSV, table(analysis))
    write_text(directory / JSON, text)  # last: its presence says that both are there


def table(analysis: Analysis) -> str:
    """The text of `measurements.csv`."""
    found = volumes_ml(analysis.regions, analysis.scan.grid.affine)
    whole = {"scan": no_formula(analysis.scan.name), "lesion": "all"}
    if found:
        whole["volume_ml"] = next(iter(found.values()))  # the first region holds the others
    whole |= {f"{name}_ml": value for name, value in found.items()}
    lines = [whole, *({"scan": whole["scan"], **row} for row in rows(analysis.lesions))]
    columns = list(dict.fromkeys(name for line in [*lines[1:2], whole] for name in line))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()})
    return out.getvalue()
