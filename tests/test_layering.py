"""Who may import whom: the table of the house, walked over every import of the package."""

import ast
import pathlib
import re
import sys

import pytest
from tiny import ROOT, TINY, python

PACKAGE = ROOT / "brainjax"

# Room or file -> what of brainjax it may import. Read top to bottom it is the flow of the data.
BASE = {"types", "files", "lookup"}
MAY_IMPORT = {
    "types": set(),
    "files": {"types"},
    "lookup": {"types"},
    "config": BASE,
    "override": BASE | {"config"},
    "sweep": BASE,
    "memory": set(),
    "io": BASE,
    "preprocess": BASE | {"io"},
    "synth": BASE | {"preprocess"},
    "datasets": BASE | {"io", "preprocess", "synth"},
    "data": BASE | {"datasets", "preprocess"},
    "augment": BASE | {"synth"},
    "native": BASE,
    "models": BASE | {"native"},
    "losses": BASE,
    "optim": BASE,
    "metrics": BASE,
    "infer": BASE | {"config", "data", "datasets", "io", "metrics", "models", "preprocess"},
    "train": BASE
    | {"augment", "config", "data", "datasets", "infer", "losses", "metrics", "models", "optim"}
    | {"memory", "override", "preprocess", "sweep", "weights"},
    "weights": BASE | {"models"},
    "report": BASE
    | {"config", "data", "datasets", "infer", "io", "metrics", "preprocess", "sweep"},
    "app": BASE | {"infer", "io", "preprocess", "report"},
    "cli": BASE | {"app", "infer", "io", "memory", "report"},
    "__main__": {"cli"},
}
# Single files that know a little more than their room.
EXTRA = {
    "infer/export.py": {"native"},  # switches it off: other machines lack it
    "report/runs.py": {"train.logging"},
    "datasets/lgg.py": {"data"},  # opens a prepared folder, on demand
    "datasets/volumes.py": {"data"},
}
# Third parties: file pattern -> where alone they may be imported, also inside functions.
ONLY_IN = {
    "tensorflow": r"data/tfdata\.py|datasets/\w+_builder\.py",
    "tensorflow_datasets": r"data/\w+\.py|datasets/\w+_builder\.py",
    "absl": r"",
    "apache_beam": r"datasets/common_builder\.py",
    "nibabel": r"io/.*|preprocess/.*",
    "pydicom": r"io/dicom(_seg|_series)?\.py",
    "highdicom": r"io/dicom_seg\.py",
    "PIL": r"io/.*|report/.*|datasets/.*",
    "matplotlib": r"report/.*",
    "orbax": r"train/checkpoint\.py",
    "tensorboardX": r"train/logging\.py",
    "safetensors": r"infer/release\.py|weights/pretrained\.py",
    "h5py": r"weights/keras_file\.py",
    "ml_collections": r"config\.py|override\.py|train/(recipe|trial|cluster)\.py",
    "tqdm": r"train/(loop|sweep|cluster)\.py|infer/evaluate\.py|datasets/.*|cli/.*",
    "scipy": r"io/.*|preprocess/.*|infer/.*|datasets/.*|report/.*|app/surface\.py|metrics/(components|surface|lesion)\.py",
    "skimage": r"infer/localize\.py|report/.*|app/surface\.py",
    "dash": r"app/.*",
    "plotly": r"app/.*",
    "flask": r"app/.*",
    "werkzeug": r"app/.*",
    "torch": r"",
    "ray": r"train/cluster\.py",
}
DEVICE_ROOMS = ("augment", "losses", "metrics", "models", "optim", "synth")
# What of these rooms runs on the host: no distance transform of whole volumes, no components fit a device.
ON_HOST = {f"metrics/{name}.py" for name in ("components", "surface", "lesion")}
DEVICE_LIBRARIES = {"jax", "flax", "optax", "numpy", "brainjax", *sys.stdlib_module_names}


def files():
    return sorted(p for p in PACKAGE.rglob("*.py"))


