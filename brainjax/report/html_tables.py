"""The parts of the HTML report that are text and numbers."""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from brainjax import __version__
from brainjax.infer.analysis import Analysis, Stage
from brainjax.infer.diameters import Diameters
from brainjax.infer.localize import Lesion
from brainjax.report.markup import Markup, join, tag
from brainjax.report.overlay import COLOURS
from brainjax.report.words import (
    PART_NAMES,
    REGION_NAMES,
    STAGES,
    WAYS,
    ml,
    mm,
    percent,
    plain,
    seconds,
    world,
)

_LESIONS = 40  # rows of the table
_KNOWN = {  # of a model's facts, those for people
    "task": "task",
    "dataset": "trained on",
    "classes": "classes",
    "channels": "sees",
    "protocol": "protocol",
    "licence": "licence",
    "citation": "source of the data",
    "parameters": "parameters",
    "metrics": "scores",
    "also": "also measured",
    "begun_with": "begun with",
    "limits": "limits",
    "exported": "exported",
}


def colour(index: int) -> str:
    """CSS colour of the region with that number."""
    return css(COLOURS[index % len(COLOURS)])


def css(rgb: Sequence[int]) -> str:
    """'rgb(86,180,233)'."""
    return f"rgb({','.join(map(str, rgb))})"


def dot(name: str) -> Markup:
    """A patch of a colour beside its name."""
    return tag("span", class_="dot", style=f"background:{name}")


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Sequence[int]) -> Markup:
    """A table that scrolls by itself where it is too wide.

    Args:
        head: of the columns.
        rows: cells.
        numbers: columns to align to the right.
    """

    def cells(kind: str, row: Sequence[Any]) -> Markup:
        return tag(
            "tr",
            [tag(kind, cell, class_="n" if i in numbers else None) for i, cell in enumerate(row)],
        )

    body = tag("tbody", [cells("td", row) for row in rows])
    return tag("div", tag("table", tag("thead", cells("th", head)), body), class_="scroll")


def facts_table(rows: Sequence[tuple[str, Any]]) -> Markup:
    """Names and what they are, a line each."""
    return tag(
        "div",
        tag("table", [tag("tr", tag("th", k), tag("td", v)) for k, v in rows], class_="facts"),
        class_="scroll",
    )


def cautions(analysis: Analysis) -> Markup:
    """Warnings, and stages that failed, where nobody can miss them."""
    failed = [s for s in analysis.stages if s.status == "failed"]
    lines = [f"{_stage(s)} failed: {s.note or 'no reason given'}" for s in failed]
    # The pipeline warns of those too, in its own words.
    lines += [
        w for w in analysis.warnings if w not in {f"{s.name} failed: {s.note}" for s in failed}
    ]
    if not lines:
        return Markup("")
    title = "Before you rely on this" if not failed else "Something went wrong"
    return tag(
        "div",
        tag("h2", title),
        tag("ul", [tag("li", line) for line in lines]),
        class_="note failed" if failed else "note",
        role="alert",
    )


def tiles(analysis: Analysis, sizes: Mapping[str, float]) -> Markup:
    """The answer at a glance.

    Args:
        analysis: with the classes, lesions and stages.
        sizes: ml, of the brain and of each region, as far as they are known.
    """
    made = _class_tiles(analysis)
    regions = {name: value for name, value in sizes.items() if name != "brain"}
    if regions:
        (name, whole), *inner = regions.items()
        parts = ", ".join(f"{PART_NAMES.get(k, k)} {ml(v)}" for k, v in inner)
        text = f"{ml(whole)} ml" if whole else "none found"
        made.append(_tile(REGION_NAMES.get(name, name), text, parts if whole else ""))
        made.append(_tile("lesions", str(len(analysis.lesions)), _largest(analysis.lesions)))
    if "brain" in sizes:
        made.append(_tile("brain", f"{ml(sizes['brain'])} ml", "mask, fluid included"))
    made.append(_tile("time", seconds(analysis.seconds), f"{len(analysis.stages)} stages"))
    return tag("div", made, class_="tiles")


