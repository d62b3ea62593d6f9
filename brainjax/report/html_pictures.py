"""The parts of the HTML report that are pictures of the head."""

import base64
import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps

from brainjax.infer.analysis import Analysis
from brainjax.infer.localize import Lesion
from brainjax.report import surface
from brainjax.report.hanging import PLANES, Hanging, middles
from brainjax.report.html_tables import colour, css, dot, lesion_facts
from brainjax.report.markup import Markup, join, tag
from brainjax.report.overlay import BRAIN, COLOURS, HEAT, lit
from brainjax.report.surface import Surface
from brainjax.report.svg import data_uri, figure, name_class
from brainjax.report.words import REGION_NAMES, level, mm, percent

_SLICES = 12  # of a mosaic
_LESIONS = 3  # with pictures of their own
_HEATS = 6
_EVIDENCE = (
    "Slices as they are, then bright where covering a spot makes the class less likely (occlusion), then by Grad-CAM, which is "
    "coarser and may lie beside its evidence. Of classifiers of whole volumes: Grad-CAM."
)
_FINE = 400  # pixels along the longer edge of a lesion's slices
_PICTURE = 720  # and of what the stages have drawn
_MESH, _SIDES = 60, 120  # cubes along the longest edge, of what is turned and of the still pictures
_GREY = (232, 224, 216)
_GLASS, _VEIL = (
    0.22,
    0.32,
)  # opacity of the brain with a tumour in it, and of the tumour's outer regions
_MIDLINE = 5  # mm from the middle of the brain mask, that no side is told within
_ORDER = ("front", "right", "back", "left")


def overlays(hanging: Hanging) -> dict[str, str]:
    """The outlines that can be switched: CSS class -> colour."""
    made = {} if hanging.brain is None else {name_class("brain"): css(BRAIN)}
    return made | {name_class(name): colour(k) for k, name in enumerate(hanging.regions)}


def inputs(hanging: Hanging) -> Markup:
    """The switches themselves, unseen; the labels in `tools` are what is clicked."""
    made = [
        tag("input", type="radio", name=group, id=f"{group}{i}", class_="sw", checked=i == 0)
        for group, count in (("k", len(hanging.images)), ("p", len(hanging.planes)))
        for i in range(count)
    ]
    made += [
        tag("input", type="checkbox", id=name, class_="sw", checked=True)
        for name in overlays(hanging)
    ]
    made.append(tag("input", type="checkbox", id="fill", class_="sw", checked=True))
    return join(made)


def tools(hanging: Hanging) -> Markup:
    """What to show in all pictures of slices: the contrast, and which outlines."""
    groups = [
        _group("contrast", [tag("label", k, for_=f"k{i}") for i, k in enumerate(hanging.images)])
    ]
    if overlays(hanging):
        names = {name_class("brain"): "brain"}
        names |= {name_class(k): REGION_NAMES.get(k, k) for k in hanging.regions}
        labels = [
            tag("label", dot(paint), names[name], for_=name)
            for name, paint in overlays(hanging).items()
        ]
        filled = [tag("label", "filled", for_="fill")] if hanging.regions else []
        groups.append(_group("outlines", labels + filled))
    return tag("div", groups, class_="tools")


def mosaics(hanging: Hanging) -> Markup:
    """Slices through all of the brain, in each plane."""
    if not hanging.planes:
        return Markup("")
    choice = [tag("label", PLANES[axis], for_=f"p{i}") for i, axis in enumerate(hanging.planes)]
    made = []
    for i, axis in enumerate(hanging.planes):
        figures = [
            figure(
                hanging,
                axis,
                index,
                level(axis, hanging.level(axis, index)),
                key=f"m{axis}-{index}",
            )
            for index in hanging.spread(axis, _SLICES)
        ]
        made.append(tag("div", figures, class_=f"mosaic p{i}"))
    note = (
        "The patient's right is on the left of axial and coronal slices; in sagittal ones the face is on the right. "
        "The bar is 2 cm. Click a slice to enlarge it."
    )
    return tag(
        "section",
        tag("h2", "Slices"),
        tag("div", _group("plane", choice), class_="key"),
        tag("p", note, class_="soft"),
        made,
    )


