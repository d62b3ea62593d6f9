r"""Puts runs side by side: what differs in their configs, what they cost, how well they score.

    python -m experiments.compare checkpoints/runs/unet checkpoints/runs/transunet
    python -m experiments.compare checkpoints/runs/* --out=comparison.md

Arguments are run directories (the --workdir of experiments.train, or an evaluation of experiments.evaluate). The
table goes to the screen and, with --out, to a markdown file with a picture of every patient's Dice beside it
(comparison.png). Runs without a result yet are listed as unfinished; runs whose test patients were trained on
are marked LEAKS. A directory that cannot be read gets one line on stderr and the exit code becomes 1; the
others are shown all the same.
"""

import pathlib
import sys

from absl import app, flags

_OUT = flags.DEFINE_string("out", None, "Also write the table to this .md file, and its picture.")
_FIGURE = flags.DEFINE_string(
    "figure", None, "PNG of the Dice of every patient, run by run; default: --out with .png."
)
_METRICS = flags.DEFINE_list(
    "metrics", None, "Columns, names in result.json's metrics; default: Dice and Jaccard."
)


def main(argv: list[str]) -> int:
    """Reads every run, prints and writes the table; returns the exit code."""
    # --help must not wait for matplotlib.
    from brainjax.report import figures, runs
    from brainjax.types import BrainjaxError

    if len(argv) < 2:
        raise app.UsageError("name one run directory or more")
    if _OUT.value and not _OUT.value.endswith(".md"):
        raise app.UsageError(f"--out={_OUT.value} is a markdown file; give it the ending .md")
    found, bad = [], 0
    for path in argv[1:]:
        try:
            found.append(runs.read(path))
        except BrainjaxError as error:
            print(f"error: {error}", file=sys.stderr)
            bad += 1
    if not found:
        return 1
    try:
        text = runs.comparison(found, _METRICS.value or ())
        print(text)
        if _OUT.value:
            pathlib.Path(_OUT.value).write_text(text + "\n", encoding="utf-8")
        figure = _FIGURE.value or (_OUT.value and str(pathlib.Path(_OUT.value).with_suffix(".png")))
        scored = [
            (name, run.per_volume, run.leaks)
            for name, run in zip(runs.names(found), found, strict=True)
            if run.per_volume
        ]
        if figure and scored:
            figures.runs(figure, scored)
    except (BrainjaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return int(bad > 0)


if __name__ == "__main__":
    app.run(main)
