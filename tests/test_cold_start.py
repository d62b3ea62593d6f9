"""What an import brings along, counted in modules: seconds differ from machine to machine."""

import json
import sys

import pytest
from tiny import python


def brought(code, before=""):
    """Names of the modules that `code` loads, after those of `before`."""
    script = (
        f"import json, sys\n{before}\nknown = set(sys.modules)\n{code}\n"
        "print(json.dumps(sorted(set(sys.modules) - known)))"
    )
    run = python(script)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_package_itself_brings_nothing():
    assert brought("import brainjax") == ["brainjax"]


def test_models_bring_jax_and_flax_alone():
    found = brought("import brainjax.models", before="import jax, flax.linen")
    others = {name.split(".")[0] for name in found} - set(sys.stdlib_module_names) - {"brainjax"}
    assert others <= {"jax", "flax", "jaxlib", "numpy"}, others
    rooms = {name.split(".")[1] for name in found if name.startswith("brainjax.")}
    assert rooms == {"lookup", "models", "native", "types"}


@pytest.mark.parametrize(
    ("code", "never"),
    [
        ("import brainjax.cli", {"jax", "numpy", "flax", "nibabel"}),
        ("import brainjax.sweep, brainjax.config", {"jax", "flax", "tensorflow"}),
        (
            "import brainjax.infer",
            {"tensorflow", "matplotlib", "skimage", "optax", "orbax", "h5py"},
        ),
        ("import brainjax.datasets", {"tensorflow", "tensorflow_datasets", "jax", "matplotlib"}),
        ("import brainjax.train.loop", {"tensorflow", "tensorflow_datasets", "ray", "skimage"}),
    ],
)
def test_rooms_load_only_what_they_need(code, never):
    before = (
        "" if "jax" in never else "import jax, flax.linen"
    )  # what flax brings is its own affair
    found = {name.split(".")[0] for name in brought(code, before)}
    assert not found & never