def scan_facts(analysis: Analysis) -> Markup:
    """What was read."""
    scan, grid = analysis.scan, analysis.scan.grid
    size = [n * s for n, s in zip(grid.shape, grid.spacing, strict=True)]
    rows = [
        ("name", tag("bdi", scan.name)),
        ("contrasts", ", ".join(scan.volumes)),
        ("grid", f"{' × '.join(map(str, grid.shape))} voxels, stored {grid.orientation}"),
        ("spacing", f"{' × '.join(f'{s:.3g}' for s in grid.spacing)} mm"),
        ("field of view", f"{' × '.join(f'{s:.0f}' for s in size)} mm"),
        *(("note", note) for note in scan.notes),
    ]
    return tag("section", tag("h2", "Scan"), facts_table(rows))


def classes(analysis: Analysis) -> Markup:
    """A bar for each class, both ways side by side."""
    ways = {how: of for how, of in analysis.classes.items() if of}
    if not ways:
        return Markup("")
    names = sorted(
        {name for of in ways.values() for name in of},
        key=lambda name: -max(of.get(name, 0.0) for of in ways.values()),
    )
    parts: list[Markup] = []
    for i, name in enumerate(names):
        parts += [tag("div", class_="rule")] if i else []
        parts.append(tag("div", plain(name), class_="name"))
        for k, of in enumerate(ways.values()):
            p = float(of.get(name, 0.0))
            bar = tag("i", class_=f"way{k % 2}", style=f"width:{100 * min(max(p, 0), 1):.1f}%")
            known = percent(p) if name in of else "–"  # not one of this network's classes
            parts += [tag("div", bar, class_="track"), tag("div", known, class_="n")]
    key = [
        tag("span", tag("span", class_=f"dot way{k % 2}"), WAYS.get(how, how))
        for k, how in enumerate(ways)
    ]
    words = (
        [tag("p", "The two ways do not agree: take neither for granted.", class_="soft")]
        if len(set(_answers(analysis).values())) > 1
        else []
    )
    bars = tag("div", parts, class_="bars", style=f"--ways:{len(ways)}")
    return tag(
        "section", tag("h2", "Class of the scan"), bars, tag("div", key, class_="key"), words
    )


def volumes(analysis: Analysis, sizes: Mapping[str, float]) -> Markup:
    """How much of each region there is, and every lesion; arguments as in `tiles`."""
    found = {name: value for name, value in sizes.items() if name != "brain"}
    if not found:
        return Markup("")
    brain = sizes.get("brain")
    rows = []
    for k, (name, value) in enumerate(found.items()):
        pairs = [x.region_diameters[name] for x in analysis.lesions if name in x.region_diameters]
        widest = max(pairs, key=lambda d: d.longest_mm, default=None)
        label = join([dot(colour(k)), f"{REGION_NAMES.get(name, name)} ({name})"])
        share = percent(value / brain) if brain else "–"
        rows.append([label, ml(value), share, _pair(widest), _product(widest)])
    head = ["region", "ml", "of the brain", "longest × across, mm", "product, mm²"]
    parts = [tag("h2", "Volumes"), table(head, rows, (1, 2, 3, 4))]
    if analysis.lesions:
        title = tag("h3", f"Lesions ({len(analysis.lesions)})")
        parts += [title, _lesions(analysis.lesions, list(found))]
    parts.append(
        tag(
            "p",
            "Diameters are those of RANO: the longest on any axial slice, and the longest at right angles to it on that "
            "slice. Regions are nested: the whole tumour holds its core, the core what enhances.",
            class_="soft",
        )
    )
    return tag("section", parts)


def lesion_facts(lesion: Lesion, side: str) -> Markup:
    """One lesion's numbers.

    Args:
        lesion: measured.
        side: of the brain that it is on, in words; '' where that is not known.
    """
    (a, b), found = lesion.box, lesion.diameters
    rows = [
        (REGION_NAMES.get(name, name), _measured(value, lesion.region_diameters.get(name)))
        for name, value in lesion.regions_ml.items()
    ]
    rows += [
        ("side", side),
        ("centre, RAS+", f"{world(lesion.centroid_mm)} mm"),
        ("voxels", ", ".join(f"{i}–{j - 1}" for i, j in zip(a, b, strict=True))),
        ("measured on", f"slice {found.slice} of axis {found.axis + 1}" if found else ""),
    ]
    return tag(
        "dl", [tag("div", tag("dt", k), tag("dd", v)) for k, v in rows if v], class_="numbers"
    )


def stages(analysis: Analysis) -> Markup:
    """What was done by which model, how long it took, and what was not."""
    if not analysis.stages:
        return Markup("")
    rows = [
        [
            _stage(s),
            tag("span", s.status, class_=f"badge {_status(s)}"),
            s.model or "–",
            seconds(s.seconds) if s.seconds else "–",
            s.note,
        ]
        for s in analysis.stages
    ]
    head = ["stage", "status", "model", "time", "note"]
    return tag("section", tag("h2", "How it was found"), table(head, rows, (3,)))


