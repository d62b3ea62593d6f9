"""Published vision transformers: the logits and tokens of a NumPy reference, from files with the release's names."""

import io
import pathlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import parity
import pytest
import vit_reference as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjax.models import ResNet, TransUNet, ViT
from brainjax.models.transunet import CONV_VIT_B, R50_VIT_B16
from brainjax.types import CheckpointError, ConfigError
from brainjax.weights import load_pretrained
from brainjax.weights.npz_file import read_npz
from brainjax.weights.vit import from_vit

# Tiny, but nothing that could be confused is of one size; 32 channels are the least that make 32 groups.
VIT = {"width": 24, "heads": 3, "depth": 2}
PLAIN = {**VIT, "mlp": 48, "grid": 3, "patch": 4}
HYBRID = {**VIT, "mlp": 48, "grid": 2, "patch": 1, "stem": 32, "stages": (2, 1)}
OURS = {**VIT, "mlp_ratio": 2}
STEM = {"encoder": "resnet", "stem": 32, "stages": (2, 1), "decoder": (4, 4, 4, 4)}


def vit(**fields):
    return ViT(**{**OURS, "num_classes": 5, "patch": 4, **fields})


def transunet(**fields):
    return TransUNet(**{**OURS, **STEM, **fields})


def empty(model, *shape):
    """Variables of zeros for an input of this shape: what is not filled shows."""
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    found = jax.eval_shape(lambda k, x: model.init(k, x, train=False), jax.random.key(0), x)
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), found)


def logits(model, variables, x):
    return jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, x)


def write(path, **fields):
    np.savez(path, **reference.arrays(reference.shapes(**fields)))
    return path


def test_a_vit_gives_the_reference_s_logits(tmp_path):
    model, x = vit(), parity.image(12)
    filled = load_pretrained(write(tmp_path / "w.npz", **PLAIN), model, empty(model, 12, 12, 3))
    assert filled.normalize == "symmetric"
    assert not filled.kept
    found = logits(model, filled.variables, x)
    expected = reference.logits(x[0], reference.arrays(reference.shapes(**PLAIN)))
    np.testing.assert_allclose(found[0], expected, atol=1e-4, rtol=0)


def test_a_transunet_s_tokens_are_those_of_the_reference_s_hybrid(tmp_path):
    model, x = transunet(), parity.image(16)
    filled = load_pretrained(write(tmp_path / "w.npz", **HYBRID), model, empty(model, 16, 16, 3))
    assert not [layer for layer in filled.kept if layer.startswith(("encoder", "transformer"))]
    assert "head" in filled.kept and "bridge/conv" in filled.kept

    def tokens(variables, x):
        _, seen = model.apply(
            variables,
            x,
            train=False,
            mutable=["intermediates"],
            capture_intermediates=lambda module, _: module.name == "transformer",
        )
        return seen["intermediates"]["transformer"]["__call__"][0][0]

    found = jax.jit(tokens)(filled.variables, x)  # [1 2 2 D]
    expected = reference.features(x[0], reference.arrays(reference.shapes(**HYBRID)))
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("grid", [14, 24])
@pytest.mark.parametrize("hybrid", [False, True])
def test_the_published_shapes_fit_the_published_fields(hybrid, grid):
    """R50+ViT-B_16 and ViT-B_16 at full size, their values left out."""
    stem = {"stem": 64, "stages": (3, 4, 9), "patch": 1} if hybrid else {"patch": 16}
    base = {"width": 768, "heads": 12, "depth": 12, "mlp": 3072, "grid": grid, "classes": 1000}
    named = reference.shapes(**base, **stem)
    tensors = {name: np.broadcast_to(np.float32(0), shape) for name, shape in named.items()}
    model = TransUNet(**R50_VIT_B16) if hybrid else ViT(num_classes=1000)
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(lambda k, x: model.init(k, x, train=False), jax.random.key(0), x)
    flat = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    }
    found, kept = from_vit(model, tensors, flat, pathlib.Path("w.npz"))
    found = {name: a.shape for arrays in found.values() for name, a in arrays.items()}
    assert not kept and found.items() <= flat.items()
    ours = {name.split("/")[1] for name in flat.keys() - found.keys()}
    assert ours == ({"bridge", "up0", "up1", "up2", "up3", "head"} if hybrid else set())


