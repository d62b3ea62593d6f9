r"""Looks for leaks in a folder of labelled pictures: copies, near copies, and labels that contradict each other.

    python -m experiments.leaks --data_dir=DIR --workdir=leaks

DIR holds a folder a class, or parts such as Training/ and Testing/ that do. What is found goes to the screen and, with
--workdir, to leaks.csv there (every picture that is not alone), with examples beside it (leaks.png). A score on a set
that leaks says how well a network remembers: the split `stratified` keeps what looks alike on one side.
"""

import csv
import pathlib
import time

from absl import flags

from experiments import entry

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of pictures.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where leaks.csv, leaks.png and result.json go.")
_SKIP_BAD = flags.DEFINE_bool("skip_bad", False, "Leave unusable files out instead of refusing.")

SIZE = 150  # pixels of a picture in leaks.png, before it is enlarged


def main() -> None:
    """Reads, compares, reports."""
    # --help must not wait for matplotlib.
    from brainjax.datasets import ImageFolder, leaks

    begun = time.perf_counter()
    folder = ImageFolder(_DATA_DIR.value, size=SIZE, crop=False, skip_bad=_SKIP_BAD.value)
    dataset = folder.load()
    found = leaks.find(dataset)
    print("\n".join(found.lines()))
    workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None
    if workdir:
        workdir.mkdir(parents=True, exist_ok=True)
        with open(workdir / "leaks.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([leaks.COLUMNS, *leaks.table(dataset)])
        _picture(workdir / "leaks.png", dataset)
    result = {
        "task": "leaks",
        "dataset": pathlib.Path(_DATA_DIR.value).resolve().name,
        "split": "all",
        "metrics": found.metrics(),
        "classes": list(dataset.info.classes),
        "counts": found.counts,
        "conflicts": list(found.conflicts),
        "seconds": round(time.perf_counter() - begun, 1),
    }
    entry.finish(workdir, result)


def _picture(path: pathlib.Path, dataset) -> None:
    from brainjax.datasets import leaks
    from brainjax.report import canvas, pictures

    rows = [row for pair in leaks.examples(dataset) for row in pair]
    if not rows:
        path.unlink(missing_ok=True)  # of an earlier run
        return
    drawn = pictures.montage(
        [dataset.image[row] for row in rows],
        columns=4,
        labels=[_caption(dataset.name[row]) for row in rows],
        headers=["one picture", "and one like it"] * 2,
        title=f"{len(rows) // 2} of {len(leaks.groups(dataset))} groups of the same or nearly",
    )
    canvas.write(path, drawn)


def _caption(name: str, width: int = 44) -> str:
    """The name's end, where files differ, on a panel's width."""
    return name if len(name) <= width else f"...{name[3 - width :]}"


if __name__ == "__main__":
    entry.run(main)
