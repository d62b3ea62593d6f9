"""Programs: a model as one file of StableHLO that runs wherever jax does, without brainjax.

    program.stablehlo   what `jax.export` wrote: the function of raw arrays (`brainjax.infer.whole`), weights included,
                        for cpu, cuda and tpu
    program.json        what goes in and comes out, what is left to the host, what is known about the model
    SHA256SUMS          of the two files above, in the format of `sha256sum`

    program = load(save("lgg_program", export(Segmenter.load("checkpoints/lgg_unet"), shape=(256, 256))))
    program(volume)["mask"]                          # [n 256 256 3] uint8 -> [n 256 256 1] bool

    jax.export.deserialize(bytearray(open("lgg_program/program.stablehlo", "rb").read())).call(volume)  # with jax alone

Nothing here unpickles: the file is a flatbuffer, and its checksum is verified before it is read.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.export

from brainjax import native
from brainjax.files import replacing, write_text
from brainjax.infer import checksums
from brainjax.infer.whole import whole
from brainjax.types import CheckpointError, ConfigError, DataError

PROGRAM, FACTS = "program.stablehlo", "program.json"
PLATFORMS = ("cpu", "cuda", "tpu")
_KEPT = ("dataset", "licence", "citation", "channels", "classes", "spacing_mm", "limits")


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """An exported model.

    Attributes:
        exported: what jax knows of it.
        facts: 'arguments' (name -> shape, dtype), 'left' (to the host), 'platforms', 'task', 'licence', ...
    """

    exported: jax.export.Exported
    facts: dict[str, Any]

    def __call__(self, *arrays: Any) -> dict[str, jax.Array]:
        """Runs it on jax's default device; compiles once for each new size.

        Args:
            arrays: in the order of `facts["arguments"]`.

        Returns:
            'probability' and, of what is segmented, 'mask'.

        Raises:
            DataError: another number of arrays, other shapes or types.
            ConfigError: it was not exported for this platform.
        """
        wanted = self.facts["arguments"]
        found = [f"{a.dtype}[{', '.join(map(str, a.shape))}]" for a in arrays]
        fits = len(arrays) == len(wanted) and all(map(_fits, arrays, wanted.values()))
        if not fits:
            asked = ", ".join(
                f"{k} {v['dtype']}[{', '.join(v['shape'])}]" for k, v in wanted.items()
            )
            raise DataError(f"the program takes {asked}; it was given {', '.join(found)}")
        if (platform := _platform()) not in self.exported.platforms:
            raise ConfigError(
                f"the program is for {', '.join(self.exported.platforms)}, not for {platform}; export it again with "
                f"--platforms={platform}, or set JAX_PLATFORMS"
            )
        return self._call(*arrays)

    @functools.cached_property
    def _call(self) -> Any:
        return jax.jit(self.exported.call)


def export(
    model: Any,
    *,
    shape: Sequence[int] = (),
    dtype: str = "",
    batch_size: int = 0,
    platforms: Sequence[str] = PLATFORMS,
) -> Program:
    """Lowers a model, from raw array to answer.

    Args:
        model, shape, dtype, batch_size: see `brainjax.infer.whole.whole`.
        platforms: some of `PLATFORMS`; none of them need be here.

    Raises:
        ConfigError: as `whole`; an unknown platform; or a model that calls native code.
    """
    if not platforms or set(platforms) - set(PLATFORMS):
        raise ConfigError(f"--platforms={','.join(platforms)}; name some of {', '.join(PLATFORMS)}")
    made = whole(model, shape=shape, dtype=dtype, batch_size=batch_size)
    lower = jax.export.export(jax.jit(made.apply), platforms=tuple(platforms))
    try:
        with native.switched_off():
            exported = lower(*made.arguments.values())
    except ValueError as error:
        if "custom call" not in str(error):
            raise
        raise ConfigError(
            f"the model calls native code that other machines lack; build it without ({' '.join(str(error).split())[:200]})"
        ) from error
    facts = {
        "task": model.task,
        "arguments": {
            name: {"shape": [str(n) for n in spec.shape], "dtype": str(spec.dtype)}
            for name, spec in made.arguments.items()
        },
        "left": made.left,
        "platforms": list(exported.platforms),
        "jax": jax.__version__,
        **{key: model.facts[key] for key in _KEPT if key in model.facts},
        "use": "research use only",
    }
    return Program(exported, facts)


def save(directory: str | pathlib.Path, program: Program) -> pathlib.Path:
    """Writes a program's folder; returns its path."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(directory / PROGRAM) as temporary:
        temporary.write_bytes(program.exported.serialize())
    write_text(directory / FACTS, json.dumps(program.facts, indent=2) + "\n")
    checksums.write(directory, (PROGRAM, FACTS))
    return directory


def load(directory: str | pathlib.Path) -> Program:
    """Reads a program's folder.

    Raises:
        CheckpointError: a file is missing, does not match its checksum, or is not what it claims to be.
    """
    directory = pathlib.Path(directory)
    if not (directory / PROGRAM).is_file():
        raise CheckpointError(f"{directory} holds no exported program: {PROGRAM} is missing")
    try:
        checksums.check(directory, (PROGRAM, FACTS))
        facts = json.loads((directory / FACTS).read_text())
        # Of what is no such file jax may say anything at all.
        exported = jax.export.deserialize(bytearray((directory / PROGRAM).read_bytes()))
        if set(facts) < {"arguments", "left"} or len(exported.in_avals) != len(facts["arguments"]):
            raise ValueError(f"{FACTS} is of another program")
        return Program(exported, facts)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{directory} cannot be read as an exported program ({type(error).__name__}: {error}); export it again"
        ) from error


def _platform() -> str:
    """The default device's, by the name that `jax.export` has for it."""
    name = jax.default_backend()
    return "cuda" if name == "gpu" else name


def _fits(array: Any, wanted: dict[str, Any]) -> bool:
    sizes = zip(array.shape, wanted["shape"], strict=False)
    return (
        str(array.dtype) == wanted["dtype"]
        and len(array.shape) == len(wanted["shape"])
        and all(n > 0 and (str(n) == w or not w.isdigit()) for n, w in sizes)
    )
