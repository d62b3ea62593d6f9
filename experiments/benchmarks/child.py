"""What a contestant's own process does: one call, timed, its memory read. Standard library only, so that a peer's
environment needs nothing of ours.

    python -m experiments.benchmarks.child MODULE:FUNCTION '{"argument": 1}'

The last line of stdout is the reply, JSON: what the function returned, and `peak_bytes`.
"""

import importlib
import json
import os
import pathlib
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any


def main(argv: list[str]) -> None:
    """Calls what the command line names and prints the reply."""
    call, arguments = argv
    module, function = call.split(":")
    # Before any library starts its threads, which are as many as the process may use cores.
    cores = int(os.environ.get("BENCHMARK_THREADS", "0"))
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    reply = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    print(json.dumps({"peak_bytes": peak_bytes(), **reply}))


def peak_bytes() -> int:
    """Largest resident size that this process has had."""
    status = pathlib.Path("/proc/self/status")
    told = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    if told:  # which some sandboxes leave out
        # getrusage would count what the parent held when it forked.
        return 1024 * int(told[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


class Clock:
    """Seconds since it was made: on the wall, and of this process on all cores."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Both."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {"seconds": wall, "cpu_seconds": cpu}


def timed(
    step: Callable[[], Any], steps: int, compile: Callable[[], Any] | None = None
) -> dict[str, float]:
    """Times `step`, which returns when its work is done: first alone (compilation included), then `steps` times.

    Args:
        step: the work.
        steps: how often.
        compile: does what can be done ahead of the first step and nothing else of it.

    Returns:
        `first_seconds`, with `compile_seconds` of them where `compile` is given, and medians a step: `seconds` on the
        wall and `cpu_seconds` on all cores.
    """
    clock, ahead = Clock(), {}
    if compile is not None:
        compile()
        ahead["compile_seconds"] = clock.read()["seconds"]
    step()
    first = clock.read()["seconds"]
    step()  # allocators and caches settle
    found = []
    for _ in range(steps):
        clock = Clock()
        step()
        found.append(clock.read())
    medians = {key: statistics.median(f[key] for f in found) for key in found[0]}
    return {"first_seconds": first, **ahead, **medians}


if __name__ == "__main__":
    main(sys.argv[1:])
