"""Eight simulated devices for every test of this process, and one cache of compiled programs."""

import atexit
import os
import shutil
import tempfile

# Before jax is imported. Child processes of tests start from `tiny.clean_environment` instead.
# Tiny programs spend their time in the compiler, not on the data: the least optimisation is the quickest.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=8"
)
os.environ["JAX_PLATFORMS"] = "cpu"
# Tests build the same small programs again and again, here and in child processes.
_cache = tempfile.mkdtemp(prefix="brainjax-tests-")
atexit.register(shutil.rmtree, _cache, ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

import pytest  # noqa: E402
from tiny import make_dataset  # noqa: E402

from brainjax import native  # noqa: E402
from brainjax.datasets.base import ArrayDataset  # noqa: E402


@pytest.fixture(scope="session")
def dataset() -> ArrayDataset:
    """Four patients, 18 slices of 16 x 16 with two channels."""
    return make_dataset()


@pytest.fixture(scope="session")
def extension():
    """Skips where the extension cannot be had; the reason is the extension's own. Fails where it does not compile."""
    reason = native._load()
    assert "not compile" not in reason, reason
    if reason:
        pytest.skip(reason)


@pytest.fixture
def forced(extension, monkeypatch):
    """The extension in use, also on this process's eight simulated devices."""
    monkeypatch.setenv("BRAINJAX_NATIVE", "1")
