"""Configs are signatures: specs, lookups, overrides from a command line, and what cannot work."""

import dataclasses
import json
import ntpath

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict
from tiny import make_config, make_dataset

from brainjax import losses, models, optim
from brainjax.augment import HeadSynthesis
from brainjax.config import bind, build, difference, from_dict, load, spec, to_dict
from brainjax.lookup import lookup, nearest, split_variant
from brainjax.models import ResidualEncoderUNet, UNet
from brainjax.override import override
from brainjax.train.recipe import make_recipe, targets
from brainjax.types import ConfigError
from experiments.entry import split_changes


@dataclasses.dataclass(frozen=True)
class Thing:
    size: int
    rate: float = 0.5
    shape: tuple[int, ...] = (1, 2)
    on: bool = False
    callback: object = None


def get(name):
    return lookup(name, {"Thing": Thing}, "thing")


def change(config, **fields):
    return override(config, {k.replace("__", "."): v for k, v in fields.items()}, targets())


def test_a_spec_is_the_signature_with_its_plain_defaults():
    assert to_dict(spec(Thing)) == {"name": "Thing", "rate": 0.5, "shape": [1, 2], "on": False}
    assert spec(Thing, size=3, rate=0.1).to_dict() == {
        **{"name": "Thing", "size": 3, "rate": 0.1, "shape": (1, 2), "on": False}
    }


def test_a_linen_module_is_specified_by_its_fields_alone():
    fields = spec(UNet)
    assert fields.name == "UNet" and "parent" not in fields and fields.features[0] == 32
    assert build(fields, lambda _: UNet) == UNet()
    with pytest.raises(ConfigError, match="no option 'parent'"):
        spec(UNet, parent=None)


def test_an_option_that_does_not_exist_names_the_nearest():
    with pytest.raises(ConfigError, match="Thing has no option 'sise': did you mean 'size'"):
        spec(Thing, sise=3)
    with pytest.raises(ConfigError, match="did you mean 'rate'"):
        build({"name": "Thing", "ratte": 3}, get)
    with pytest.raises(ConfigError, match="unknown thing 'thin': did you mean 'Thing'"):
        build({"name": "thin"}, get)


def test_build_calls_and_bind_waits():
    assert build(spec(Thing, size=4), get) == Thing(4)
    assert build(spec(Thing, size=4), get, on=True) == Thing(4, on=True)
    waiting = bind(spec(losses.focal, gamma=1.0), losses.get)
    logits, target = np.ones((2, 4, 4, 1)), np.ones((2, 4, 4, 1))
    np.testing.assert_array_equal(waiting(logits, target), losses.focal(logits, target, gamma=1.0))


def test_configs_survive_json():
    config = make_config()
    again = from_dict(json.loads(json.dumps(to_dict(config))))
    assert again == config and again.model.features == (4, 8)
    assert again.is_locked and again.model.is_locked
    with pytest.raises((AttributeError, KeyError)):
        again.model.widht = 3


def test_difference_names_each_field_that_differs():
    a, b = {"x": {"y": 1, "z": 2}, "w": 0}, {"x": {"y": 3, "z": 2}, "v": 1}
    assert difference(a, b) == ["v: None -> 1", "w: 0 -> None", "x.y: 1 -> 3"]
    assert difference(a, a) == []


def test_nearest_suggests_only_what_is_near():
    assert (
        nearest("jacard", ["bce", "jaccard"])
        == "did you mean 'jaccard'? choose one of: bce, jaccard"
    )
    assert nearest("zzz", ["bce", "jaccard"]) == "choose one of: bce, jaccard"


VALUES = [
    ("train.steps", "500", 500),
    ("train.steps", "1_000", 1000),
    ("optimizer.learning_rate", "1e-3", 1e-3),
    ("optimizer.learning_rate", "1", 1.0),
    ("model.features", "(8, 16, 32)", (8, 16, 32)),
    ("model.features", "8,16", (8, 16)),
    ("model.features", "8", (8,)),
    ("model.convs", "(1, 2)", (1, 2)),  # int | tuple[int, ...]
    ("model.remat", "True", True),
    ("model.remat", "false", False),
    ("model.remat", "1", True),
    ("model.dtype", "bfloat16", "bfloat16"),
    ("augment.flip", "(0, 1)", (0.0, 1.0)),
    ("augment.spacing", "(1, 0.5)", (1.0, 0.5)),  # () by default
    ("name", "2024", "2024"),
    ("seed", "7", 7),
    ("optimizer.mu_dtype", "bfloat16", "bfloat16"),  # None by default: not in the config before
]


