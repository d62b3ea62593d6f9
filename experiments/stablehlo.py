r"""Writes a model as one program that runs wherever jax does: StableHLO for cpu, cuda and tpu, from raw array to answer.

    python -m experiments.stablehlo --model=lgg_unet --shape=256,256 --output=lgg_program
    python -m experiments.stablehlo --model=strip_unet --output=strip_program
    python -m experiments.stablehlo --model=checkpoints/runs/NAME/model --shape=160,192,160 --output=DIR

    import jax
    program = jax.export.deserialize(bytearray(open("lgg_program/program.stablehlo", "rb").read()))
    mask = program.call(slices)["mask"]  # [n 256 256 3] uint8, any n -> [n 256 256 1] bool

Normalisation, working grid, mirror images, sliding window and threshold are part of the program; program.json says what
goes in and what the host does before and after. What was written is read again and compared with the model.
"""

import pathlib
import time

from absl import flags

from experiments import entry

_MODEL = flags.DEFINE_string(
    "model", None, "Folder of a released model, or the name of one that came along.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.", required=True)
_SHAPE = flags.DEFINE_list(
    "shape", [], "Height and width of the slices, or X, Y and Z of the volumes, in voxels."
)
_DTYPE = flags.DEFINE_string(
    "dtype", "", "Of the raw arrays; default: uint8 of slices and pictures, float32 of volumes."
)
_BATCH = flags.DEFINE_integer(
    "batch_size", 0, "Slices, pictures or patches at once; 0: 8, and 1 of volumes."
)
_PLATFORMS = flags.DEFINE_list("platforms", ["cpu", "cuda", "tpu"], "What the program is for.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where result.json goes; default: --output.")


def main() -> None:
    """Lowers, writes, reads again, compares."""
    import jax
    import numpy as np

    from brainjax import infer
    from brainjax.infer import export, release, released
    from brainjax.infer.model import opened_with
    from brainjax.infer.whole import whole
    from brainjax.types import ConfigError

    begun = time.perf_counter()
    if not all(n.isdigit() for n in _SHAPE.value):
        raise ConfigError(f"--shape={','.join(_SHAPE.value)}; give sizes such as 256,256")
    shape = tuple(map(int, _SHAPE.value))
    folder = released.find(_MODEL.value)
    model = getattr(infer, opened_with(release.load(folder))).load(folder)
    how = {"shape": shape, "dtype": _DTYPE.value, "batch_size": _BATCH.value}
    output = export.save(
        _OUTPUT.value, export.export(model, **how, platforms=tuple(_PLATFORMS.value))
    )
    lowered = time.perf_counter() - begun

    again, made = export.load(output), whole(model, **how)
    result = {
        "task": "stablehlo",
        "model": str(folder),
        "dataset": model.facts.get("dataset", ""),
        "split": "none",
        "metrics": {},
        "output": str(output),
        "platforms": again.facts["platforms"],
        "bytes": (output / export.PROGRAM).stat().st_size,
        "seconds_to_lower": round(lowered, 1),
    }
    if jax.default_backend().replace("gpu", "cuda") in again.facts["platforms"]:
        rng = np.random.default_rng(0)
        arrays = [_example(spec, rng) for spec in made.arguments.values()]
        found, wanted = (f(*arrays)["probability"] for f in (again, jax.jit(made.apply)))
        difference = float(np.abs(np.asarray(found) - np.asarray(wanted)).max())
        result["metrics"] = {"max_abs_difference": difference}
    result["seconds"] = round(time.perf_counter() - begun, 1)
    workdir = pathlib.Path(_WORKDIR.value or output)
    workdir.mkdir(parents=True, exist_ok=True)
    entry.finish(workdir, result)


def _example(spec, rng):
    """Noise of two slices, pictures or scans; 1 to 2 mm where a voxel's size is asked for."""
    import numpy as np

    few = {"b": 2, "n": 2}
    shape = tuple(few.get(str(n), 48) if not isinstance(n, int) else n for n in spec.shape)
    if spec.dtype == np.float32:
        return rng.uniform(1, 2, shape).astype(np.float32)
    return rng.integers(0, 256, shape).astype(spec.dtype)


if __name__ == "__main__":
    entry.run(main)
