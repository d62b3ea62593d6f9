"""Names of results, and where they may not go."""

import collections
import pathlib
from collections.abc import Iterable, Sequence

from brainjax.types import ConfigError


def distinct(names: Sequence[str], places: Sequence[pathlib.Path]) -> list[str]:
    """The names, those that several scans have with as many folders before them as tell the scans apart.

    Args:
        names: of the scans.
        places: the file, or the folder of DICOM files, of each.

    Raises:
        ConfigError: two scans are told apart by nothing but their endings.
    """
    groups = collections.defaultdict(list)
    for i, name in enumerate(names):
        groups[name].append(i)
    made = list(names)
    for name, group in groups.items():
        folders = [_folders(name, places[i]) for i in group]
        for depth in range(1, max(map(len, folders)) + 1) if len(group) > 1 else ():
            longer = ["_".join([*above[-depth:], name]) for above in folders]
            if len(set(longer)) == len(longer):
                for i, chosen in zip(group, longer, strict=True):
                    made[i] = chosen
                break
    for name, count in collections.Counter(made).items():
        if count > 1:
            same = " and ".join(str(p) for p, own in zip(places, made, strict=True) if own == name)
            raise ConfigError(
                f"{same} would both be called {name}; keep one of them, or do them one at a time"
            )
    return made


def _folders(name: str, place: pathlib.Path) -> list[str]:
    """Names of the folders that a scan lies in, the outermost first; without the one that the scan is named after."""
    above = list(place.resolve().parent.parts[1:])
    return above[:-1] if above and above[-1] == name else above


def keep_apart(scans: Iterable[pathlib.Path], outputs: Iterable[pathlib.Path]) -> None:
    """Raises ConfigError where a result would take the place of a scan, or of another result."""
    taken = {path.resolve(): "a scan" for path in scans}
    for path in outputs:
        place = path.resolve()
        if place in taken:
            raise ConfigError(
                f"{path} is {taken[place]} itself; choose another place for the results"
            )
        taken[place] = "another result"