def imports(path):
    """Full names of the modules that a file imports anywhere, functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(relative):
    return pathlib.PurePath(relative).parts[0].removesuffix(".py")


def each_import():
    for path in files():
        relative = path.relative_to(PACKAGE).as_posix()
        for name in imports(path):
            yield relative, name


def test_the_walk_finds_the_package():
    found = {room(relative) for relative, _ in each_import()}
    assert found >= {"config", "models", "train", "infer", "data", "datasets", "report"}


def test_every_room_imports_only_rooms_below_it():
    wrong = []
    for relative, name in each_import():
        parts = name.split(".")
        if parts[0] != "brainjax" or relative == "__init__.py" or parts[1] == "__version__":
            continue
        own = room(relative)
        allowed = MAY_IMPORT[own] | {own} | EXTRA.get(relative, set())
        reached = {parts[1], ".".join(parts[1:3])}
        if not reached & allowed:
            wrong.append(f"{relative} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_the_table_has_every_room_and_no_circle():
    rooms = {
        p.stem if p.is_file() else p.name for p in PACKAGE.iterdir() if p.suffix in ("", ".py")
    }
    assert rooms - {"__init__", "__pycache__"} == set(MAY_IMPORT)
    order = {name: i for i, name in enumerate(_ordered())}
    assert all(order[b] < order[a] for a, below in MAY_IMPORT.items() for b in below)


def _ordered():
    done = []
    while len(done) < len(MAY_IMPORT):
        ready = [r for r in MAY_IMPORT if r not in done and MAY_IMPORT[r] <= set(done)]
        assert ready, f"rooms that import each other: {set(MAY_IMPORT) - set(done)}"
        done += ready
    return done


@pytest.mark.parametrize("library", ONLY_IN)
def test_third_parties_stay_where_they_belong(library):
    wrong = [
        relative
        for relative, name in each_import()
        if name.split(".")[0] == library and not re.fullmatch(ONLY_IN[library], relative)
    ]
    assert not wrong


def test_what_runs_on_the_device_needs_jax_alone():
    wrong = [
        f"{relative} imports {name}"
        for relative, name in each_import()
        if room(relative) in DEVICE_ROOMS
        and relative not in ON_HOST
        and name.split(".")[0] not in DEVICE_LIBRARIES
    ]
    assert not wrong


def test_nothing_imports_the_experiments_or_the_configs():
    assert not [
        x for x in each_import() if x[1].split(".")[0] in ("experiments", "configs", "tests")
    ]


def test_one_file_alone_knows_how_devices_share_work():
    words = re.compile(r"\b(pmap|shard_map|Mesh|make_mesh|sharding|NamedSharding|PartitionSpec)\b")
    found = set()
    for path in files():
        tree = ast.parse(path.read_text())
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        names |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        names |= {part for name in imports(path) for part in name.split(".")}
        if any(words.fullmatch(name) for name in names):
            found.add(path.relative_to(PACKAGE).as_posix())
    assert found == {"train/parallel.py"}


def test_nothing_unpickles_or_evaluates_text():
    """Neither by import nor by an option, in the package and at its entry points."""
    bad_modules = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    bad_names = {"allow_pickle", "eval", "exec"}
    for path in [*files(), *(ROOT / "experiments").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        assert not bad_modules & {name.split(".")[0] for name in imports(path)}, path
        keywords = {
            (k.arg, ast.unparse(k.value)) for k in ast.walk(tree) if isinstance(k, ast.keyword)
        }
        used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        used |= {arg for arg, value in keywords if arg == "allow_pickle" and value != "False"}
        assert not bad_names & used, path


def test_models_import_without_the_heavy_libraries():
    """So that they drop into other research, and into a runtime without them."""
    heavy = ["tensorflow", "nibabel", "absl.flags", "ml_collections", "scipy", "PIL", "matplotlib"]
    heavy += ["orbax", "tensorboardX", "safetensors", "brainjax.datasets", "brainjax.train"]
    code = (
        # Flax itself imports some of these; what it brings does not count.
        "import sys, jax, flax.linen; before = set(sys.modules)\n"
        "import brainjax.models, brainjax.losses, brainjax.augment, brainjax.optim, brainjax.metrics\n"
        f"print([m for m in {heavy} if m in set(sys.modules) - before])"
    )
    run = python(code)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


def test_training_from_memory_needs_no_tensorflow(tmp_path):
    """Also where it is not installed at all; from flags to pictures."""
    flags = [f"--workdir={tmp_path}", *TINY, "--config.train.steps=2"]
    code = (
        "import runpy, sys\n"
        "for name in ('tensorflow', 'tensorflow_datasets', 'array_record'): sys.modules[name] = None\n"
        f"sys.argv[1:] = {flags!r}\n"
        "runpy.run_module('experiments.train', run_name='__main__')"
    )
    run = python(code)
    assert run.returncode == 0 and (tmp_path / "result.json").is_file(), run.stderr


def test_every_room_is_a_package_that_an_installation_takes_along():
    folders = {p.parent for p in files()}
    assert not [f for f in folders if not (f / "__init__.py").exists()]
