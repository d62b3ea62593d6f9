"""Suite `cost`: how seconds and memory of ours grow with the edge of a patch, the batch, the classes, the scans of a data
set and the trials of a sweep.

Each group varies one number; `metrics` holds the slopes of log seconds and log memory against its logarithm: 1 is
proportional, 3 is what an edge should cost, less than either is a gain of scale. Memory is what the compiled step
allocates, where it is a step, and else the process's peak.
"""

from typing import Any

from experiments.benchmarks import child, sweep
from experiments.benchmarks.rounds import Contestant, Groups, Options, Runs
from experiments.benchmarks.table import Summary, slope

PEERS = ()
POINTS = {
    "edge": (32, 48, 64, 96),
    "batch": (1, 2, 4, 8),
    "classes": (1, 4, 16),
    "scans": (8, 16, 32, 64),
    "trials": (1, 2, 4, 8),
}
SMALL = {"edge": (8, 16), "batch": (1, 2), "classes": (1, 2), "scans": (2, 4), "trials": (1, 2)}


def groups(options: Options) -> Groups:
    """A group a quantity, a contestant a value of it."""
    found: Groups = {}
    edge = 8 if options.small else 48
    for name, values in (SMALL if options.small else POINTS).items():
        found[name] = {}
        for value in values:
            if name == "trials":
                fields = {k: v for k, v in sweep.SMALL.items() if k != "trials"}
                if not options.small:
                    fields = {"steps": 100, "batch_size": 32, "size": 32, "width": 16}
                rates = [1e-3 * 1.25**i for i in range(value)]
                one = Contestant("sweep:train", {"how": "packed", "rates": rates, **fields})
            elif name == "scans":
                one = Contestant("cost:scans", {"count": value, "edge": 2 * edge})
            else:
                sizes = {"edge": edge, "batch": 1, "classes": 1, name: value}
                one = Contestant("cost:step", {**sizes, "steps": options.steps})
            found[name][str(value)] = one
    return found


def metrics(runs: Runs, summary: Summary) -> dict[str, float]:
    """Slopes of each group."""
    found = {}
    for name, points in summary.items():
        if len(points) < 2:
            continue
        sizes = [float(value) for value in points]
        for key in ("seconds", "first_seconds", "step_bytes", "peak_bytes"):
            told = [p[key] for p in points.values() if key in p]
            if len(told) == len(sizes) and min(told) > 0:
                found[f"{name} slope of {key}"] = slope(sizes, told)
    return found


def step(edge: int, batch: int, classes: int, steps: int) -> dict[str, Any]:
    """Times a training step of the residual 3D U-Net of the suite `cpu` and tells what the step allocates."""
    import jax
    import numpy as np

    from brainjax import models
    from experiments.benchmarks import ours
    from experiments.benchmarks.cases import CASES

    case = CASES["res3d_64"]
    model = getattr(models, case.model)(**{**case.fields, "num_classes": classes})
    shape = (batch, edge, edge, edge, 1)
    x = jax.device_put(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    run, function, arguments = ours.trainer(
        model, ours.filled(model, x), x, ours.target(x, classes, True)
    )
    programs = []
    found = child.timed(run, steps, lambda: programs.append(ours.compiled(function, *arguments)))
    plan = programs[0].memory_analysis()
    held = {"step_bytes": plan.temp_size_in_bytes + plan.argument_size_in_bytes} if plan else {}
    device = jax.devices()[0].device_kind
    return {**found, **held, "units": batch, "unit": "examples", "device": device}


def scans(count: int, edge: int) -> dict[str, Any]:
    """Times opening a data set of so many volumes: checks, normalisation, order."""
    import numpy as np

    from brainjax.data import Order, Source
    from experiments.benchmarks.input import noise

    data = noise((edge, edge, edge, 1), count)
    clock = child.Clock()
    source = Source(data, 1, "zscore")
    rows = np.arange(count)
    Order(rows, source.foreground(rows), 2, 0.5, 0)(0)
    return {**clock.read(), "units": count, "unit": "scans"}
