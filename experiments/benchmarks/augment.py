"""Suite `augment`: random geometry, contrast and artefacts of a batch on the device, against TorchIO and MONAI on CPU.

The chains hold the same operations with the same probabilities; what each library means by a bias field or a blur differs
in detail. `share_*` asks another question: what augmentation adds to a training step.
"""

from typing import Any

from experiments.benchmarks import child
from experiments.benchmarks.rounds import Contestant, Groups, Options, Runs
from experiments.benchmarks.table import Summary

PEERS = ("torchio", "monai")


def groups(options: Options) -> Groups:
    """A batch of slices, a batch of volumes, and a training step with and without augmentation."""
    shapes = {"slices": (16, 256, 256, 3), "volumes": (2, 96, 96, 96, 1)}
    if options.small:
        shapes = {"slices": (2, 32, 32, 3), "volumes": (1, 16, 16, 16, 1)}
    found: Groups = {}
    for name, shape in shapes.items():
        fields = {"shape": shape, "steps": options.steps}
        who = {"brainjax": Contestant("augment:ours", fields)}
        for peer in options.peers:
            who[peer] = Contestant(f"peer_augment:{peer}", fields, peer=True)
        found[name] = who
        found[f"share_{name}"] = {
            "step": Contestant("augment:step", {**fields, "augmented": False}),
            "with augmentation": Contestant("augment:step", {**fields, "augmented": True}),
        }
    return found


def metrics(runs: Runs, summary: Summary) -> dict[str, float]:
    """What augmentation adds to a step, as a share of the step without it."""
    found = {}
    for group, who in summary.items():
        if group.startswith("share_") and len(who) == 2:
            bare, whole = (who[n]["seconds"] for n in ("step", "with augmentation"))
            found[f"{group} added"] = whole / bare - 1
    return found


def _chain(rank: int) -> Any:
    from brainjax.augment import Augment

    return Augment(flip=(0.0,) * (rank - 1) + (0.5,))


def ours(shape: tuple[int, ...], steps: int) -> dict[str, Any]:
    """Times `Augment.batch` with its defaults, new keys each time."""
    import itertools

    import jax
    import numpy as np

    x = jax.device_put(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    mask = (x[..., :1] > 0).astype(x.dtype)
    chain = _chain(len(shape) - 2)
    run = jax.jit(lambda key: chain.batch(jax.random.split(key, shape[0]), x, mask))
    keys = map(jax.random.key, itertools.count())
    found = child.timed(lambda: jax.block_until_ready(run(next(keys))), steps)
    device = jax.devices()[0].device_kind
    return {**found, "units": shape[0], "unit": "examples", "device": device}


def step(shape: tuple[int, ...], steps: int, augmented: bool) -> dict[str, Any]:
    """Times a training step of the package, with or without augmentation inside it."""
    import jax
    import numpy as np
    import optax

    from brainjax import losses, models
    from brainjax.train.state import TrainState
    from brainjax.train.step import make_step
    from experiments.benchmarks.cases import CASES
    from experiments.benchmarks.ours import filled

    case = CASES["unet2d_16" if len(shape) == 4 else "res3d_96"]
    model = getattr(models, case.model)(**case.fields)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, shape, np.uint8)
    count, channels = shape[0], shape[-1]
    batch = {
        "image": image,
        "mask": (image[..., :1] > 200).astype(np.uint8),
        "shift": np.full((count, channels), 128, np.float32),
        "scale": np.full((count, channels), 1 / 74, np.float32),
        "valid": np.ones(count, np.float32),
    }
    batch = jax.device_put(batch)
    variables, tx = filled(model, batch["image"].astype(np.float32)), optax.adam(1e-3)
    moments = tx.init(variables["params"])
    # The state is donated: no two of its leaves may be one buffer.
    average = jax.tree.map(jax.numpy.copy, variables)
    counters = {name: jax.device_put(np.int32(0)) for name in ("step", "skipped", "streak")}
    state = [TrainState(variables=variables, ema=average, opt_state=moments, **counters)]
    chain = _chain(len(shape) - 2) if augmented else None
    update = jax.jit(make_step(model, losses.bce_dice, tx, size=0, augment=chain), donate_argnums=0)
    key = jax.random.key(0)

    def run() -> None:
        state[0], told = update(state[0], batch, key)
        told["loss"].block_until_ready()

    found = child.timed(run, steps)
    device = jax.devices()[0].device_kind
    return {**found, "units": count, "unit": "examples", "device": device}
