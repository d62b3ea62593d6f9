"""What the page asks the server through Dash: runs, their progress, and all that is shown of a scan but its slices."""

from typing import Any

import dash
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.exceptions import PreventUpdate

from brainjax.app import results
from brainjax.app.jobs import Jobs
from brainjax.app.sessions import NoSession, Session, Sessions
from brainjax.app.surface import surfaces
from brainjax.types import BrainjaxError


def connect(app: Dash, sessions: Sessions, jobs: Jobs) -> None:
    """Adds all callbacks."""
    _browser(app)

    @app.callback(
        Output("overlays", "children"),
        Output("results", "children"),
        Output("run", "disabled"),
        Output("tick", "disabled"),
        Output("stop", "disabled"),
        Input("view", "data"),
        State("session", "data"),
    )
    def show(view: Any, name: str | None) -> tuple[Any, ...]:
        session = _session(sessions, name)
        if not _seen(session, view):
            return [], [], True, no_update, True
        job, found = session.job, session.analysis
        rows = [_row(layer) for layer in session.view.describe()["layers"]]
        empty = html.P("What the pipeline finds can be laid over the planes.", className="hint")
        busy = job is not None and job.active  # also where the page was reloaded during a run
        return (
            rows or empty,
            results.summary(found, session.id) if found else [],
            busy,
            False if busy else no_update,  # `work` ends it: an answer that comes late shall not
            not busy or job.cancelled,
        )

    @app.callback(Output("solid", "children"), Input("view", "data"), State("session", "data"))
    def solid(view: Any, name: str | None) -> Any:
        session = _session(sessions, name)
        scan = session.scan if _seen(session, view) else None
        if scan is None:
            return []  # the library that draws is large; it is loaded when there is something to draw
        figure = results.figure(surfaces(scan, session.analysis))
        bare = {"displaylogo": False, "displayModeBar": False}
        return dcc.Graph(id="surfaces", figure=figure, config=bare, className="solid")

    @app.callback(
        Output("tick", "disabled"),
        Output("progress", "children"),
        Output("run", "disabled", allow_duplicate=True),
        Output("stop", "disabled"),
        Output("view", "data", allow_duplicate=True),
        Input("run", "n_clicks"),
        Input("stop", "n_clicks"),
        Input("tick", "n_intervals"),
        State("session", "data"),
        State("view", "data"),
        prevent_initial_call=True,
    )
    def work(run: int, stop: int, tick: int, name: str | None, view: Any) -> tuple[Any, ...]:
        session = _session(sessions, name)
        if session is None:
            return True, html.P("This session has ended; reload the page."), True, True, no_update
        if not _seen(session, view):  # another scan is being opened; `show` will tell of it
            raise PreventUpdate
        if dash.ctx.triggered_id == "run":
            try:
                jobs.submit(session)
            except BrainjaxError as error:
                return True, html.P(str(error), className="wrong"), True, True, no_update
        job = session.job
        if job is None:  # another scan was opened
            return True, [], False, True, no_update
        if dash.ctx.triggered_id == "stop":
            job.cancel()
        now = session.view and session.view.describe()
        changed = now and (not view or now["token"] != view["token"])
        return (
            not job.active,
            results.progress(job, jobs.ahead(job)),
            job.active,
            not job.active or job.cancelled,
            now if changed else no_update,
        )


def _browser(app: Dash) -> None:
    """What the browser does by itself, in assets/."""

    def does(name: str, *inputs: Input | State) -> None:
        app.clientside_callback(ClientsideFunction("brainjax", name), *inputs)

    opacity = {"type": "opacity", "layer": ALL}
    does("begin", Input("limit", "data"))
    does("offer", Input("offered", "value"), Input("session", "data"))
    does("view", Input("view", "data"))
    does("contrast", Input("contrast", "value"))
    does("window", Input("window", "value"))
    does("auto", Input("auto", "n_clicks"))
    does("opacity", Input(opacity, "value"), State(opacity, "id"))


def _session(sessions: Sessions, name: str | None) -> Session | None:
    try:
        return sessions.get(name)
    except NoSession:
        return None


def _seen(session: Session | None, view: Any) -> bool:
    """Whether what a page shows is the scan that is open; nothing may be told beside another's."""
    now = session and session.view
    return bool(now and view and view["opened"] == now.opened)


def _row(layer: dict[str, Any]) -> html.Div:
    size = "" if layer["ml"] is None else f"{layer['ml']:.1f} ml"
    return html.Div(
        [
            html.Label(
                [
                    html.I(style={"background": "rgb({},{},{})".format(*layer["colour"])})
                    if layer["kind"] != "heat"
                    else html.I(className="heat"),
                    html.Span(layer["label"]),
                    html.Span(size, className="figure"),
                ]
            ),
            dcc.Input(
                type="range",
                id={"type": "opacity", "layer": layer["name"]},
                min=0,
                max=100,
                step=1,
                value=round(100 * layer["opacity"]),
            ),
        ],
        className="overlay",
    )