@settings(max_examples=10, deadline=None)  # each grid compiles
@given(
    edge=st.integers(1, 6),
    wanted=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    token=st.booleans(),
)
def test_positions_are_interpolated_to_the_grid_at_hand(edge, wanted, token):
    named = {**PLAIN, "grid": edge, "depth": 1, "token": token}
    tensors = reference.arrays(reference.shapes(**named))
    shapes = {"params/encoder/position": (*wanted, VIT["width"])}
    found, _ = from_vit(vit(depth=1), tensors, shapes, pathlib.Path("w.npz"))
    grid = reference.positions(tensors)[int(token) :].reshape(edge, edge, -1)
    # Pixel centres at half-pixels, one axis after the other.
    for axis, size in enumerate(wanted):
        at = (np.arange(size) + 0.5) * edge / size - 0.5
        grid = np.apply_along_axis(lambda v: np.interp(at, np.arange(edge), v), axis, grid)  # noqa: B023
    position = found["encoder/position"]["params/encoder/position"]
    np.testing.assert_allclose(position, grid, atol=1e-5)


def test_what_reads_something_else_keeps_its_own_weights(tmp_path):
    def kept(model, **fields):
        file = write(tmp_path / "w.npz", **{**PLAIN, **fields})
        filled = load_pretrained(file, model, empty(model, 12, 12, 3))
        flat = jax.tree_util.tree_leaves_with_path(filled.variables)
        still = {
            jax.tree_util.keystr(p, simple=True, separator="/")
            for p, leaf in flat
            if not leaf.any()
        }
        assert all(name.split("/", 1)[1].startswith(tuple(filled.kept)) for name in still)
        assert not filled.kept or still
        return filled.kept

    assert kept(vit()) == {}
    assert kept(vit(num_classes=2)) == {"head": "5 classes there, 2 here"}
    assert "pre_logits" in kept(vit(), pre_logits=True)["head"]
    assert set(kept(vit(class_token=False))) == {"head"}
    assert kept(vit(class_token=False), token=False) == {}
    assert set(kept(vit(), token=False)) == {
        "head",
        "encoder/class_token",
        "encoder/class_position",
    }


def test_a_plain_encoder_takes_the_transformer_alone(tmp_path):
    small = {"features": (2, 4), "patch": 2, "encoder": "conv", "decoder": ()}
    model = transunet(**small)
    for fields in (PLAIN, HYBRID):
        file = write(tmp_path / "w.npz", **fields)
        filled = load_pretrained(file, model, empty(model, 12, 12, 3))
        own = {"transformer/patches", "down0/block0/conv", "up0/block0/norm/norm", "head"}
        assert own <= set(filled.kept)
        assert not [k for k in filled.kept if k.startswith("transformer") and k not in own]
        assert not filled.variables["params"]["transformer"]["patches"]["kernel"].any()
        assert filled.variables["params"]["transformer"]["position"].all()
    assert (CONV_VIT_B["depth"], CONV_VIT_B["heads"]) == (12, 12)  # those of ViT-B_16
    volume = load_pretrained(file, model, empty(model, 8, 8, 8, 3))
    assert "number of axes" in volume.kept["transformer/position"]
    assert volume.variables["params"]["transformer"]["block0"]["mlp1"]["kernel"].all()


def test_a_stem_of_another_kind_keeps_its_own_weights(tmp_path):
    for model, file in (
        (transunet(variant="v1.5"), write(tmp_path / "hybrid.npz", **HYBRID)),
        (transunet(), write(tmp_path / "plain.npz", **PLAIN)),
    ):
        filled = load_pretrained(file, model, empty(model, 16, 16, 3))
        assert filled.kept["encoder/stem_conv"] == "not in these weights"
        assert filled.variables["params"]["transformer"]["block1"]["mlp2"]["kernel"].all()


def test_a_grey_image_needs_one_channel_only(tmp_path):
    file, x = write(tmp_path / "w.npz", **PLAIN), parity.image(12)[..., :1]
    three, one = (load_pretrained(file, vit(), empty(vit(), 12, 12, c)).variables for c in (3, 1))
    expected = logits(vit(), three, np.repeat(x, 3, -1))
    np.testing.assert_allclose(logits(vit(), one, x), expected, atol=1e-5)


def test_a_hybrid_s_kernels_for_one_channel_keep_their_directions(tmp_path):
    """Standardised kernels have no length of their own: what one channel adds up to is known up to a factor."""
    file = write(tmp_path / "w.npz", **HYBRID)
    three, one = (
        load_pretrained(file, transunet(), empty(transunet(), 16, 16, c)).variables["params"]
        for c in (3, 1)
    )

    def answer(kernel):  # to a grey image, [taps F]
        kernel = np.asarray(kernel, np.float64)
        kernel = (kernel - kernel.mean((0, 1, 2))) / kernel.std((0, 1, 2))
        flat = kernel.sum(2).reshape(-1, kernel.shape[-1])
        return flat / np.linalg.norm(flat, axis=0)

    stems = [v["encoder"]["stem_conv"]["kernel"] for v in (three, one)]
    np.testing.assert_allclose(answer(stems[0]), answer(stems[1]), atol=1e-5)