def models(analysis: Analysis) -> Markup:
    """A card for every model that took part."""
    cards = {s.model: s for s in analysis.stages if s.model and s.facts}
    if not cards:
        return Markup("")
    return tag("section", tag("h2", "Models"), [_card(s) for s in cards.values()])


def versions() -> str:
    """'brainjax 0.1.0, jax 0.10.1, numpy 2.4.0, Python 3.11.2'."""
    libraries = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "numpy"))
    return f"brainjax {__version__}, {libraries}, Python {platform.python_version()}"


def _card(stage: Stage) -> Markup:
    facts = stage.facts
    rows = [
        (words, _words(facts[key]))
        for key, words in _KNOWN.items()
        if facts.get(key) not in (None, "", [])
    ]
    summary = tag("summary", stage.model, tag("span", f" – {_stage(stage)}", class_="soft"))
    return tag("details", summary, facts_table(rows))


def _words(value: Any) -> str:
    """A fact as text, whatever it is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_words(x) for x in value[:12]) + (" …" if len(value) > 12 else "")
    if isinstance(value, dict):
        return ", ".join(f"{plain(str(k))} {_words(v)}" for k, v in list(value.items())[:12])
    return plain(value) if isinstance(value, str) and " " not in value else str(value)


def _lesions(found: Sequence[Lesion], names: Sequence[str]) -> Markup:
    inner = names[1:]  # all of a lesion is in the first
    rows = [
        [
            lesion.index,
            ml(lesion.volume_ml),
            *(ml(lesion.regions_ml.get(name, 0.0)) for name in inner),
            _pair(lesion.diameters),
            _product(lesion.diameters),
            world(lesion.centroid_mm),
        ]
        for lesion in found[:_LESIONS]
    ]
    head = [
        "#",
        "ml",
        *(f"{name} ml" for name in inner),
        "longest × across, mm",
        "product, mm²",
        "centre, RAS+ mm",
    ]
    made = table(head, rows, tuple(range(len(head) - 1)))
    more = len(found) - _LESIONS
    if more <= 0:
        return made
    return join([made, tag("p", f"{more} smaller ones are in measurements.csv.", class_="soft")])


def _tile(over: str, text: str, under: str) -> Markup:
    return tag(
        "div", tag("p", over, class_="over"), tag("b", text), tag("span", under), class_="tile"
    )


def _answers(analysis: Analysis) -> dict[str, str]:
    """How -> the class that it comes to, which need not be the most probable one."""
    return {
        how: analysis.answers.get(how) or max(of, key=lambda name: of[name])
        for how, of in analysis.classes.items()
        if of
    }


def _class_tiles(analysis: Analysis) -> list[Markup]:
    """One tile where all ways agree, else one for each."""
    answers = _answers(analysis)
    sure = {how: percent(analysis.classes[how].get(name, 0.0)) for how, name in answers.items()}
    if len(set(answers.values())) == 1:
        words = ", ".join(f"{WAYS.get(how, how)} {p}" for how, p in sure.items())
        return [_tile("class", plain(next(iter(answers.values()))), words)]
    return [
        _tile(f"class, {WAYS.get(how, how)}", plain(name), f"probability {sure[how]}")
        for how, name in answers.items()
    ]


def _largest(lesions: Sequence[Lesion]) -> str:
    widest = max(
        (x.diameters for x in lesions if x.diameters), key=lambda d: d.longest_mm, default=None
    )
    return f"widest {_pair(widest)} mm" if widest else ""


def _pair(found: Diameters | None) -> str:
    return f"{mm(found.longest_mm)} × {mm(found.perpendicular_mm)}" if found else "–"


def _product(found: Diameters | None) -> str:
    return f"{found.product_mm2:.0f}" if found else "–"


def _measured(value: float, found: Diameters | None) -> Markup:
    across = tag("span", f"{_pair(found)} mm") if found else None
    return join([f"{ml(value)} ml" if value else "none", across])


def _stage(stage: Stage) -> str:
    return STAGES.get(stage.name, plain(stage.name))


def _status(stage: Stage) -> str:
    return stage.status if stage.status in ("done", "given", "skipped", "failed") else "skipped"
