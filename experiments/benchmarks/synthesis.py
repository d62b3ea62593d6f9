"""Suite `synthesis`: synthetic heads a second, as data sets are made of them and as the stripper trains on them."""

from typing import Any

from experiments.benchmarks import child
from experiments.benchmarks.rounds import Contestant, Groups, Options, Runs
from experiments.benchmarks.table import Summary

PEERS = ()


def groups(options: Options) -> Groups:
    """Scans of slices, scans of whole heads, and heads of any contrast from label maps."""
    sizes = {"slices": (16, 128), "whole": (64, 96)}
    shape = (112, 144, 128)
    if options.small:
        sizes, shape = {"slices": (2, 32), "whole": (8, 32)}, (16, 16, 16)
    found: Groups = {}
    for band, (slices, size) in sizes.items():
        fields = {"band": band, "slices": slices, "size": size, "steps": options.steps}
        found[f"scanner_{band}"] = {"brainjax": Contestant("synthesis:scan", fields)}
    fields = {"shape": shape, "steps": options.steps}
    found["head_synthesis"] = {"brainjax": Contestant("synthesis:heads", fields)}
    return found


def metrics(runs: Runs, summary: Summary) -> dict[str, float]:
    """Heads a second of each."""
    return {
        f"{group} heads_per_second": of["units"] / of["seconds"]
        for group, who in summary.items()
        for of in who.values()
    }


def scan(band: str, slices: int, size: int, steps: int) -> dict[str, Any]:
    """Times one scan with a tumour by `brainjax.synth.scanner`."""
    import jax

    from brainjax.synth import deform, scanner

    draw = scanner(slices=slices, size=size, band={"slices": deform.SLICES}.get(band, deform.WHOLE))
    return _draws(lambda key: draw(key).image, steps, {"device": jax.devices()[0].device_kind})


def heads(shape: tuple[int, ...], steps: int) -> dict[str, Any]:
    """Times one example of `HeadSynthesis` from a map of blocks of classes."""
    import jax
    import numpy as np

    from brainjax.augment import HeadSynthesis

    # Which classes lie where changes no cost: every voxel is looked up and imaged alike.
    side = [round(1.5 * n) for n in shape]
    blocks = np.random.default_rng(0).integers(0, 40, [-(-n // 8) for n in side])
    labels = np.kron(blocks, np.ones((8, 8, 8), np.int64))[: side[0], : side[1], : side[2]]
    image = jax.device_put(labels[None, ..., None].astype(np.float32))
    mask = jax.device_put((labels[None, ..., None] > 20).astype(np.float32))
    synthesis = HeadSynthesis(shape=tuple(shape))
    make = jax.jit(lambda key: synthesis.batch(key[None], image, mask)[0])
    return _draws(make, steps, {"device": jax.devices()[0].device_kind})


def _draws(draw: Any, steps: int, facts: dict[str, Any]) -> dict[str, Any]:
    """Times `draw(key)`, a new key each time: what is drawn decides what is done."""
    import itertools

    import jax

    keys = map(jax.random.key, itertools.count())
    found = child.timed(lambda: draw(next(keys)).block_until_ready(), steps)
    return {**found, **facts, "units": 1, "unit": "heads"}
