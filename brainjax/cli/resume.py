"""Which scans of a list an earlier run has finished."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from brainjax.types import DataError


def remaining(
    jobs: Sequence[Any], done: Callable[[Any], bool]
) -> tuple[list[Any], list[tuple[Any, Exception]]]:
    """What is left to do, and what cannot be done; tells both on stderr.

    Args:
        jobs: of all scans.
        done: whether a job is finished; raises DataError or OSError where others' results are in its place.

    Returns:
        The jobs to do, and those that `done` refused with its errors.
    """
    todo, refused = [], []
    for job in jobs:
        try:
            if not done(job):
                todo.append(job)
        except (DataError, OSError) as error:
            refused.append((job, error))
            print(f"error: {error}", file=sys.stderr)
    finished = len(jobs) - len(todo) - len(refused)
    if finished:
        print(f"{finished} scans are done already; --overwrite does them again", file=sys.stderr)
    return todo, refused
