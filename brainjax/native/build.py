"""Finds oneDNN and a compiler, and compiles the sources beside this file where that has not been done yet."""

import ctypes
import hashlib
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import jax
import jax.ffi
import jaxlib

_FOLDER = pathlib.Path(__file__).parent
_RUNTIME, _HEADERS = "onednn-cpu-gomp", "onednn-devel-cpu-gomp"
# -fopenmp: the threads of `winograd.h` are those of oneDNN, which is GNU's library; with clang it is left out.
_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-w")
_OPENMP = "-fopenmp"
_PATIENCE = 300  # seconds for the compiler


class Unavailable(Exception):
    """There is no extension on this machine; the message says why and what would help."""


def load() -> ctypes.CDLL:
    """The extension, compiled if it must be.

    Raises:
        Unavailable: something that it needs is missing, or does not compile.
        OSError: it cannot be loaded.
    """
    path = compiled()
    # GNU's OpenMP reads this once, when it is loaded. Threads that wait for the next convolution by spinning would
    # take the processor from what XLA does between two of them.
    name, before = "OMP_WAIT_POLICY", os.environ.get("OMP_WAIT_POLICY")
    os.environ.setdefault(name, "PASSIVE")
    try:
        return ctypes.CDLL(str(path))
    finally:
        if before is None:
            del os.environ[name]


def compiled() -> pathlib.Path:
    """The compiled extension's file; compiles it when nothing that it depends on is as it was.

    Raises:
        Unavailable: as `load`.
    """
    library = _file_of(_RUNTIME, "libdnnl.so.3")
    header = _file_of(_HEADERS, "oneapi/dnnl/dnnl.hpp")
    compiler = _compiler()
    versions = (jaxlib.__version__, *map(importlib.metadata.version, (_RUNTIME, _HEADERS)))
    sources = sorted(map(str, _FOLDER.glob("*.cc")))
    texts = (
        path.read_text() for path in sorted(_FOLDER.glob("*.*")) if path.suffix in (".cc", ".h")
    )
    flags = _FLAGS if "clang" in pathlib.Path(compiler).name else (*_FLAGS, _OPENMP)
    parts = (*texts, *versions, str(library), compiler, *flags)
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    folder = pathlib.Path("~/.cache/brainjax/native").expanduser()
    target, log = folder / f"conv-{key}.so", folder / f"conv-{key}.log"
    if target.exists():
        return target
    if log.exists():
        raise Unavailable(f"it did not compile: see {log}, and delete that file to try again")
    print("brainjax: compiling its native extension, once ...", file=sys.stderr, flush=True)
    command = [
        *(compiler, *flags, f"-I{jax.ffi.include_dir()}", f"-I{header.parents[2]}"),
        *sources,
        *(str(library), f"-Wl,-rpath,{library.parent}"),
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Two processes may compile at once: each in a folder of its own, and the last one to finish wins.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = pathlib.Path(scratch) / target.name
            done = subprocess.run(
                [*command, "-o", str(made)], capture_output=True, text=True, timeout=_PATIENCE
            )
            if done.returncode:
                log.write_text(f"{' '.join(command)}\n\n{done.stderr}")
                raise Unavailable(f"it does not compile: see {log}")
            os.replace(made, target)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{compiler} took more than {_PATIENCE} s") from error
    except OSError as error:
        raise Unavailable(f"{folder} cannot be written: {error.strerror}") from error
    return target


def _file_of(package: str, name: str) -> pathlib.Path:
    """A file that a package has brought, wherever the package's scheme has put it."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise Unavailable("oneDNN is not installed: pip install 'brainjax[native]'") from error
    for file in files:
        if str(file).endswith(name):
            path = pathlib.Path(file.locate()).resolve()
            if path.exists():
                return path
    raise Unavailable(f"{package} has no {name}: pip install --force-reinstall {package}")


def _compiler() -> str:
    """Path of a C++ compiler: CXX of the environment, or what is usual."""
    for name in filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++")):
        found = shutil.which(name)
        if found:
            return found
    raise Unavailable("there is no C++ compiler: install g++, or name one in CXX")
