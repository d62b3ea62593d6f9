"""Suites `cpu` and `gpu`: the same network in brainjax and in each peer."""

import dataclasses
import sys
from typing import Any

from brainjax.types import ConfigError
from experiments import pages
from experiments.benchmarks import rounds
from experiments.benchmarks.cases import CASES, MODES
from experiments.benchmarks.rounds import Contestant, Groups, Options, Runs
from experiments.benchmarks.table import Summary

PEERS = ("torch", "monai", "keras")
NO_GPU = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
# The module that builds a peer's networks.
_MODULES = {"torch": "peer_torch", "monai": "peer_torch", "keras": "peer_keras"}
# The C allocator keeps large blocks instead of returning them to the system after each use (glibc).
TUNED = {
    pages.VARIABLE: "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"
    ":glibc.malloc.top_pad=67108864"
}
# The same, in pages as large as ours.
LARGE = {pages.VARIABLE: f"{TUNED[pages.VARIABLE]}:{pages.LARGE}"}


def cpu(options: Options) -> Groups:
    """Each case, trained and applied, in float32: ours with and without the native convolutions, peers as they come,
    channels last, with a tuned allocator, and with large pages too."""
    ours = {"portable": Contestant("ours:network", env={"BRAINJAX_NATIVE": "0"})}
    if native():
        ours = {"native": Contestant("ours:network", env={"BRAINJAX_NATIVE": "1"}), **ours}
    found = _groups(options, ours, _torch_on_cpu, {"keras": {}, "keras large pages": LARGE})
    return {
        group: {n: dataclasses.replace(c, env={**NO_GPU, **c.env}) for n, c in who.items()}
        for group, who in found.items()
    }


def gpu(options: Options) -> Groups:
    """Each case in float32 and bfloat16: ours, and torch eager, channels last, autotuned and compiled.

    Raises:
        ConfigError: JAX, or a peer that was asked for by name, sees no GPU; --small does without one.
    """
    if not options.small:
        options = dataclasses.replace(options, peers=_with_gpu(options))
    groups = {}
    for dtype in ("float32", "bfloat16"):
        ours = {"brainjax": Contestant("ours:network", {"dtype": dtype})}

        def torch(library: str, dtype: str = dtype) -> dict[str, Contestant]:
            return _torch_on_gpu(library, dtype)

        keras = {"keras": {}} if dtype == "float32" else {}
        found = _groups(options, ours, torch, keras)
        groups |= {f"{name}/{dtype}": who for name, who in found.items()}
    return groups


def native() -> bool:
    """Whether this installation has the native convolutions; asked in a process of its own, as this one opens no device."""
    return rounds.call(Contestant("networks:ready", env=NO_GPU), Options())["ready"]


def ready() -> dict[str, bool]:
    """What `native` asks."""
    from brainjax import native as extension

    return {"ready": extension.ready()}


def _with_gpu(options: Options) -> tuple[str, ...]:
    """The peers that see a GPU: the others would put figures of a CPU into the table."""
    found = rounds.call(Contestant("ours:platform"), options)["platform"]
    if found != "gpu":
        raise ConfigError(
            f"--suite=gpu: JAX runs on {found} here; install jax[cuda] where there is a GPU, or try the suite with --small"
        )
    kept = []
    for peer in options.peers:
        env = {"KERAS_BACKEND": options.other["keras_backend"]} if peer == "keras" else {}
        if rounds.call(Contestant(f"{_MODULES[peer]}:gpu", {}, env, peer=True), options)["gpu"]:
            kept.append(peer)
            continue
        on = f"{peer} on {env['KERAS_BACKEND']}" if env else peer
        told = f"{on} sees no GPU in {options.python}"
        if options.named:
            another = " or choose another --keras_backend" if env else ""
            raise ConfigError(f"--peers: {told}; install its build for CUDA{another}")
        print(f"{told}: left out", file=sys.stderr)
    return tuple(kept)


def _torch_on_cpu(library: str) -> dict[str, Contestant]:
    last = {"library": library, "channels_last": True}
    return {
        library: Contestant("peer_torch:network", {"library": library}, peer=True),
        f"{library} channels_last": Contestant("peer_torch:network", last, peer=True),
        f"{library} tuned": Contestant("peer_torch:network", last, TUNED, peer=True),
        f"{library} large pages": Contestant("peer_torch:network", last, LARGE, peer=True),
    }


def _torch_on_gpu(library: str, dtype: str) -> dict[str, Contestant]:
    same = {"library": library, "dtype": dtype}
    ways: dict[str, dict[str, Any]] = {
        "": {},
        " channels_last": {"channels_last": True},
        " autotuned": {"channels_last": True, "autotune": True},
        " compiled": {"channels_last": True, "autotune": True, "compiled": True},
    }
    return {
        f"{library}{name}": Contestant("peer_torch:network", {**same, **way}, peer=True)
        for name, way in ways.items()
    }


def _groups(
    options: Options, ours: dict[str, Contestant], torch: Any, keras: dict[str, dict[str, str]]
) -> Groups:
    groups: Groups = {}
    for case, spec in CASES.items():
        for mode in MODES:
            who = dict(ours)
            for peer in options.peers:
                if peer not in spec.peers:
                    continue
                if peer == "keras":
                    env = {"KERAS_BACKEND": options.other.get("keras_backend", "tensorflow")}
                    for name, memory in keras.items():
                        who[name] = Contestant("peer_keras:network", {}, env | memory, peer=True)
                else:
                    who |= torch(peer)
            common = {
                "case": case,
                "mode": mode,
                "steps": options.steps,
                "small": options.small,
            }
            groups[f"{case}/{mode}"] = {
                name: Contestant(c.call, {**common, **c.arguments}, c.env, c.peer)
                for name, c in who.items()
            }
    return groups


def metrics(runs: Runs, summary: Summary) -> dict[str, float]:
    """Operations a second of ours in every group and, where a matmul was timed beside it, their share of its rate."""
    found = {}
    for group, contestants in summary.items():
        for name, of in contestants.items():
            if "flops" not in of:
                continue
            rate = of["flops"] / of["seconds"]
            found[f"{group} {name} gflops_per_second"] = rate / 1e9
            if "matmul_flops" in of:
                found[f"{group} {name} of_matmul_rate"] = rate / of["matmul_flops"]
    return found
