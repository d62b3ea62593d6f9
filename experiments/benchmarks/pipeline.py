"""Suite `pipeline`: from a NIfTI file to a brain and its mask on disk, by each tool's own command.

`brainjax` and the peers start anew for each scan, as a shell script starts them, and read their weights; ours compiles,
too, unless a cache of compiled programs is there ('brainjax cached'). `brainjax running` is what each further scan of a
folder costs. A peer may fetch its weights when first run: run it once before. deepbet refuses files below 100 kB, such as
the head of --small.
"""

import os
import pathlib
import subprocess
import sys
import time
from typing import Any

from experiments import pages
from experiments.benchmarks import rounds
from experiments.benchmarks.networks import NO_GPU
from experiments.benchmarks.rounds import Contestant, Groups, Options, Runs
from experiments.benchmarks.table import Summary

PEERS = ("deepbet", "hd-bet")
_PAGES = {pages.VARIABLE: ""}  # those that every command has
SCRIPT = {"deepbet": "deepbet-cli", "hd-bet": "hd-bet"}


def groups(options: Options) -> Groups:
    """One group: ours three ways, and the peers."""
    folder = pathlib.Path(options.other["workdir"])
    head = options.other["head"] or str(folder / "head.nii.gz")
    if not options.other["head"]:  # made in a process of its own, as this one opens no device
        made = {"path": head, "small": options.small}
        rounds.call(Contestant("pipeline:synthetic", made, NO_GPU), options)
    cache = {"BRAINJAX_COMPILATION_CACHE": str(folder / "cache")}
    cache["JAX_ENABLE_COMPILATION_CACHE"] = "1"
    ours = [sys.executable, "-m", "brainjax", "strip", head, "{brain}", "--mask", "{mask}"]
    who = {
        "brainjax": Contestant("pipeline:command", {"words": ours}, _PAGES),
        "brainjax cached": Contestant(
            "pipeline:command", {"words": ours, "again": True}, cache | _PAGES
        ),
        "brainjax running": Contestant(
            "pipeline:running", {"head": head, "steps": options.steps}, _PAGES
        ),
    }
    for peer in options.peers:
        script = str(pathlib.Path(options.python).parent / SCRIPT[peer])
        words = {
            "deepbet": [script, "-i", head, "-o", "{brain}", "-m", "{mask}", "--no_gpu"],
            "hd-bet": [
                *(script, "-i", head, "-o", "{brain}", "-device", "cpu"),
                *("--disable_tta", "--save_bet_mask"),
            ],
        }[peer]
        who[peer] = Contestant("pipeline:command", {"words": words}, _PAGES)
    return {"strip": who}


def metrics(runs: Runs, summary: Summary) -> dict[str, float]:
    """Seconds a scan of each."""
    return {
        f"{name} seconds": of["seconds"] for who in summary.values() for name, of in who.items()
    }


def command(words: list[str], again: bool = False) -> dict[str, Any]:
    """Times a command line, from its start to its end; {brain} and {mask} become files that it has to write.

    With `again`, it has run before, so that what it keeps is there.
    """
    import tempfile

    if again:
        command(words)
    with tempfile.TemporaryDirectory() as folder:
        files = {n: str(pathlib.Path(folder) / f"{n}.nii.gz") for n in ("brain", "mask")}
        out, err = (pathlib.Path(folder) / name for name in ("out", "err"))
        begun = time.perf_counter()
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [word.format(**files) for word in words], stdout=stdout, stderr=stderr
            )
            # What this process and its own children used, and no command before it.
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begun
        if process.returncode or not pathlib.Path(files["brain"]).exists():
            told = (path.read_text(errors="replace").strip() for path in (err, out))
            last = next(filter(None, told), "no message").splitlines()[-1]
            sys.exit(f"{words[0]} wrote no brain: {last}")
    scale = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * scale,
        "units": 1,
        "unit": "scans",
    }


def running(head: str, steps: int) -> dict[str, Any]:
    """Times reading, stripping and writing in a process that has done a scan before."""
    import tempfile

    import numpy as np

    from brainjax.infer.strip import Stripper
    from brainjax.io import read_volume, write_volume
    from experiments.benchmarks import child

    strip = Stripper.load()
    with tempfile.TemporaryDirectory() as folder:
        brain, mask = (pathlib.Path(folder) / f"{n}.nii.gz" for n in ("brain", "mask"))

        def run() -> None:
            volume = read_volume(pathlib.Path(head))
            found = strip(volume)
            write_volume(brain, volume.with_data(np.where(found.data, volume.data, 0)))
            write_volume(mask, found)

        return {**child.timed(run, steps), "units": 1, "unit": "scans"}


def synthetic(path: str, small: bool) -> dict[str, str]:
    """Writes a head of our own making; where it comes from does not change what it costs."""
    import jax
    import numpy as np

    from brainjax.io import Volume, write_volume
    from brainjax.synth import deform, scanner

    slices, size = (24, 32) if small else (160, 240)
    scan = scanner(slices=slices, size=size, band=deform.WHOLE)(jax.random.key(0), 1.0)
    image = np.moveaxis(np.asarray(scan.image[..., 0]), 0, -1)[:, ::-1]  # [H W S]
    pixel = deform.FIELD_OF_VIEW / size
    affine = np.diag([pixel, pixel, float(scan.step), 1.0])
    write_volume(pathlib.Path(path), Volume(np.ascontiguousarray(image), affine))
    return {"head": path}
