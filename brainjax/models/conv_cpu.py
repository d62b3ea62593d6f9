"""Convolution on CPU, where XLA's own is slow: the same sums, as 2D convolutions and matmuls.

XLA:CPU runs a wide 2D convolution and a matmul near the speed of the machine (200 GF/s on two cores), a 3D
convolution at 15-70, a kernel gradient at 10-80 and a strided input gradient at 1. So here

- a 3D convolution is a 2D one of every depth slice, with all depth taps side by side as output channels, and a sum of
  what comes out, each tap shifted by its place (`_sweep`);
- a strided input gradient is a convolution of stride 1 to all phases of the fine grid, which are then interleaved;
- a kernel gradient is one matmul per depth tap: the input at every tap of one axis by the output's gradient
  at every tap of the other, three times wider on both sides than tap by tap.

All of them walk over the depth in slabs whose intermediate arrays stay in cache, and never exist as whole volumes:
memory is that of the input and the output. "Depth" is the first of three spatial axes; images are taken as the
slices of a volume, with depth 1 of the kernel. `conv.py` chooses this file where a program is lowered for CPU.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]

# Bytes of intermediate arrays that one slab may fill: they stay in the last level of cache of a small machine.
_SLAB_BYTES = 6 << 20


def regular(size: Ints, strides: Ints, padding: Pads, dilation: Ints) -> bool:
    """Whether this file can do a convolution: all but padding beyond the kernel and dilation with strides."""
    axes = zip(size, strides, padding, dilation, strict=True)
    return all(
        min(p) >= 0 and max(p) <= (k - 1) * d and s <= k and 1 in (s, d) for k, s, p, d in axes
    )


def patches(
    x: jax.Array, kernel: jax.Array, strides: Ints, padding: Pads, dilation: Ints
) -> jax.Array:
    """The convolution as one matmul of [B*out k*C] patches: for outputs of a few positions."""
    *size, channels, features = kernel.shape
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    extent = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    out = [(n - e) // s + 1 for n, e, s in zip(x.shape[1:-1], extent, strides, strict=True)]
    windows = []
    for tap in itertools.product(*map(range, size)):
        starts = [i * d for i, d in zip(tap, dilation, strict=True)]
        stops = [a + (n - 1) * s + 1 for a, n, s in zip(starts, out, strides, strict=True)]
        windows.append(
            lax.slice(x, (0, *starts, 0), (x.shape[0], *stops, channels), (1, *strides, 1))
        )
    return jnp.dot(jnp.concatenate(windows, axis=-1), kernel.reshape(-1, features))


def forward(
    x: jax.Array, kernel: jax.Array, strides: Ints, padding: Pads, dilation: Ints
) -> jax.Array:
    """3D convolution: x [B X Y Z C], kernel [*k C F] -> [B *out F]."""
    (depth, *_), (s, *plane), (d, *spread) = kernel.shape, strides, dilation
    low, high = padding[0]
    out = (x.shape[1] + low + high - (depth - 1) * d - 1) // s + 1
    # The slices that any output needs, filled up to blocks of one slice per phase of the stride.
    needed = min(x.shape[1], (out - 1) * s - low + (depth - 1) * d + 1)
    x = _of_depth(x, -(-needed // s) * s)
    taps = [[t for t in range(depth) if (a + low - t * d) % s == 0] for a in range(s)]
    links = [
        _Link(a, m, 0, (a + low - t * d) // s) for a in range(s) for m, t in enumerate(taps[a])
    ]

    def parts(w: jax.Array) -> list[jax.Array]:  # [N s Y Z C] -> per phase [N Y' Z' taps F]
        return [
            _plane(w[:, a], kernel[jnp.array(taps[a])], plane, padding[1:], spread)
            for a in range(s)
        ]

    return _sweep(x, s, parts, links, out, lambda z: z)


def input_gradient(
    g: jax.Array,
    kernel: jax.Array,
    space: Ints,
    strides: Ints,
    padding: Pads,
    dilation: Ints,
) -> jax.Array:
    """Gradient of a convolution's input of size `space`: g [B *out F] -> [B *space C].

    Position i of the input met tap t of output o where i + low = s o + t. With i + low = s q + r that is a
    convolution of stride 1 over q for each phase r, by the taps t = s m + r.
    """
    if len(space) < 3:
        one, still = (1,) * (3 - len(space)), ((0, 0),) * (3 - len(space))
        x = input_gradient(
            _stack(g),
            kernel.reshape(*one, *kernel.shape),
            (len(g), *one[1:], *space),
            (*one, *strides),
            (*still, *padding),
            (*one, *dilation),
        )
        return x.reshape(len(g), *space, x.shape[-1])
    depth, *size, channels, features = kernel.shape
    (s, *plane), (d, *spread) = strides, dilation
    low = padding[0][0]
    links = [_Link(0, t, (t * d - low) % s, (t * d - low) // s) for t in range(depth)]

    reach, pads, crop = [], [], []
    for n, o, k, step, e, (a, _) in zip(
        space[1:], g.shape[2:-1], size, plane, spread, padding[1:], strict=True
    ):
        m = -(-k // step)  # taps of one phase
        first, last = a // step, (n - 1 + a) // step  # of q
        before = (m - 1) * e - first
        reach.append(m)
        pads.append((before, last - first + 1 - o - before + (m - 1) * e))
        crop.append(slice(a % step, a % step + n))
    (my, mz), (sy, sz) = reach, plane
    fill = [(0, m * step - k) for m, step, k in zip(reach, plane, size, strict=True)]
    kernel = jnp.pad(kernel, ((0, 0), *fill, (0, 0), (0, 0)))
    kernel = kernel.reshape(depth, my, sy, mz, sz, channels, features)
    kernel = jnp.flip(kernel, (1, 3)).transpose(0, 1, 3, 6, 2, 4, 5)  # [depth my mz F sy sz C]
    kernel = kernel.reshape(depth, my, mz, features, sy * sz * channels)

    def parts(w: jax.Array) -> list[jax.Array]:  # [N 1 Y' Z' F] -> [[N Q Q depth sy*sz*C]]
        return [_plane(w[:, 0], kernel, (1, 1), pads, spread)]

    def finish(z: jax.Array) -> jax.Array:  # [N s Q Q sy*sz*C] -> [N s Y Z C]
        if sy * sz > 1:
            n, phases, qy, qz, _ = z.shape
            z = z.reshape(n, phases, qy, qz, sy, sz, channels).transpose(0, 1, 2, 4, 3, 5, 6)
            z = z.reshape(n, phases, qy * sy, qz * sz, channels)
        return z[:, :, *crop]

    return _sweep(g, 1, parts, links, -(-space[0] // s), finish)[:, : space[0]]


def by_slabs(
    f: Callable[..., jax.Array], x: jax.Array, *parameters: jax.Array, factor: int
) -> jax.Array:
    """f(x, *parameters), slab by slab of the first spatial axis, which f makes `factor` times as long.

    Args:
        f: [B *spatial C], .. -> [B *(factor spatial) F]; no position of its input may see another.
        x: [B *spatial C].
        parameters: the rest of f's arguments, as they are.
        factor: of that axis.
    """
    batch, count, *inner = x.shape
    made = jax.eval_shape(f, x, *parameters)
    if made.size * made.dtype.itemsize <= _SLAB_BYTES:
        return f(x, *parameters)
    per = _divisor(count, made.size * made.dtype.itemsize // (batch * count))
    slabs = x.reshape(batch * count // per, 1, per, *inner)
    y = lax.map(lambda w: f(w, *parameters), slabs)
    return y.reshape(batch, count * factor, *y.shape[3:])


def _divisor(count: int, slice_bytes: int) -> int:
    """The longest slab within the bytes allowed that divides `count` slices."""
    within = max(1, _SLAB_BYTES // slice_bytes)
    return max(n for n in range(1, count + 1) if count % n == 0 and n <= within)


def _stack(x: jax.Array) -> jax.Array:
    """Images as the slices of one volume, which the convolution does not mix: [B *plane C] -> [1 B *plane C]."""
    return x.reshape(1, len(x), *(1,) * (4 - x.ndim), *x.shape[1:])


class _Link(NamedTuple):
    """One term of a sum over depth: a part of input block p is added to output block p + shift."""

    source: int  # phase of the input slice within its block
    tap: int  # which part made from that slice
    target: int  # phase of the output slice within its block
    shift: int


def _of_depth(x: jax.Array, depth: int) -> jax.Array:
    """[B X Y Z C] -> [B depth Y Z C], cut or filled with zeros at the end."""
    fill = max(0, depth - x.shape[1])
    return jnp.pad(x, ((0, 0), (0, fill), (0, 0), (0, 0), (0, 0))) if fill else x[:, :depth]


def _plane(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Pads, dilation: Sequence[int]
) -> jax.Array:
    """2D convolution of every slice with every depth tap: [N Y Z C], [T ky kz C F] -> [N Y' Z' T F]."""
    depth, *size, channels, features = kernel.shape
    kernel = kernel.transpose(1, 2, 3, 0, 4).reshape(*size, channels, depth * features)
    y = lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y.reshape(*y.shape[:-1], depth, features)


def _sweep(
    x: jax.Array,
    phases: int,
    parts: Callable[[jax.Array], list[jax.Array]],
    links: Sequence[_Link],
    out: int,
    finish: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """Sum of shifted parts over the depth, slab by slab.

    What a slab adds to the blocks of the next one waits in a tail of a few slices: nothing is computed twice.

    Args:
        x: [B P*phases Y Z C], P blocks of slices.
        phases: slices in a block.
        parts: [N phases Y Z C] -> for each phase [N Y' Z' taps F].
        links: which part is added where.
        out: number of output blocks.
        finish: [N targets Y' Z' F] -> [N targets *], slice by slice.

    Returns:
        [B out*targets *].
    """
    (batch, slices, *inner), dtype = x.shape, x.dtype
    count = slices // phases
    made = jax.eval_shape(parts, jax.ShapeDtypeStruct((count, phases, *inner), dtype))
    bytes_ = sum(math.prod(y.shape) for y in made) * dtype.itemsize
    low = min(link.shift for link in links)
    width = max(link.shift for link in links) - low
    targets = 1 + max(link.target for link in links)
    *plane, _, features = made[0].shape[1:]
    if batch * bytes_ <= _SLAB_BYTES or count <= 2 * width:
        ys = lax.optimization_barrier(parts(x.reshape(batch * count, phases, *inner)))
        ys = [y.reshape(batch, count, *y.shape[1:]) for y in ys]
        still = ((0, 0, 0),) * 3
        sums = [0] * targets
        for a, t, to, shift in links:
            space = ((0, 0, 0), (shift, out - count - shift, 0), *still)
            sums[to] += lax.pad(ys[a][..., t, :], jnp.zeros((), dtype), space)
        z = finish(jnp.stack(sums, 2).reshape(batch * out, targets, *plane, features))
        return z.reshape(batch, out * targets, *z.shape[2:])

    def total(ys: list[jax.Array], e: int, n: int) -> jax.Array:
        """Sum over the links that reach all of blocks [e, e + n) after the slab's first: [n targets Y' Z' F]."""
        sums = [jnp.zeros((n, *plane, features), dtype)] * targets
        for a, t, to, shift in links:
            start = e - shift + low
            if 0 <= start <= len(ys[a]) - n:
                sums[to] += ys[a][start : start + n, ..., t, :]
        return jnp.stack(sums, 1)

    per = _blocks_per_slab(count, max(2 * width, _SLAB_BYTES * count // bytes_, 1))
    slabs = -(-count // per)
    x = _of_depth(x, slabs * per * phases)

    # The loop holds x and the result as they came and go: with axes of size 1 among theirs, XLA may choose another
    # order of memory for them and copy the whole.
    def read(b: jax.Array, i: jax.Array) -> jax.Array:
        start, size = (b, i * per * phases, 0, 0, 0), (1, per * phases, *inner)
        return lax.dynamic_slice(x, start, size).reshape(per, phases, *inner)

    def write(result: jax.Array, run: jax.Array, b: jax.Array, at: jax.Array | int) -> jax.Array:
        run = finish(run)
        run = run.reshape(1, len(run) * targets, *run.shape[2:])
        return lax.dynamic_update_slice(result, run, (b, at * targets, 0, 0, 0))

    def example(b: jax.Array, result: jax.Array) -> jax.Array:
        def slab(
            i: jax.Array, carry: tuple[jax.Array, list[jax.Array]]
        ) -> tuple[jax.Array, list[jax.Array]]:
            """Adds a slab of input blocks: writes what is complete, hands on the rest."""
            result, tail = carry
            ys = lax.optimization_barrier(parts(read(b, i)))
            at = i * per + low
            for e in range(width):
                # What lies before the output goes to block 0, where what belongs there is written next.
                result = write(result, tail[e] + total(ys, e, 1), b, jnp.maximum(at + e, 0))
            result = write(result, total(ys, width, per - width), b, at + width)
            return result, [total(ys, per + e, 1) for e in range(width)]

        nothing = [jnp.zeros((1, targets, *plane, features), dtype)] * width
        result, tail = lax.fori_loop(0, slabs, slab, (result, nothing))
        end = slabs * per + low
        for e in range(min(width, out - end)):
            result = write(result, tail[e], b, end + e)
        return result

    block = jax.eval_shape(finish, jax.ShapeDtypeStruct((1, targets, *plane, features), dtype))
    # XLA would keep one array of zeros for every convolution of a network and copy it for each: these look like zeros
    # of x's own.
    zero = jnp.where(x[0, 0, 0, 0, 0] > jnp.inf, 1, 0).astype(dtype)
    room = max(out, slabs * per + low)  # more than `out` where zeros fill the last slab
    result = jnp.broadcast_to(zero, (batch, room * targets, *block.shape[2:]))
    return lax.fori_loop(0, batch, example, result)[:, : out * targets]


def _blocks_per_slab(count: int, wanted: int) -> int:
    """About `wanted`, and a divisor of `count` if there is one near: only then nothing need be filled up."""
    near = [n for n in range(1, count + 1) if count % n == 0 and wanted < 2 * n <= 4 * wanted]
    even = -(-count // -(-count // wanted))
    return min(near, key=lambda n: abs(n - wanted), default=even)


def kernel_gradient(
    x: jax.Array, g: jax.Array, size: Ints, strides: Ints, padding: Pads, dilation: Ints
) -> jax.Array:
    """Gradient of a convolution's kernel: x [B *spatial C], g [B *out F] -> [*size C F].

    Where the plane has stride 1 the taps of Y are taken from g and those of Z from x, so that the matmul is
    wide on both sides; otherwise all taps of the plane are taken from x.
    """
    if len(size) < 3:
        one, still = (1,) * (3 - len(size)), ((0, 0),) * (3 - len(size))
        total = kernel_gradient(
            _stack(x),
            _stack(g),
            (*one, *size),
            (*one, *strides),
            (*still, *padding),
            (*one, *dilation),
        )
        return total.reshape(*size, *total.shape[-2:])
    (depth, ky, kz), (s, sy, sz), (d, ey, ez) = size, strides, dilation
    batch, out, ny, nz, features = g.shape
    channels = x.shape[-1]
    (low_y, high_y), pad_z = padding[1:]
    split = sy == sz == 1
    rows = x.shape[2] if split else ny
    wide_x, wide_g = (kz, ky) if split else (ky * kz, 1)
    x = jnp.pad(x, ((0, 0), padding[0], *((0, 0),) * 3))
    slice_bytes = rows * nz * (wide_x * channels + wide_g * features) * x.dtype.itemsize
    per = _divisor(out, slice_bytes)
    span = (per - 1) * s + (depth - 1) * d + 1

    def at_taps(w: jax.Array) -> jax.Array:  # [N Y Z C] -> [N rows Z' taps*C]
        w = jnp.pad(w, ((0, 0), (0, 0) if split else (low_y, high_y), pad_z, (0, 0)))
        steps_y = (
            [(0, rows, 1)]
            if split
            else [(j * ey, j * ey + (ny - 1) * sy + 1, sy) for j in range(ky)]
        )
        views = [
            w[:, slice(*y), i * ez : i * ez + (nz - 1) * sz + 1 : sz]
            for y in steps_y
            for i in range(kz)
        ]
        return jnp.concatenate(views, -1)

    def spread(h: jax.Array) -> jax.Array:  # [N Y' Z' F] -> [N rows Z' taps*F]
        if not split:
            return h
        reach = (ky - 1) * ey
        h = jnp.pad(h, ((0, 0), (reach - low_y, reach - high_y), (0, 0), (0, 0)))
        return jnp.concatenate([h[:, reach - j * ey :][:, :rows] for j in range(ky)], -1)

    def slab(i: jax.Array, total: jax.Array) -> jax.Array:
        b, o = i // (out // per), i % (out // per) * per
        w = lax.dynamic_slice(x, (b, o * s, 0, 0, 0), (1, span, *x.shape[2:]))[0]
        h = lax.dynamic_slice(g, (b, o, 0, 0, 0), (1, per, ny, nz, features))[0]
        w, h = lax.optimization_barrier((at_taps(w), spread(h)))
        h = h.reshape(-1, wide_g * features)
        products = [
            lax.dot_general(
                w[t * d : t * d + (per - 1) * s + 1 : s].reshape(-1, wide_x * channels),
                h,
                (((0,), (0,)), ((), ())),
                preferred_element_type=jnp.float32,
            )
            for t in range(depth)
        ]
        return total + jnp.stack(products)

    total = jnp.zeros((depth, wide_x * channels, wide_g * features), jnp.float32)
    total = lax.fori_loop(0, batch * (out // per), slab, total)
    if split:
        total = total.reshape(depth, kz, channels, ky, features).transpose(0, 3, 1, 2, 4)
    return total.reshape(*size, channels, features).astype(x.dtype)
