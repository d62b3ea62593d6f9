"""What was found, as parts of the page: progress, classes, lesions, warnings, downloads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from dash import html

from brainjax.app.jobs import Job
from brainjax.app.routes import RESULTS, download_name
from brainjax.app.surface import Surface
from brainjax.infer.analysis import Analysis

_STATUS = {"failed": "Failed", "cancelled": "Stopped"}
_NAMES = {
    "strip": "Find the brain",
    "slices": "Classify slices",
    "volume": "Classify the volume",
    "segment": "Segment the tumour",
    "localize": "Measure the lesions",
}
_HOW = {"slices": "vote of slices", "volume": "3D network"}


def progress(job: Job, ahead: int) -> list[Any]:
    """How far a run is.

    Args:
        job: the run.
        ahead: how many come before it.
    """
    if job.status == "queued":
        before = f"Waiting: {ahead} {'run' if ahead == 1 else 'runs'} before this one"
        return [html.P(before if ahead else "Starting")]
    if job.status == "done":  # the summary lists the stages
        return [html.P(f"Done, {job.seconds:.0f} s", className="status")]
    rows = [
        html.Div(
            [
                html.Span(_title(name)),
                html.Span("✓" if done >= 1 else f"{done:.0%}" if done else "", className="figure"),
                # Without a value it moves to and fro: some stages tell only when they begin and end.
                html.Progress(**({"value": str(done), "max": "1"} if done else {})),
            ],
            className="stage done" if done >= 1 else "stage",
        )
        for name, done in list(job.stages.items())  # the run's thread adds to them
    ]
    words = _STATUS.get(job.status, "Running")
    end = html.P(f"{words}, {job.seconds:.0f} s", className=f"status {job.status}")
    problem = [html.P(job.error, className="wrong", role="alert")] if job.error else []
    return [*rows, end, *problem]


def summary(analysis: Analysis, session: str) -> list[Any]:
    """What a run found, and where to get it."""
    return [
        *_warnings(analysis),
        *_volumes(analysis),
        *_classes(analysis.classes),
        *_lesions(analysis.lesions),
        *_stages(analysis),
        html.H2("Download"),
        html.Div(
            [
                html.A(
                    title,
                    href=f"/api/{session}/result/{name}",
                    download=download_name(analysis.scan.name, name),
                    className="button",
                )
                for name, title in RESULTS.items()
                if getattr(analysis, name.split(".")[0], True) is not None
            ],
            className="downloads",
        ),
    ]


def figure(meshes: Sequence[Surface]) -> go.Figure:
    """Surfaces, seen from the front and the patient's left, a little from above."""
    made = go.Figure()
    for mesh in meshes:
        x, y, z = mesh.vertices.T
        i, j, k = mesh.faces.T
        made.add_mesh3d(
            **{"x": x, "y": y, "z": z, "i": i, "j": j, "k": k},
            name=mesh.name,
            color="rgb({},{},{})".format(*mesh.colour),
            opacity=mesh.opacity,
            lighting={"ambient": 0.45, "diffuse": 0.7, "specular": 0.15, "roughness": 0.8},
            lightposition={"x": 400, "y": 1000, "z": 1200},
            showlegend=len(meshes) > 1,
            hoverinfo="name",
        )
    hidden = {"visible": False, "showbackground": False}
    made.update_layout(
        scene={
            **{"xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data"},
            "camera": {"eye": {"x": -0.9, "y": 1.2, "z": 0.5}},
            "annotations": _letters(meshes),
        },
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        legend={"x": 0.01, "y": 0.01, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
        font={"color": "#aab3c0", "size": 11},
        uirevision="kept",  # the angle stays when surfaces are added
    )
    return made


def _letters(meshes: Sequence[Surface]) -> list[dict[str, Any]]:
    """R L A P S I around the surfaces."""
    if not meshes:
        return []
    low = [min(float(m.vertices[:, a].min()) for m in meshes) for a in range(3)]
    high = [max(float(m.vertices[:, a].max()) for m in meshes) for a in range(3)]
    middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    letters = []
    for axis, (below, above) in enumerate(("LR", "PA", "IS")):
        for letter, at in ((below, low[axis] - 12), (above, high[axis] + 12)):
            where = [*middle]
            where[axis] = at
            place = dict(zip("xyz", where, strict=True))
            letters.append({**place, "text": letter, "showarrow": False})
    return letters


def _title(name: str) -> str:
    return _NAMES.get(name, name[:1].upper() + name[1:])


def _warnings(analysis: Analysis) -> list[Any]:
    if not analysis.warnings:
        return []
    return [html.Ul([html.Li(text) for text in analysis.warnings], className="warnings")]


def _volumes(analysis: Analysis) -> list[Any]:
    names = {"WT": "Whole tumour", "TC": "Tumour core", "ET": "Enhancing"}
    rows = []
    if analysis.brain is not None:
        rows.append(("Brain", analysis.volume_ml(analysis.brain.data)))
    rows += [(names[name], analysis.volume_ml(mask)) for name, mask in analysis.regions.items()]
    if not rows:
        return []
    return [html.H2("Volumes"), _table(("", "ml"), [(n, f"{ml:.1f}") for n, ml in rows])]


def _classes(classes: dict[str, dict[str, float]]) -> list[Any]:
    parts = []
    for how, found in classes.items():
        parts.append(html.H2(["Class ", html.Small(_HOW.get(how, how))]))
        parts += [
            html.Div(
                [
                    html.Span(name.replace("_", " ")),
                    html.Span(f"{p:.0%}", className="figure"),
                    html.Progress(value=f"{p:.4f}", max="1"),
                ],
                className="stage",
            )
            for name, p in sorted(found.items(), key=lambda item: -item[1])
        ]
    return parts


def _lesions(lesions: Sequence[Any]) -> list[Any]:
    if not lesions:
        return []
    rows = []
    for lesion in lesions:
        across = lesion.diameters
        size = f"{across.longest_mm:.0f} × {across.perpendicular_mm:.0f}" if across else "–"
        where = ", ".join(
            f"{abs(mm):.0f} {letters[mm < 0]}"
            for mm, letters in zip(lesion.centroid_mm, ("RL", "AP", "SI"), strict=True)
        )
        rows.append((str(lesion.index), f"{lesion.volume_ml:.1f}", size, where))
    heads = ("", "ml", "axial mm", "centre mm")
    points = [
        np.mean(x.diameters.longest_world, axis=0) if x.diameters else x.centroid_mm
        for x in lesions
    ]
    return [html.H2("Lesions"), _table(heads, rows, points)]


def _stages(analysis: Analysis) -> list[Any]:
    return [
        html.Details(
            [
                html.Summary(f"Stages, {analysis.seconds:.0f} s"),
                *[
                    html.P(
                        [
                            html.B(_title(stage.name)),
                            f" {stage.status}, {stage.seconds:.1f} s",
                            html.Br() if stage.model or stage.note else "",
                            "; ".join(filter(None, (stage.model, stage.note))),
                        ]
                    )
                    for stage in analysis.stages
                ],
            ]
        )
    ]


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], points: Sequence[Any] = ()
) -> html.Table:
    """A table; a click on a row with a point, in world mm, brings the crosshair there (see assets/)."""
    marks = [
        {"data-point": ",".join(f"{x:.2f}" for x in point), "title": "Show"} for point in points
    ]
    marks += [{}] * (len(rows) - len(marks))
    return html.Table(
        [
            html.Thead(html.Tr([html.Th(head) for head in heads])),
            html.Tbody(
                [
                    html.Tr([html.Td(text) for text in row], **mark)
                    for row, mark in zip(rows, marks, strict=True)
                ]
            ),
        ]
    )