@pytest.mark.parametrize("key, text, value", VALUES)
def test_values_are_read_as_the_type_they_replace(key, text, value):
    found = override(make_config(), {key: text}, targets())
    for part in key.split("."):
        found = found[part]
    assert found == value and type(found) is type(value)
    if isinstance(value, tuple):
        assert [type(v) for v in found] == [type(v) for v in value]


BAD = [
    ("train.steps", "abc", "--config.train.steps=abc is no int, such as 8"),
    ("train.steps", "1.5", "is no int"),
    ("train.steps", "1e3", "is no int"),
    ("train.steps", "True", "is no int"),
    ("optimizer.learning_rate", "fast", "is no float"),
    ("optimizer.learning_rate", "nan", "is no float"),
    ("model.features", "(8, 'x')", "is no tuple"),
    ("model.remat", "2", "is no bool"),
    ("modle.width", "3", "no field is called 'modle': did you mean 'model'"),
    ("modle.name", "UNet", "no field is called 'modle': did you mean 'model'"),
    ("model.featurs", "3", "no field is called 'featurs': did you mean 'features'"),
    ("optimizer.lr", "3", "no field is called 'lr': choose one of: .*learning_rate"),
    ("sead", "3", "no field is called 'sead': did you mean 'seed'"),
    ("seed.x", "3", "seed is a single value"),
    ("model", "3", "is a section; set one of its fields"),
    ("loss.target", "3", "nothing that a command line can give"),
]


@pytest.mark.parametrize("key, text, message", BAD)
def test_what_is_no_field_or_no_value_of_its_type_is_refused_in_one_line(key, text, message):
    with pytest.raises(ConfigError, match=message) as e:
        override(make_config(), {key: text}, targets())
    assert "\n" not in str(e.value)


def test_overriding_leaves_the_config_alone_and_gives_a_locked_one():
    config = make_config()
    changed = change(config, train__steps="9")
    assert config.train.steps == 8 and changed.train.steps == 9 and changed.is_locked


def test_a_new_name_brings_its_own_options_and_keeps_shared_ones():
    config = make_config()
    changed = change(config, loss__name="jaccard", optimizer__name="sgd")
    assert to_dict(changed.loss) == to_dict(spec(losses.jaccard))
    assert changed.optimizer.learning_rate == config.optimizer.learning_rate
    assert "weight_decay" not in changed.optimizer
    make_recipe(changed)


def test_options_of_the_new_name_may_be_set_in_the_same_breath_in_any_order():
    changed = change(make_config(), loss__gamma="3", loss__name="focal")
    assert changed.loss.name == "focal" and changed.loss.gamma == 3.0
    changed = change(make_config(), optimizer__name="sgd", optimizer__momentum="0.9")
    assert changed.optimizer.momentum == 0.9
    assert make_recipe(changed).tx.init({"w": np.ones(3)})
    with pytest.raises(ConfigError, match="no field is called 'weight_decay'"):
        change(make_config(), optimizer__name="sgd", optimizer__weight_decay="0.1")


WRONG_NAMES = [
    ("loss.name", "jacard", "jaccard"),
    ("model.name", "unet", "UNet"),
    ("optimizer.name", "adamv", "adam"),
    ("schedule.name", "cosin", "cosine"),
    ("data.name", "sinthetic", "Synthetic"),
    ("split.name", "kfold", "k_fold"),
]


@pytest.mark.parametrize("key, name, meant", WRONG_NAMES)
def test_a_name_that_does_not_exist_names_the_nearest(key, name, meant):
    with pytest.raises(ConfigError, match=rf"(?i)did you mean '{meant}") as e:
        override(make_config(), {key: name}, targets())
    assert "\n" not in str(e.value)


def test_a_command_line_is_split_into_changes_and_the_rest():
    rest, changes = split_changes(
        [
            *("train", "--config=a.py:b", "--workdir", "w", "--config.model.width=3"),
            *("--config.loss.name", "focal", "--config.model.remat", "--noconfig.x.y"),
            *("-config.name=a=b", "--quiet", "--", "--config.seed=1"),
        ]
    )
    assert rest == [
        "train",
        "--config=a.py:b",
        "--workdir",
        "w",
        "--quiet",
        "--",
        "--config.seed=1",
    ]
    assert changes == {
        **{"model.width": "3", "loss.name": "focal", "model.remat": "True", "x.y": "False"},
        **{"name": "a=b"},
    }


