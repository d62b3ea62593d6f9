r"""Puts runs side by side: what differs in their configs, what they cost, how well they score.

    python -m experiments.compare checkpoints/runs/unet checkpoints/runs/transunet
    python -m experiments.compare checkpoints/runs/* --workdir=comparison

Arguments are run directories (the --workdir of experiments.train, or an evaluation of experiments.evaluate). The
table goes to the screen and, with --workdir, to comparison.md there, with a picture of every patient's Dice
beside it (comparison.png). Runs without a result yet are listed as unfinished; runs whose test patients were
trained on are marked LEAKS. A directory that cannot be read gets one line on stderr and the exit code becomes
1; the others are shown all the same.
"""

import pathlib
import sys
import time

from absl import app, flags

from experiments import entry

_WORKDIR = flags.DEFINE_string("workdir", None, "Where comparison.md and comparison.png go.")
_METRICS = flags.DEFINE_list(
    "metrics",
    None,
    "Columns, names in result.json's metrics; default: Dice and Jaccard, accuracy and AUROC.",
)


def main(paths: list[str]) -> None:
    """Reads every run, prints and writes the table."""
    # --help must not wait for matplotlib.
    from brainjax.files import write_text
    from brainjax.report import figures, runs
    from brainjax.types import BrainjaxError

    begun = time.perf_counter()
    if not paths:
        raise app.UsageError("name one run directory or more")
    found, bad = [], []
    for path in paths:
        try:
            found.append(runs.read(path))
        except BrainjaxError as error:
            print(f"error: {error}", file=sys.stderr)
            bad.append(path)
    if not found:
        sys.exit(1)
    text = runs.comparison(found, _METRICS.value or ())
    print(text)
    names = runs.names(found)
    result = {
        "task": "comparison",
        "dataset": sorted({run.result.get("dataset", "unknown") for run in found if run.finished}),
        "split": sorted({run.result.get("split", "unknown") for run in found if run.finished}),
        "metrics": {
            name: run.result.get("metrics", {}) for name, run in zip(names, found, strict=True)
        },
        "unreadable": bad,
        "seconds": round(time.perf_counter() - begun, 1),
    }
    workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None
    if workdir:
        workdir.mkdir(parents=True, exist_ok=True)
        write_text(workdir / "comparison.md", text + "\n")
        pairs = zip(names, found, strict=True)
        scored = [(name, run.per_volume, run.leaks) for name, run in pairs if run.per_volume]
        if scored:
            figures.runs(workdir / "comparison.png", scored)
    entry.finish(workdir, result)
    if bad:
        sys.exit(1)


if __name__ == "__main__":
    entry.run(main, positional=True)