@pytest.mark.parametrize(
    "model, fields, message",
    [
        (vit(depth=3), {}, "`depth` is 2 there, 3 here"),
        (vit(heads=4), {}, "`heads` is 3 there, 4 here"),
        (
            vit(width=12),
            {},
            r"encoder/patches/kernel is \(4, 4, 3, 24\) there, \(4, 4, 3, 12\) here",
        ),
        (vit(patch=6), {}, r"\(4, 4, 3, 24\) there, \(6, 6, 3, 24\) here"),
        (vit(mlp_ratio=4), {}, r"mlp1/kernel is \(24, 48\) there"),
        (vit(), HYBRID, r"\(1, 1, 256, 24\) there"),
        (transunet(depth=1), HYBRID, "`depth` is 2 there"),
        (transunet(stages=(1, 1)), HYBRID, r"`stages` is \(2, 1\) there, \(1, 1\) here"),
        (transunet(stages=[2, 1, 1], decoder=(4,) * 5), HYBRID, r"here; set it so"),
        (transunet(stem=64), HYBRID, r"stem_conv/kernel is \(7, 7, 3, 32\) there"),
    ],
)
def test_weights_of_another_network_are_refused(model, fields, message, tmp_path):
    file = write(tmp_path / "w.npz", **(fields or PLAIN))
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(file, model, empty(model, 48, 48, 3))


def test_a_file_that_lacks_an_array_is_refused(tmp_path):
    """Any one of them, so that none is left at its first value unnoticed."""
    model, named = transunet(), reference.shapes(**HYBRID)
    tensors = {name: np.broadcast_to(np.float32(0), shape) for name, shape in named.items()}
    shapes = {"params/transformer/position": (2, 2, 24)}
    for name in named.keys() - {"cls", "head/kernel", "head/bias"}:
        less = {n: t for n, t in tensors.items() if n != name}
        with pytest.raises(CheckpointError, match="another network"):
            from_vit(model, less, shapes, tmp_path)
    with pytest.raises(CheckpointError, match="no square grid"):
        from_vit(model, {n: t for n, t in tensors.items() if n != "cls"}, shapes, tmp_path)
    flat = {name: np.zeros(3, np.float32) for name in named}
    with pytest.raises(CheckpointError, match="no vision transformer"):
        from_vit(model, flat, shapes, tmp_path)
    with pytest.raises(ConfigError, match="no published weights for ResNet in .npz"):
        from_vit(ResNet(), tensors, shapes, tmp_path)


def test_other_files_than_arrays_of_numbers_are_one_clear_error(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (tmp_path / "pwned").touch, ()

    w = {"cls": np.ones((1, 1, 64), np.float32)}
    np.savez(tmp_path / "pickled.npz", cls=np.array([Hostile()], object))
    np.savez(tmp_path / "text.npz", cls=np.array(["text"]))
    np.savez(tmp_path / "no arrays.npz")
    np.savez_compressed(tmp_path / "bomb.npz", cls=np.zeros(10**6, np.float32))
    np.savez(tmp_path / "whole.npz", **w)
    np.save(tmp_path / "one.npy", w["cls"])
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    place = whole.index(w["cls"].tobytes())
    flipped = bytearray(whole)
    flipped[place + 5] ^= 1
    (tmp_path / "flipped.npz").write_bytes(flipped)
    before = set(tmp_path.iterdir())
    for name in ("pickled", "text", "no arrays", "bomb", "one", "cut", "flipped", "not there"):
        with pytest.raises(CheckpointError, match=f"{name}.npz") as e:
            load_pretrained(tmp_path / f"{name}.npz", vit(), {})
        assert "\n" not in str(e.value) and len(str(e.value)) < 400 + len(str(tmp_path))
    assert set(tmp_path.iterdir()) == before
    np.testing.assert_array_equal(read_npz(tmp_path / "whole.npz")["cls"], w["cls"])


def member():
    buffer = io.BytesIO()
    np.save(buffer, np.arange(12, dtype=np.float32).reshape(3, 4))
    return buffer.getvalue()


@settings(deadline=None)
@given(st.data())
def test_a_damaged_header_is_one_clear_error(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("npz") / "w.npz"
    damaged = bytearray(member())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 127))] = data.draw(st.integers(0, 255))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("w.npy", bytes(damaged))
    try:
        read_npz(file)
    except CheckpointError as error:
        assert "\n" not in str(error)