def test_config_files_are_loaded_by_path_and_variant(tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config(variant='plain'):\n    return ConfigDict({'name': variant})\n"
    )
    assert load(str(file)).name == "plain"
    assert load(f"{file}:other").name == "other"
    with pytest.raises(ConfigError, match="there is no file .*yours.py"):
        load(str(tmp_path / "yours.py"))
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ConfigError, match="no function get_config"):
        load(str(tmp_path / "empty.py"))


def test_a_drive_is_no_variant(monkeypatch):
    assert split_variant("a/b.py:c:d") == ("a/b.py", ["c:d"])
    monkeypatch.setattr("os.path.splitdrive", ntpath.splitdrive)
    assert split_variant(r"C:\work\unet.py:lgg") == (r"C:\work\unet.py", ["lgg"])
    assert split_variant(r"C:\work\unet.py") == (r"C:\work\unet.py", [])


# What cannot work fails before anything is compiled, in one line that names the fix.
IMPOSSIBLE_RECIPES = [
    (
        {"train": {"batch_size": 12, "parallel": "pmap"}},
        "8 devices; set --config.train.batch_size=16",
    ),
    ({"train": {"parallel": "pmp"}}, "did you mean 'pmap'"),
    ({"train": {"steps": 0}}, "--config.train.steps must be 1 or more"),
    (
        {"train": {"monitor": "dice_mean"}},
        "did you mean 'dice_slice_mean'|did you mean 'dice_volume",
    ),
    ({"train": {"keep": "newest"}}, "'best' or 'last'"),
    ({"train": {"ema": 1.0}}, r"in \[0, 1\)"),
    ({"train": {"clip_norm": -1.0}}, "clip_norm must be 0"),
    ({"input": {"feed": "disk"}}, "unknown feed 'disk'"),
    ({"input": {"context": 2}}, "context must be odd"),
    ({"input": {"size": -1}}, "use 0 for the images' own size"),
    ({"input": {"foreground": 1.5}}, "choose 0.0 to 1.0"),
    ({"input": {"normalize": "z"}}, "choose one of zscore"),
    ({"infer": {"tta": "rotate"}}, "choose one of none, flip"),
    ({"infer": {"empty": "two"}}, "choose one of one, zero, skip"),
    ({"infer": {"threshold": 1.0}}, "between 0 and 1"),
    ({"infer": {"batch_size": 0}}, "1 or more"),
    ({"infer": {"connectivity": 8}}, "6, 18"),
    ({"augment": {"missing": 2.0}}, "is a probability"),
    ({"optimizer": {"learning_rate": 0.0}}, "must be a number above 0"),
    ({"schedule": {"warmup": 2.0}}, "warmup"),
    ({"schedule": {"final": 5.0}}, "final=5.0 is a share of the learning rate; choose 0.0 to 1.0"),
    ({"schedule": spec(optim.one_cycle, start=-1.0)}, "start=-1.0 is a share"),
    ({"schedule": spec(optim.step_decay, factor=10.0)}, "factor=10.0 is a share"),
    ({"schedule": spec(optim.polynomial, power=-0.9)}, "power=-0.9 must be 0 or more"),
    ({"seed": None}, "--config.seed=None is no whole number from 0 to 4294967295"),
    ({"seed": 1 << 32}, "--config.seed=4294967296 is no whole number"),
    (
        {
            "model": spec(ResidualEncoderUNet, deep_supervision=2),
            "loss": spec(losses.signed_distance),
        },
        "set --config.model.deep_supervision=0",
    ),
    ({"train": {"patience": -1}}, "use 0 to switch early stopping off"),
]


@pytest.mark.parametrize("sections, message", IMPOSSIBLE_RECIPES)
def test_an_impossible_recipe_is_refused_with_its_fix(sections, message, monkeypatch):
    monkeypatch.setattr(jax, "jit", None)  # nothing may be compiled
    with pytest.raises(ConfigError, match=message) as e:
        make_recipe(make_config(**sections))
    assert "\n" not in str(e.value)


