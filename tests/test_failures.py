"""What is said of a scan that cannot be done: one line, with its path, whatever went wrong."""

import pytest

from brainjax.cli.failures import said
from brainjax.types import ConfigError, DataError


@pytest.mark.parametrize(
    "error, line",
    [
        (DataError("a.nii: the file is empty"), "a.nii: the file is empty"),
        (DataError("its header is damaged"), "a.nii: its header is damaged"),
        (DataError("one\n  two\n"), "a.nii: one; two"),
        (ConfigError("install it"), "a.nii: install it"),
        (OSError(28, "No space left", "a.nii"), "[Errno 28] No space left: 'a.nii'"),
        (ValueError("odd\nmore"), "a.nii: unexpected ValueError: odd; please report it"),
        (KeyError(), "a.nii: unexpected KeyError; please report it"),
        (
            MemoryError(),
            "a.nii: too large for this machine's memory; crop it, or end other programs",
        ),
    ],
)
def test_said(error, line):
    assert said(error, "a.nii") == line