def lesions(hanging: Hanging, found: Sequence[Lesion]) -> Markup:
    """The largest lesions, each in three planes with its diameters."""
    if not found:
        return Markup("")
    parts = [_lesion(hanging, lesion) for lesion in found[:_LESIONS]]
    title = "Largest lesion" if len(parts) == 1 else f"The {len(parts)} largest lesions"
    return tag("section", tag("h2", title), parts)


def scene(hanging: Hanging) -> Markup:
    """Brain and tumour in 3D: to be turned, and from the four sides."""
    regions = {name: mask for name, mask in hanging.regions.items() if mask.any()}
    brain = hanging.brain if hanging.brain is not None and hanging.brain.any() else None
    if min(hanging.grid.shape) < 4 or (brain is None and not regions):
        return Markup("")
    paints = dict(zip(hanging.regions, COLOURS, strict=False))
    shown = [Surface(mask, paints[name], _VEIL) for name, mask in regions.items()]
    if shown:  # what is innermost hides nothing
        shown[-1] = dataclasses.replace(shown[-1], opacity=1.0)
    if brain is not None:
        shown = [Surface(brain, _GREY, _GLASS if regions else 1.0), *shown]
    bodies = surface.bodies(hanging.grid, shown, _MESH)
    meshes = [(surface.mesh(body), one) for body, one in zip(bodies, shown, strict=True)]
    shape = np.array(bodies[0].shape) - 1
    edge, body = shape / shape.max(), (shape - 2 * surface.MARGIN) / shape.max()
    still = surface.views(surface.bodies(hanging.grid, shown, _SIDES), shown)
    box = tag(
        "div",
        [_mesh(made, one) for made, one in reversed(meshes) if made is not None],
        class_="scene",
        data_middle=" ".join(f"{x / 2:.4f}" for x in edge),
        data_wide=f"{np.hypot(body[0], body[1]):.4f}",
        data_tall=f"{np.hypot(body[2], 0.4 * body[1]):.4f}",
        data_yaw=f"{_towards(hanging, regions):.3f}",
    )
    sides = [
        tag(
            "figure",
            tag("img", src=data_uri(picture), alt=f"seen from the {side}"),
            tag("figcaption", side),
            class_="side",
        )
        for picture, side in zip(still, _ORDER, strict=True)
    ]
    glass = tag(
        "label",
        "brain",
        tag("input", type="range", id="glass", min=0, max=100, value=round(100 * shown[0].opacity)),
        class_="glass",
        hidden=True,
    )
    return tag(
        "section",
        tag("h2", "In three dimensions"),
        box,
        glass if brain is not None else None,
        tag("div", sides, class_="sides"),
    )


def uncertainty(hanging: Hanging, analysis: Analysis) -> Markup:
    """Probability and uncertainty over slices spread evenly over where there is some of the first of the two."""
    maps = {
        "probability of tumour": analysis.probability,
        "uncertainty": analysis.uncertainty,
    }
    maps = {title: hanging.bring(v.data) for title, v in maps.items() if v is not None}
    axis = hanging.planes[0] if hanging.planes else None
    if not maps or axis is None:
        return Markup("")
    contrast = next((k for k in ("flair", "t2") if k in hanging.images), next(iter(hanging.images)))
    weight = next(iter(maps.values())).sum(axis=tuple(a for a in range(3) if a != axis))
    chosen = _spread_over(weight, _HEATS)
    parts = []
    for k, (title, heat) in enumerate(maps.items()):
        figures = []
        for index in chosen:
            grey = np.repeat(hanging.picture(contrast, axis, index)[..., None], 3, axis=-1)
            shown = np.clip(np.nan_to_num(hanging.slice(heat, axis, index)), 0, 1)
            picture = lit(grey, shown.astype(np.float32))
            caption = level(axis, hanging.level(axis, index))
            made = figure(
                hanging, axis, index, caption, key=f"u{k}-{index}", heat=picture, regions={}
            )
            figures.append(made)
        parts += [tag("h3", title), tag("div", figures, class_="mosaic")]
    words = []
    whole = next(iter(hanging.regions.values()), None)
    if "uncertainty" in maps and whole is not None and whole.any():
        inside = float(maps["uncertainty"][whole].mean())
        words.append(
            tag("p", f"Mean uncertainty inside the tumour mask: {percent(inside)}.", class_="soft")
        )
    stops = ",".join(
        css([round(255 * c) for c in colormaps[HEAT](x)[:3]]) for x in np.linspace(0, 1, 9)
    )
    scale = tag(
        "div",
        "0",
        tag("span", class_="scale", style=f"background:linear-gradient(90deg,{stops})"),
        "1",
        class_="scaled",
    )
    return tag("section", tag("h2", "What it is not sure of"), words, parts, scale)