IMPOSSIBLE_FOR_DATA = [
    (
        {"input": {"size": 32}},
        "--config.input.size=32 is larger than the images, 16 x 16; use 16 or",
    ),
    ({"input": {"size": 9}}, "image size 9 x 9 must divide by 2"),
    ({"model": {"num_classes": 3}}, "set --config.model.num_classes=1"),
    ({"augment": {"groups": 3}}, "--config.augment.groups=3 sequences, but .* has 2 .*set it to 2"),
    # It divides the channels with the neighbouring slices', and would mix slices as if they were sequences.
    ({"augment": {"groups": 3}, "input": {"context": 3}}, "--config.augment.groups=3 sequences"),
    ({"augment": spec(HeadSynthesis)}, "HeadSynthesis draws heads from label maps"),
    ({"augment": {"flip": (0.5,)}}, "needs one value per axis"),
    ({"loss": spec(losses.categorical_hinge)}, "needs two classes or more; use 'bce'"),
    ({"model": {"dtype": "bf16"}}, "--config.model makes no network for .*bf16"),
    ({"model": {"features": (4, 0)}}, "--config.model makes no network"),
    ({"model": {"dropout": 1.5}}, "dropout is 1.5; choose"),
    ({"train": {"mixup": 0.4}}, "--config.train.mixup=0.4 blends images with labels, not masks"),
]


@pytest.mark.parametrize("sections, message", IMPOSSIBLE_FOR_DATA)
def test_what_does_not_fit_the_data_is_refused_before_any_compile(sections, message, monkeypatch):
    recipe = make_recipe(make_config(**sections))
    monkeypatch.setattr(jax, "jit", None)
    with pytest.raises(ConfigError, match=message) as e:
        recipe.batch_shape(make_dataset())
    assert "\n" not in str(e.value)


def test_tfdata_without_tensorflow_is_refused_before_any_compile(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs tensorflow: pip install .*or choose memory"):
        make_recipe(make_config(input={"feed": "tfdata"}))


def test_an_option_that_is_needed_is_named():
    with pytest.raises(ConfigError, match="LGG: .*'dir': set this option"):
        make_recipe(override(make_config(), {"data.name": "LGG"}, targets()))


def test_a_network_without_an_axis_name_is_given_none(monkeypatch):
    class Plain(nn.Module):
        num_classes: int = 1

    monkeypatch.setattr(models, "Plain", Plain, raising=False)
    monkeypatch.setattr(models, "__all__", [*models.__all__, "Plain"])
    config = override(make_config(), {"model.name": "Plain"}, targets())
    assert make_recipe(config).model == Plain()


def test_a_number_that_may_be_whole_or_not_keeps_the_kind_it_was_written_in():
    for text, value in (("0.25", 0.25), ("2", 2)):
        split = override(make_config(), {"split.test": text}, targets()).split
        assert split.test == value and type(split.test) is type(value)


def test_a_classifier_is_no_segmentation_network():
    config = override(make_config(), {"model.name": "ResNet"}, targets())
    with pytest.raises(ConfigError, match="ResNet gives .*choose a segmentation network"):
        make_recipe(config).batch_shape(make_dataset())


def test_the_parts_of_a_recipe_are_those_of_the_config():
    recipe = make_recipe(
        make_config(train={"parallel": "pmap", "batch_size": 8}, input={"context": 3})
    )
    assert isinstance(recipe.model, nn.Module) and recipe.model.axis_name == "data"
    assert recipe.plain_model.axis_name is None and recipe.plain_model.features == (4, 8)
    assert recipe.batch_shape(make_dataset()) == (8, 16, 16, 6)
    assert isinstance(recipe.tx, optax.GradientTransformation)
    assert isinstance(make_config(), ConfigDict)


def test_sizes_may_be_a_number_or_one_per_axis():
    """As a plan gives the strides of a network for thick slices."""
    config = ConfigDict({"model": spec(ResidualEncoderUNet)}).lock()
    get = {"model": lambda name: ResidualEncoderUNet}
    changed = override(config, {"model.strides": "(1, 2, (2, 2, 1), (2, 2, 1), 2, 2)"}, get)
    assert changed.model.strides == (1, 2, (2, 2, 1), (2, 2, 1), 2, 2)
    assert override(config, {"model.kernels": "(3, (3, 3, 1))"}, get).model.kernels == (
        3,
        (3, 3, 1),
    )
    with pytest.raises(ConfigError, match="is no tuple"):
        override(config, {"model.features": "(8, (1, 2))"}, get)
    one_each = override(make_config(), {"model.convs": "(1, 2)"}, targets())
    for text, value in (("2", 2), ("(2, 1)", (2, 1))):
        assert override(one_each, {"model.convs": text}, targets()).model.convs == value
    distance = make_config(loss=spec(losses.signed_distance))
    for text, value in (("2", 2.0), ("(2.5, 2.5, 1)", (2.5, 2.5, 1.0))):
        assert override(distance, {"loss.spacing": text}, targets()).loss.spacing == value
