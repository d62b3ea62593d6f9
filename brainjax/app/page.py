"""What the page looks like before anything is open. Planes, sliders and the upload are put in by assets/."""

from collections.abc import Sequence

from dash import dcc, html

from brainjax.app.options import Options
from brainjax.app.view import PLANES
from brainjax.infer.scan import Files

RESEARCH = "Research use only. Not for diagnosis."


def page(options: Options, offered: Sequence[Files]) -> html.Div:
    """The whole page, for a server that allows so much and offers these scans."""
    return html.Div(
        [
            html.Header(
                [
                    html.H1("brainjax"),
                    html.Span(id="name"),
                    html.Span(RESEARCH, className="research"),
                ]
            ),
            html.Main([_left(offered), _middle(), _right()]),
            html.Footer(
                [
                    html.Span(id="place"),
                    html.Span("Radiological view: the patient's right is on the left", id="hung"),
                ]
            ),
            dcc.Store(id="session"),
            dcc.Store(id="limit", data=options.upload),
            dcc.Store(id="view"),
            dcc.Interval(id="tick", interval=400, disabled=True),
        ],
        id="page",
    )


def _left(offered: Sequence[Files]) -> html.Aside:
    names = [{"label": files.name, "value": i} for i, files in enumerate(offered)]
    choose = dcc.Dropdown(
        names, 0 if names else None, id="offered", clearable=False, searchable=len(names) > 10
    )
    return html.Aside(
        [
            html.H2("Scan"),
            html.Div(choose, hidden=not names),
            html.Div(id="upload"),
            html.Div(id="message", role="alert"),
            html.Ul(id="notes"),
            html.H2("Contrast"),
            dcc.RadioItems([], id="contrast", inline=True, className="choice"),
            html.H2(
                [
                    "Window",
                    html.Span(id="levels"),
                    html.Button("Auto", id="auto", className="small"),
                ]
            ),
            dcc.RangeSlider(0, 1, id="window", marks=None, value=[0, 1], updatemode="drag"),
            html.P("or drag over a plane with the right button", className="hint"),
            html.H2("Overlays"),
            html.Div(id="overlays"),
        ],
        id="left",
    )


def _middle() -> html.Div:
    return html.Div(
        [
            *[html.Section(id=plane, className="plane") for plane in PLANES],
            html.Section(id="solid", className="plane"),
        ],
        id="planes",
    )


def _right() -> html.Aside:
    return html.Aside(
        [
            html.H2("Analysis"),
            html.Div(
                [
                    html.Button("Run the pipeline", id="run", className="button", disabled=True),
                    html.Button("Stop", id="stop", className="button quiet", disabled=True),
                ],
                className="buttons",
            ),
            html.Div(id="progress"),
            html.Div(id="results"),
        ],
        id="right",
    )
