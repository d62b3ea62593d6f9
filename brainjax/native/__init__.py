"""Convolutions, products and attention for JAX on CPU, by oneDNN: an optional extension, several times faster than XLA.

    pip install 'brainjax[native]'   oneDNN itself, for Linux on x86-64; a C++ compiler must be there too
    python -m brainjax.native        builds the extension now, and says whether it works and why not

The extension (`conv.cc` and `attention.cc`, called by JAX's foreign function interface) is compiled when it is first needed,
once, in some ten seconds, and kept in ~/.cache/brainjax; without the library or a compiler everything runs as before, on
the portable path of `models/conv_cpu.py`, and one line of log says so. bfloat16 takes it wherever oneDNN has no such
convolutions, which want a processor with AVX-512. BRAINJAX_NATIVE=0 in the environment switches it off; BRAINJAX_NATIVE=1 makes its
absence an error and uses it on several simulated devices as well.

Where taps are 3 x 3 (or n x 3 x 3), strides 1 and arrays float32, with multiples of 16 channels, Winograd's algorithm
(`winograd.h`) takes a quarter of the multiplications, and a third to a half of the time of oneDNN's own convolution. Its
rounding error is some 1e-5 of the result's spread, where a plain sum has 1e-6; BRAINJAX_WINOGRAD=0 in the environment keeps
to plain sums. It, the depthwise gradient of `depthwise.h` and the attention want GCC; with clang there are oneDNN's convolutions alone.

`models/conv.py` and `models/attend.py` call it; `infer/export.py` switches it off for programs that are to run elsewhere.
"""

import contextlib
import ctypes
import functools
import logging
import os
import platform
import sys

import jax

from brainjax.native import build
from brainjax.types import ConfigError

_log = logging.getLogger(__name__)
# Part of the key of all of JAX's caches: what was traced outside such a block is traced anew inside it.
_off = jax.make_user_context(False)


def ready() -> bool:
    """Whether convolutions on this machine's CPU go through the extension; builds and loads it when first asked.

    Raises:
        ConfigError: BRAINJAX_NATIVE is 1 and the extension cannot be had, or it is no known value.
    """
    wish = os.environ.get("BRAINJAX_NATIVE", "auto")
    if wish not in ("0", "1", "auto"):
        raise ConfigError(f"BRAINJAX_NATIVE={wish} is not 0, 1 or auto")
    if _off.value or wish == "0":
        return False
    # XLA cannot divide a foreign call among devices: it would gather the whole batch on each.
    if wish == "auto" and (jax.default_backend() != "cpu" or jax.device_count() > 1):
        return False
    reason = _load()
    if reason and wish == "1":
        raise ConfigError(f"BRAINJAX_NATIVE=1, but {reason}")
    if reason and (sys.platform, platform.machine()) == (
        "linux",
        "x86_64",
    ):  # elsewhere nothing can be done about it
        _tell(reason)
    return not reason


def halves() -> bool:
    """Whether convolutions of bfloat16 go through the extension too, which this processor may not have.

    Raises:
        ConfigError: as `ready`.
    """
    return ready() and _halves()


def attends() -> bool:
    """Whether attention goes through the extension too, which clang's does not have.

    Raises:
        ConfigError: as `ready`.
    """
    return ready() and _attends()


def switched_off() -> contextlib.AbstractContextManager:
    """Programs traced in this block do not need the extension where they run: for `jax.export`."""
    return _off(True)


@functools.cache
def _load() -> str:
    """Registers the extension with JAX, once; returns why it could not, or nothing."""
    try:
        library = build.load()
        for name in ("forward", "input_gradient", "kernel_gradient"):
            _register(library, f"brainjax_{name}")
    except (build.Unavailable, OSError, AttributeError) as error:
        return str(error)
    return ""


@functools.cache
def _tell(reason: str) -> None:
    """Logs, once, that there is a quicker way."""
    _log.info(
        "networks take the portable path, which is slower: %s; BRAINJAX_NATIVE=0 keeps to it",
        reason,
    )


@functools.cache
def _halves() -> bool:
    return bool(build.load().brainjax_has_bfloat16())


@functools.cache
def _attends() -> bool:
    """Registers the handlers of attention, once, where they are."""
    try:
        library = build.load()
        for name in ("attention", "attention_gradient"):
            _register(library, f"brainjax_{name}")
    except AttributeError:
        return False
    return True


def _register(library: ctypes.CDLL, name: str) -> None:
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
