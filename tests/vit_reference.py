"""The published vision transformers in NumPy, computed from arrays under the published names.

Written from the paper (Dosovitskiy et al. 2021, arXiv:2010.11929) and from names and shapes of the release, not from
the modules here: what agrees with it has every array in the right place, the right way round.
"""

import math

import numpy as np
import parity


def shapes(
    *,
    width: int,
    heads: int,
    depth: int,
    mlp: int,
    grid: int,
    patch: int,
    stem: int = 0,
    stages: tuple[int, ...] = (),
    classes: int = 5,
    pre_logits: bool = False,
    token: bool = True,
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a release's file; a hybrid's if `stages` are given."""
    size, found = width // heads, {}

    def norm(name, *shape):
        found.update({f"{name}/scale": shape, f"{name}/bias": shape})

    def linear(name, kernel, bias):
        found.update({f"{name}/kernel": kernel, f"{name}/bias": bias})

    def unit(name, kernel, group_norm, *shape):
        found[f"{name}{kernel}/kernel"] = shape
        norm(f"{name}{group_norm}", 1, 1, 1, shape[-1])

    channels = 3
    if stages:
        unit("", "conv_root", "gn_root", 7, 7, 3, stem)
        channels = stem
    for i, units in enumerate(stages):
        inner = stem * 2**i
        for j in range(units):
            name = f"block{i + 1}/unit{j + 1}/"
            unit(name, "conv1", "gn1", 1, 1, channels, inner)
            unit(name, "conv2", "gn2", 3, 3, inner, inner)
            unit(name, "conv3", "gn3", 1, 1, inner, 4 * inner)
            if j == 0:
                unit(name, "conv_proj", "gn_proj", 1, 1, channels, 4 * inner)
            channels = 4 * inner
    linear("embedding", (patch, patch, channels, width), (width,))
    if token:
        found["cls"] = (1, 1, width)
    found["Transformer/posembed_input/pos_embedding"] = (1, grid**2 + token, width)
    for i in range(depth):
        block = f"Transformer/encoderblock_{i}"
        norm(f"{block}/LayerNorm_0", width)
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            linear(f"{attention}/{part}", (width, heads, size), (heads, size))
        linear(f"{attention}/out", (heads, size, width), (width,))
        norm(f"{block}/LayerNorm_2", width)
        linear(f"{block}/MlpBlock_3/Dense_0", (width, mlp), (mlp,))
        linear(f"{block}/MlpBlock_3/Dense_1", (mlp, width), (width,))
    norm("Transformer/encoder_norm", width)
    if pre_logits:
        linear("pre_logits", (width, width), (width,))
    linear("head", (width, classes), (classes,))
    return found


def arrays(named: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random values, a function of the names."""

    def kind(name):
        last = name.rpartition("/")[2]
        return {"scale": "scale", "kernel": "weight"}.get(last, "small")

    return {name: parity.weights(name, shape, kind(name)) for name, shape in named.items()}


def layer_norm(x, w, name):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    return x * w[f"{name}/scale"] + w[f"{name}/bias"]


def gelu(x):
    return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def attention(x, w, name):
    """x [N D] -> [N D], head by head."""
    q, k, v = (
        np.einsum("nd,dhk->hnk", x, w[f"{name}/{part}/kernel"]) + w[f"{name}/{part}/bias"][:, None]
        for part in ("query", "key", "value")
    )
    score = np.einsum("hnk,hmk->hnm", q, k) / math.sqrt(q.shape[-1])
    share = np.exp(score - score.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    y = np.einsum("hnm,hmk->hnk", share, v)
    return np.einsum("hnk,hkd->nd", y, w[f"{name}/out/kernel"]) + w[f"{name}/out/bias"]


def transformer(tokens, w):
    """tokens [N D], with their positions, through all blocks and the last norm."""
    depth = len({n.split("/")[1] for n in w if n.startswith("Transformer/encoderblock_")})
    for i in range(depth):
        block = f"Transformer/encoderblock_{i}"
        y = layer_norm(tokens, w, f"{block}/LayerNorm_0")
        tokens = tokens + attention(y, w, f"{block}/MultiHeadDotProductAttention_1")
        y = layer_norm(tokens, w, f"{block}/LayerNorm_2")
        for dense, act in (("Dense_0", gelu), ("Dense_1", lambda y: y)):
            name = f"{block}/MlpBlock_3/{dense}"
            y = act(y @ w[f"{name}/kernel"] + w[f"{name}/bias"])
        tokens = tokens + y
    return layer_norm(tokens, w, "Transformer/encoder_norm")


def convolve(x, kernel, stride):
    """x [H W C], kernel [k k C F]; TensorFlow's SAME padding: what is odd goes below and to the right."""
    size = len(kernel)
    out = [-(-n // stride) for n in x.shape[:2]]
    pads = [max((o - 1) * stride + size - n, 0) for o, n in zip(out, x.shape, strict=False)]
    x = np.pad(x, [(p // 2, p - p // 2) for p in pads] + [(0, 0)])
    y = np.zeros((*out, kernel.shape[-1]))
    for i in range(out[0]):
        for j in range(out[1]):
            window = x[i * stride : i * stride + size, j * stride : j * stride + size]
            y[i, j] = np.tensordot(window, kernel, 3)
    return y


def unit(x, w, conv, norm, stride=1):
    """Convolution by a standardised kernel, then group norm over 32 groups."""
    kernel = w[f"{conv}/kernel"].astype(np.float64)
    kernel = (kernel - kernel.mean((0, 1, 2))) / (kernel.std((0, 1, 2)) + 1e-5)
    y = convolve(x, kernel, stride)
    groups = y.reshape(-1, 32, y.shape[-1] // 32)
    groups = groups - groups.mean((0, 2), keepdims=True)
    groups = groups / np.sqrt((groups**2).mean((0, 2), keepdims=True) + 1e-6)
    return groups.reshape(y.shape) * w[f"{norm}/scale"][0, 0, 0] + w[f"{norm}/bias"][0, 0, 0]


def relu(x):
    return np.maximum(x, 0)


def pool(x):
    """Windows of 3, stride 2, over even sizes: SAME pads below and to the right."""
    x = np.pad(x, [(0, 1), (0, 1), (0, 0)], constant_values=-np.inf)
    out = [(n - 3) // 2 + 1 for n in x.shape[:2]]
    parts = [x[i : i + 2 * out[0] : 2, j : j + 2 * out[1] : 2] for i in range(3) for j in range(3)]
    return np.max([part[: out[0], : out[1]] for part in parts], 0)


def stem(x, w):
    """[H W 3] -> the last block's features."""
    x = pool(relu(unit(x, w, "conv_root", "gn_root", 2)))
    for block, which in sorted({tuple(n.split("/")[:2]) for n in w if n.startswith("block")}):
        name = f"{block}/{which}"
        stride = 2 if which == "unit1" and block != "block1" else 1
        y = relu(unit(x, w, f"{name}/conv1", f"{name}/gn1"))
        y = relu(unit(y, w, f"{name}/conv2", f"{name}/gn2", stride))
        y = unit(y, w, f"{name}/conv3", f"{name}/gn3")
        if which == "unit1":
            x = unit(x, w, f"{name}/conv_proj", f"{name}/gn_proj", stride)
        x = relu(x + y)
    return x


def embed(x, w):
    """[H W C] -> tokens [N D], without position or class token."""
    kernel = w["embedding/kernel"]
    size = len(kernel)
    rows, columns = (n // size for n in x.shape[:2])
    parts = x.reshape(rows, size, columns, size, -1)
    y = np.einsum("rixjc,ijcd->rxd", parts, kernel) + w["embedding/bias"]
    return y.reshape(rows * columns, -1)


def positions(w):
    return w["Transformer/posembed_input/pos_embedding"][0]


def logits(x, w):
    """[H W 3] -> [K], read from the class token."""
    tokens = np.concatenate([w["cls"][0], embed(x, w)]) + positions(w)
    return transformer(tokens, w)[0] @ w["head/kernel"] + w["head/bias"]


def features(x, w):
    """[H W 3] -> [N D]: a hybrid's tokens, without a class token."""
    return transformer(embed(stem(x, w), w) + positions(w)[1:], w)
