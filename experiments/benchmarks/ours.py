"""brainjax's side of the comparison of networks: a training step and an inference, as a user writes them."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from brainjax import memory, models
from experiments.benchmarks import child
from experiments.benchmarks.cases import CASES

# Long enough for one matmul to show what the device can do.
_EDGE = {"cpu": 2048, "gpu": 16384, "tpu": 16384}


def network(
    case: str, mode: str, steps: int, dtype: str = "float32", small: bool = False
) -> dict[str, Any]:
    """Times one case, trained or applied.

    Returns:
        As `child.timed`, with the number of trained parameters, the operations of a step ('flops', where they can be
        counted), the examples of one ('units'), and on a GPU the most memory held there and the rate of a large matmul.
    """
    spec = CASES[case]
    model = getattr(models, spec.model)(dtype=dtype, **spec.fields)
    shape = spec.small if small else spec.shape
    x = jax.device_put(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    variables = filled(model, x)
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
    if mode == "train":
        y = target(x, spec.classes, spec.pixels)
        step, function, arguments = trainer(model, variables, x, y)
    else:
        function, arguments = jax.jit(lambda v, x: model.apply(v, x, train=False)), (variables, x)

        def step() -> None:
            function(*arguments).block_until_ready()

    found = child.timed(step, steps, lambda: compiled(function, *arguments))
    # What is counted and multiplied comes after: tracing is part of the first step, and memory is the step's.
    found |= {"peak_bytes": child.peak_bytes(), **device_memory()}
    found |= {"parameters": count, "units": shape[0], "unit": "examples"}
    found["device"] = jax.devices()[0].device_kind
    return {**found, **operations(function, *arguments), **_device_rate(dtype)}


def platform() -> dict[str, str]:
    """Where JAX runs here: 'cpu', 'gpu' or 'tpu'."""
    return {"platform": jax.default_backend()}


def compiled(function: Any, *arguments: Any) -> Any:
    """Compiles a jitted function ahead of its first call, which finds it, as `Trainer` does."""
    program = function.lower(*arguments).compile()
    memory.give_back()  # what the compiler leaves behind does not lie beside the step's memory
    return program


def target(x: Array, classes: int, pixels: bool) -> Array:
    """Some truth: a mask [B *spatial K] in {0, 1}, or one-hot labels [B K]."""
    rng = np.random.default_rng(1)
    if pixels:
        return jnp.asarray(rng.integers(0, 2, (*x.shape[:-1], classes)), jnp.float32)
    return jnp.asarray(np.eye(classes)[rng.integers(0, classes, x.shape[0])], jnp.float32)


def filled(model: Any, x: Array) -> Any:
    """Variables of a model without running it: He normal kernels, scales 1, the rest 0."""
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    rng = np.random.default_rng(0)

    def fill(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name == "kernel":
            fan_in = math.prod(leaf.shape[:-1])
            return rng.normal(0, math.sqrt(2 / fan_in), leaf.shape).astype(np.float32)
        return np.full(leaf.shape, float(name in ("scale", "var")), np.float32)

    return jax.device_put(jax.tree_util.tree_map_with_path(fill, shapes))


def trainer(model: Any, variables: Any, x: Array, y: Array) -> tuple[Any, Any, tuple[Any, ...]]:
    """A step of Adam on the cross-entropy of pixels or images.

    Returns:
        (the step, which returns when it is done; the jitted function in it; the arguments of its first call, which
        that call uses up).
    """
    tx = optax.adam(1e-3)
    rest = {k: v for k, v in variables.items() if k != "params"}

    def objective(params: Any, rest: Any, x: Array, y: Array, key: Array) -> tuple[Array, Any]:
        rngs = {"dropout": key}
        everything = {"params": params, **rest}
        logits, new = model.apply(everything, x, train=True, mutable=list(rest), rngs=rngs)
        if logits.ndim > 2:
            return optax.sigmoid_binary_cross_entropy(logits, y).mean(), new
        return optax.softmax_cross_entropy(logits, y).mean(), new

    def update(state: Any, x: Array, y: Array) -> tuple[Any, Array]:
        params, rest, moments, key = state
        key, now = jax.random.split(key)
        gradient = jax.value_and_grad(objective, has_aux=True)
        (loss, new), grads = gradient(params, rest, x, y, now)
        moves, moments = tx.update(grads, moments, params)
        return (optax.apply_updates(params, moves), {**rest, **new}, moments, key), loss

    held = [(variables["params"], rest, tx.init(variables["params"]), jax.random.key(0))]
    function = jax.jit(update, donate_argnums=0)
    arguments = (held[0], x, y)

    def step() -> None:
        held[0], loss = function(held[0], x, y)
        loss.block_until_ready()

    return step, function, arguments


def operations(function: Any, *arguments: Any) -> dict[str, float]:
    """Floating-point operations of a jitted function as GPUs get it, where every convolution is written as one.

    Returns:
        'flops'; nothing where they cannot be counted.
    """
    try:
        # An accelerator's plugin counts no program before it is compiled; JAX's own CPU client counts any.
        cpu = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves it out
        return {}
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), arguments)
    with jax.default_device(cpu):
        found = function.trace(*shapes).lower(lowering_platforms=("cuda",)).cost_analysis()
    return {"flops": float(found["flops"])} if found and "flops" in found else {}


def device_memory() -> dict[str, int]:
    """The most memory that was held on the accelerator; nothing on CPU, where the process's own counts."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return {"device_bytes": stats["peak_bytes_in_use"]} if "peak_bytes_in_use" in stats else {}


def _device_rate(dtype: str) -> dict[str, float]:
    """Operations a second of a large matmul: what the fraction of the roofline is measured against."""
    where = jax.default_backend()
    if where == "cpu":
        return {}
    n = _EDGE[where]
    # Not ones: a processor that switches fewer bits draws less power and keeps a higher clock.
    a, b = (jax.random.normal(jax.random.key(i), (n, n), dtype) for i in range(2))
    product = jax.jit(jnp.dot)
    found = child.timed(lambda: product(a, b).block_until_ready(), 5)
    return {"matmul_flops": 2 * n**3 / found["seconds"]}
