"""Builds the extension: `python -m brainjax.native`; exit code 1, and the reason, where that fails."""

import os
import sys

from brainjax import native
from brainjax.native import build
from brainjax.types import ConfigError


def main() -> int:
    """Compiles and loads the extension."""
    os.environ["BRAINJAX_NATIVE"] = "1"
    try:
        native.ready()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"the native extension is ready: {build.compiled()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
