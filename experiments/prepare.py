r"""Prepares a data set once: verifies every file and writes it as a TFDS data set (ArrayRecord).

    python -m experiments.prepare --data_dir=DIR --output=PREPARED
    python -m experiments.train --config=configs/unet.py:lgg --config.data.dir=PREPARED

    python -m experiments.prepare --dataset=TumorImages --data_dir=DIR --output=PREPARED
    python -m experiments.prepare --dataset=Brats --data_dir=DIR --output=PREPARED --plan --memory_gb=24
    python -m experiments.train --config=configs/brats.py:brats --config.data.dir=PREPARED --plan=PREPARED

Training takes the prepared folder in the place of the original one, with the same rows in the same order, and starts
faster from it, the more so over a network disk. An interrupted preparation is never taken for a finished one.

Large sets are prepared by many processes or machines with Apache Beam (pip install 'brainjax[beam]'):
--beam_runner=DirectRunner --beam_options=direct_running_mode=multi_processing,direct_num_workers=8, or the runner of a
cluster that reaches both folders. The result is the same.

--plan also derives patch, batch and depth of the network from the volumes and the memory, and writes them with their
reasons to plan.json in --output.
"""

import math
import pathlib
import time

from absl import flags

from experiments import entry

_DATASET = flags.DEFINE_enum(
    "dataset",
    "LGG",
    [
        *("LGG", "TumorImages", "TumorImages7023", "YesNoImages"),
        *("Brats", "Brats2013", "ImagePairs", "NFBS"),
    ],
    "Which data set the folder holds.",
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder as downloaded.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Where the prepared files go.", required=True)
_SKIP_BAD = flags.DEFINE_bool("skip_bad", False, "Leave unusable files out instead of refusing.")
_SPACING = flags.DEFINE_list(
    "spacing",
    [],
    "Resample volumes to so many mm: one number, or three along RAS+; left out, the files' own.",
)
_LABELS = flags.DEFINE_multi_integer(
    "labels", [], "Value in the masks of ImagePairs that is a class; repeat the flag for several."
)
_PLAN = flags.DEFINE_bool("plan", False, "Also write plan.json, of volumes.")
_MEMORY = flags.DEFINE_float(
    "memory_gb", 8.0, "What a training step may take, for the plan.", lower_bound=0.0
)
_RUNNER = flags.DEFINE_string("beam_runner", "", "Apache Beam's runner; empty: none, one process.")
_OPTIONS = flags.DEFINE_list("beam_options", [], "Of that runner: name=value, ...")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where result.json goes; default: --output.")


@flags.validator("spacing", "one number of mm, or three along RAS+: --spacing=1 or --spacing=1,1,5")
def _is_spacing(values: list[str]) -> bool:
    try:
        sizes = [float(v) for v in values]
    except ValueError:
        return False
    return sizes in ([], [0.0]) or (len(sizes) in (1, 3) and all(0 < s < math.inf for s in sizes))


def _spacing() -> float | tuple[float, ...]:
    """As the data sets take it."""
    sizes = tuple(float(v) for v in _SPACING.value)
    return sizes if len(sizes) == 3 else sum(sizes)


def main() -> None:
    """Verifies, writes, reports."""
    from brainjax import datasets
    from brainjax.types import ConfigError

    try:
        from brainjax.datasets import common_builder, images_builder, lgg_builder, volumes_builder
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"preparing needs {error.name}: pip install tensorflow-datasets tensorflow-cpu"
        ) from error
    begun = time.perf_counter()
    if _PLAN.value and _DATASET.value not in volumes_builder.BUILDERS:
        raise ConfigError(f"--plan is for volumes ({', '.join(volumes_builder.BUILDERS)})")
    places, skip = (_DATA_DIR.value, _OUTPUT.value), {"skip_bad": _SKIP_BAD.value}
    beam = common_builder.Beam(_RUNNER.value, tuple(_OPTIONS.value))
    if _DATASET.value == "LGG":
        folder, counted = lgg_builder.prepare(*places, **skip, beam=beam), ("n_slices", "n_volumes")
    elif _DATASET.value in volumes_builder.BUILDERS:
        skip["spacing"] = _spacing()
        if _LABELS.value:
            skip["labels"] = tuple(_LABELS.value)
        folder = volumes_builder.prepare(_DATASET.value, *places, **skip, beam=beam)
        counted = "n_volumes", "n_patients"
    else:
        folder = images_builder.prepare(_DATASET.value, *places, **skip, beam=beam)
        counted = "n_images", "n_groups"
    lazy = {}
    if _DATASET.value in volumes_builder.BUILDERS:
        lazy = {"in_memory": False, **{k: v for k, v in skip.items() if k == "labels"}}
    dataset = datasets.get(_DATASET.value)(_OUTPUT.value, **lazy).load()
    workdir = pathlib.Path(_WORKDIR.value or _OUTPUT.value)
    workdir.mkdir(parents=True, exist_ok=True)
    planned = {}
    if _PLAN.value:
        from brainjax.preprocess import plan

        seen = volumes_builder.fingerprint(_DATASET.value, _OUTPUT.value)
        made = plan.make_plan(seen, memory_gb=_MEMORY.value)
        planned = {"plan": str(made.save(_OUTPUT.value))}
    result = {
        "task": "prepare",
        "dataset": dataset.info.name,
        "split": "all",
        "metrics": dict(zip(counted, (len(dataset), len(dataset.groups)), strict=True)),
        "output": str(folder),
        **planned,
        "seconds": round(time.perf_counter() - begun, 1),
    }
    entry.finish(workdir, result)


if __name__ == "__main__":
    entry.run(main)
