"""Folders of pictures: a sub-folder a class, under parts such as `Training/` and `Testing/` or under none."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Sequence

from brainjax.datasets.verify import Problem
from brainjax.types import DataError

SUFFIXES = (".jpg", ".jpeg", ".png")
_ASIDE = (".", "__")  # how the names of folders begin that are not meant, such as __MACOSX
_LITTER = ("thumbs.db", "desktop.ini")  # what file managers leave behind


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture file.

    Attributes:
        name: path relative to the folder that holds the parts (or the classes), with forward slashes.
        part: name of the part's folder; '' where there are none.
        label: name of the class.
        path: where the file is.
    """

    name: str
    part: str
    label: str
    path: str


@dataclasses.dataclass(frozen=True)
class Found:
    """What is in a folder, by file names alone.

    Attributes:
        classes: as asked for; where any will do, the names of the sub-folders, sorted.
        pictures: ordered by name.
        problems: files and folders that cannot be taken.
    """

    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    problems: tuple[Problem, ...]

    def missing(self) -> list[str]:
        """Which classes a part lacks, in words; it need not have them."""
        there = collections.defaultdict(set)
        for picture in self.pictures:
            there[picture.part].add(picture.label)
        absent = {
            part: [c for c in self.classes if c not in found] for part, found in there.items()
        }
        return [
            f"{part or 'the folder'}: no pictures of {', '.join(names)}"
            for part, names in sorted(absent.items())
            if names
        ]


def find_pictures(
    directory: str | os.PathLike, classes: Sequence[str] = (), parts: Sequence[str] = ()
) -> Found:
    """Lists the pictures of a folder without opening any.

    Args:
        directory: holds the parts or the classes, or one folder that does.
        classes: names of the classes' folders, upper and lower case alike; () for whatever holds pictures.
        parts: names of the parts' folders, likewise; () for whatever holds classes.

    Raises:
        DataError: there is no such folder, or no class in it.
    """
    root = pathlib.Path(directory).expanduser()
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder; pass the unpacked download by --config.data.dir or --data_dir"
        )
    root, inside = _layout(root, classes, parts)
    pictures, problems = [], []
    known = {name.casefold(): name for name in classes}
    for part, folder in inside:
        for child in _folders(folder):
            label = known.get(child.name.casefold()) if classes else child.name
            if label is None and not _holds_pictures(child):
                continue  # such as Kaggle's second copy of the yes/no set, within the first
            if label is None:
                what = f"is no class of this data set ({', '.join(classes)})"
                problems.append(Problem(str(child), what, "rename or remove the folder"))
                continue
            files, bad = _files(child)
            problems += bad
            if not files and (classes or bad):
                fix = "add its pictures, or remove the folder"
                problems.append(Problem(str(child), "holds no pictures", fix))
            for path in files:
                name = path.relative_to(root).as_posix()
                pictures.append(Picture(name, part, label, str(path)))
    found = tuple(classes) or tuple(sorted({picture.label for picture in pictures}))
    pictures.sort(key=lambda picture: picture.name)
    return Found(found, tuple(pictures), tuple(problems))


def _layout(
    root: pathlib.Path, classes: Sequence[str], parts: Sequence[str]
) -> tuple[pathlib.Path, list[tuple[str, pathlib.Path]]]:
    """The folder that names are relative to, and its parts (name, folder)."""
    wanted = {name.casefold() for name in classes}

    def has_classes(folder: pathlib.Path) -> bool:
        inside = _folders(folder)
        if wanted:
            return any(child.name.casefold() in wanted for child in inside)
        return any(_holds_pictures(child) for child in inside)

    for _ in range(3):  # archives wrap their contents in a folder, sometimes twice
        if has_classes(root):
            return root, [("", root)]
        named = {name.casefold(): name for name in parts}
        found = [(named.get(f.name.casefold(), f.name), f) for f in _folders(root)]
        found = [(name, f) for name, f in found if (not parts or name in parts) and has_classes(f)]
        if len(found) == 1 and not part_role(found[0][0]):
            found = []  # a folder around the classes
        if found:
            return root, found
        inside = _folders(root)
        if len(inside) != 1:
            break
        root = inside[0]
    expected = f"the classes' folders ({', '.join(classes)})" if classes else "folders of pictures"
    under = f", directly or under {' and '.join(parts)}" if parts else ""
    raise DataError(
        f"{root}: holds no {expected.removeprefix('the ')}{under}; pass the folder that does, by "
        "--config.data.dir or --data_dir"
    )


def part_role(part: str) -> str:
    """'train', 'val' or 'test' of a part by its name, such as 'Testing'; '' where that says nothing."""
    return next((role for role in ("train", "val", "test") if part.casefold().startswith(role)), "")


def is_aside(path: pathlib.PurePath) -> bool:
    """Whether a file is what archives and file managers leave behind, such as `._scan.jpg`, or in such a folder.

    Args:
        path: relative to the folder that was named.
    """
    return path.name.startswith(".") or any(p.startswith(_ASIDE) for p in path.parts[:-1])


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(_ASIDE))


def _holds_pictures(folder: pathlib.Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _files(folder: pathlib.Path) -> tuple[list[pathlib.Path], list[Problem]]:
    files, problems = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in _LITTER:
            continue
        if path.is_dir():
            problems.append(Problem(str(path), "is a folder in a class", "move its pictures up"))
        elif path.suffix.lower() in SUFFIXES:
            files.append(path)
        else:
            what = f"is no {', '.join(SUFFIXES)} file"
            problems.append(Problem(str(path), what, "convert or remove it"))
    return files, problems
