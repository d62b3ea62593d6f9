"""`python -m brainjax`: the same as the console script `brainjax`."""

import sys

from brainjax.cli import main

if __name__ == "__main__":
    sys.exit(main())