def pictures(analysis: Analysis) -> Markup:
    """Pictures that the stages made: where the evidence of the classifiers lies."""
    if not analysis.pictures:
        return Markup("")
    made = [
        tag(
            "figure",
            tag("img", src=data_uri(picture, _PICTURE), alt=title, loading="lazy"),
            tag("figcaption", title),
            class_="picture",
        )
        for title, picture in analysis.pictures.items()
    ]
    words = tag("p", _EVIDENCE, class_="soft")
    return tag(
        "section",
        tag("h2", "Where the networks looked"),
        words,
        tag("div", made, class_="pictures"),
    )


def _lesion(hanging: Hanging, lesion: Lesion) -> Markup:
    found, figures = lesion.diameters, []
    for axis in hanging.planes:
        index, lines = hanging.showing(lesion, axis)
        words = f" · {mm(found.longest_mm)} × {mm(found.perpendicular_mm)} mm" if lines else ""
        caption = f"{PLANES[axis]} · {level(axis, hanging.level(axis, index))}{words}"
        key = f"l{lesion.index}-{axis}"
        figures.append(
            figure(hanging, axis, index, caption, key=key, diameters=lines, pixels=_FINE)
        )
    return tag(
        "div",
        tag("h3", f"Lesion {lesion.index}"),
        tag("div", figures, class_="three"),
        lesion_facts(lesion, _side(hanging, lesion)),
        class_="lesion",
    )


def _side(hanging: Hanging, lesion: Lesion) -> str:
    """Which half of the brain a lesion's centre is in, told by the middle of the brain mask; '' without a mask."""
    if hanging.brain is None or not hanging.brain.any():
        return ""
    across = np.flatnonzero(hanging.brain.any(axis=(1, 2)))
    middle = (across[0] + across[-1]) / 2
    away = (hanging.voxel(lesion.centroid_mm)[0] - middle) * hanging.grid.spacing[0]
    if abs(away) < _MIDLINE:
        return "near the middle"
    return f"{'right' if away > 0 else 'left'}, {abs(away):.0f} mm from the middle"


def _mesh(made: surface.Shell, one: Surface) -> Markup:
    coded = {
        name: base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        for name, array in (("place", made.place), ("normal", made.normal), ("face", made.face))
    }
    return tag(
        "span",
        class_="mesh",
        hidden=True,
        data_colour=" ".join(map(str, one.colour)),
        data_opacity=f"{one.opacity:.2f}",
        **{f"data_{name}": text for name, text in coded.items()},
    )


def _towards(hanging: Hanging, regions: dict[str, np.ndarray]) -> float:
    """The angle from which the tumour is in front, radians; without one, half from the right."""
    if not regions:
        return 0.6
    mask = next(iter(regions.values()))
    middle = (np.array(mask.shape) - 1) / 2
    away = (np.argwhere(mask).mean(0) - middle) * hanging.grid.spacing
    return float(np.arctan2(away[0], away[1]))


def _spread_over(weight: np.ndarray, count: int) -> list[int]:
    """So many indices, from high to low, evenly spread over where there is something worth a look."""
    strong = (
        np.flatnonzero(weight > 0.05 * weight.max()) if weight.max() > 0 else np.arange(len(weight))
    )
    return middles(strong[0], strong[-1] + 1, count)


def _group(name: str, labels: Sequence[Markup]) -> Markup:
    return tag("div", tag("b", name), labels, class_="group")
