"""The plan: numbers that fit each other, the memory and the volumes; into a file, and from there into a config."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjax.override import override
from brainjax.preprocess.plan import Fingerprint, load, make_plan
from brainjax.train.recipe import make_recipe, targets
from brainjax.types import ConfigError, DataError
from configs import brats

BRATS = Fingerprint([(138, 170, 140)] * 40, [(1.0, 1.0, 1.0)] * 40, 4, 3)


def test_brats_gets_what_nnunet_gives_it():
    """Patches of 128 x 160 x 112 or so, six floors of 32 to 320, and a batch of two."""
    plan = make_plan(BRATS, memory_gb=8)
    assert plan.spacing == (1.0, 1.0, 1.0) and plan.shape == (138, 170, 140)
    assert 96**3 < np.prod(plan.patch) < 144**3
    assert plan.features == (32, 64, 128, 256, 320, 320) and plan.batch_size == 2
    assert set(plan.reasons) == {
        "spacing",
        "shape",
        "patch",
        "batch_size",
        "strides",
        "features",
    } | {
        "normalize",
        "memory_gb",
    }


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(*[st.integers(8, 500)] * 3),
    st.tuples(*[st.floats(0.4, 6.0)] * 3),
    st.integers(1, 4),
    st.floats(1.0, 60.0),
)
def test_numbers_fit_each_other_and_the_memory(shape, spacing, channels, memory):
    plan = make_plan(Fingerprint([shape] * 20, [spacing] * 20, channels, 2), memory_gb=memory)
    divisor = np.prod(plan.strides, axis=0)
    assert (np.array(plan.patch) % divisor == 0).all()
    assert len(plan.strides) == len(plan.features) and plan.strides[0] == (1, 1, 1)
    assert plan.memory_gb <= memory and 2 <= plan.batch_size <= 16
    # Never more padding than up to the next multiple.
    assert (np.array(plan.patch) < np.array(plan.shape) + divisor).all()
    bottom = np.array(plan.patch) / divisor
    assert (bottom[divisor > 1] >= 2).all()
    voxels = np.array(plan.spacing) * divisor
    assert max(plan.features) <= 320 and np.isfinite(voxels).all()


def test_more_memory_means_larger_patches_then_larger_batches():
    plans = [make_plan(BRATS, memory_gb=gb) for gb in (1, 2, 4, 8, 16, 40, 120)]
    sizes = [np.prod(plan.patch) for plan in plans]
    assert sizes == sorted(sizes) and sizes[0] < sizes[3]
    assert plans[-1].batch_size > plans[0].batch_size or sizes[-1] > sizes[0]
    assert [p.batch_size for p in plans] == sorted(p.batch_size for p in plans)


def test_thick_slices_are_pooled_less_and_resampled_finer():
    shapes, spacings = [(320, 320, 24)] * 9, [(0.6, 0.6, s) for s in np.linspace(3, 7, 9)]
    plan = make_plan(Fingerprint(shapes, spacings, 1, 1))
    x, y, z = np.prod(plan.strides, axis=0)
    assert min(x, y) > z
    assert plan.spacing[:2] == (0.6, 0.6) and 3.0 <= plan.spacing[2] < 4.0
    assert "thick slices" in plan.reasons["spacing"]
    changed = override(
        brats.get_config("brats"), plan.changes(brats.get_config("brats")), targets()
    )
    assert changed.data.spacing == plan.spacing
    chosen = make_plan(Fingerprint(shapes, spacings, 1, 1), spacing=(1.0, 1.0, 1.0))
    assert chosen.spacing == (1.0, 1.0, 1.0) and chosen.reasons["spacing"] == "chosen"


def test_a_memory_that_holds_nothing_is_refused():
    with pytest.raises(ConfigError, match="hold no two patches"):
        make_plan(BRATS, memory_gb=0.001)
    with pytest.raises(ConfigError, match="needs volumes"):
        make_plan(Fingerprint([], [], 1, 1))


def test_a_plan_becomes_a_config_and_flags_have_the_last_word(tmp_path):
    # So flat that one axis is halved less often than the others.
    made = make_plan(Fingerprint([(64, 70, 20)] * 9, [(2.0, 2.0, 2.0)] * 9, 4, 3), memory_gb=2)
    assert len(set(made.strides[-1])) > 1
    made.save(tmp_path)
    plan = load(tmp_path)
    assert plan == made
    # The U-Net halves every axis and has no blocks.
    assert {"model.strides", "model.blocks"}.isdisjoint(plan.changes(brats.get_config("plain")))
    config = brats.get_config("brats")
    changes = plan.changes(config)
    changed = override(
        config, {**changes, "train.batch_size": "1", "train.parallel": "none"}, targets()
    )
    assert changed.augment.patch == plan.patch and changed.model.features == plan.features
    assert changed.data.spacing == 2.0 and changed.train.batch_size == 1
    assert len(changed.model.blocks) == len(changed.model.strides) == len(plan.features)
    recipe = make_recipe(changed)
    assert recipe.infer.patch == plan.patch
    image = jax.ShapeDtypeStruct((1, *plan.patch, 4), jnp.float32)
    logits, _ = jax.eval_shape(
        lambda x: recipe.plain_model.init_with_output(jax.random.key(0), x, train=False), image
    )
    assert logits.shape == (1, *plan.patch, 3)
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(DataError, match="experiments.prepare --plan"):
        load(tmp_path)
