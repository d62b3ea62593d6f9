"""Large pages for training on a CPU: a sixth to a quarter less time a step.

XLA takes memory for a step from the C library and gives it back after it. In pages of 4 KiB the system clears and maps
hundreds of thousands of them, every step; in pages of 2 MiB, five hundred times fewer. Linux gives large pages to whoever
asks ('madvise', the usual setting), and glibc asks where its tunable says so. It reads its tunables at the start of a
process, so this process starts again.
"""

import os
import pathlib
import platform
import sys

VARIABLE, LARGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
_SETTING = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
_SINCE = (2, 35)  # of glibc, that has the tunable


def large_pages() -> None:
    """Begins the program anew with large pages where the system has them to ask for; does nothing the second time.

    Whoever sets GLIBC_TUNABLES, to nothing too, decides: then nothing happens. Nor under a debugger, which would be
    left behind.
    """
    debugged = sys.gettrace() is not None or "pydevd" in sys.modules
    if VARIABLE in os.environ or debugged or not on_request():
        return
    try:
        os.execve(
            sys.executable,
            [sys.executable, *sys.orig_argv[1:]],
            {**os.environ, VARIABLE: LARGE},
        )
    except OSError:  # it works as well, only slower
        return


def on_request() -> bool:
    """Whether memory gets large pages if it is asked for, and this C library can ask."""
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split(".")[:2])) < _SINCE:
        return False
    try:
        return "[madvise]" in _SETTING.read_text()
    except OSError:  # not Linux, or a sandbox without it
        return False
