"""The viewer's server: a Dash page, the routes beside it, and the thread that runs the pipeline."""

import importlib.resources
import os
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NoReturn

import dash
from werkzeug.serving import WSGIRequestHandler, make_server

from brainjax.app.callbacks import connect
from brainjax.app.guard import protect
from brainjax.app.jobs import Jobs, Pipeline
from brainjax.app.options import MIB, Options
from brainjax.app.page import page
from brainjax.app.routes import routes
from brainjax.app.sessions import Sessions
from brainjax.infer.scan import PICTURE, Files, find_scans
from brainjax.types import ConfigError, DataError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SILENT_S = 60  # a connection that says nothing for so long is closed
_SWEEP_S = 15.0


class _Handler(WSGIRequestHandler):
    timeout = _SILENT_S

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: a line a slice helps nobody, and would put sessions' ids on the terminal."""


def build(options: Options, sessions: Sessions, jobs: Jobs) -> dash.Dash:
    """The application, to be served by any WSGI server of one process.

    Raises:
        DataError: no scan, or but pictures, at one of the places to offer scans from.
    """
    offered = [files for path in options.scans for files in _volumes(path)]
    app = dash.Dash(
        __name__,
        title="brainjax",
        update_title=None,
        assets_folder=str(importlib.resources.files("brainjax.app") / "assets"),
        serve_locally=True,
        add_log_handler=False,
    )
    app.layout = page(options, offered)
    connect(app, sessions, jobs)
    app.server.config["MAX_CONTENT_LENGTH"] = MIB  # but for uploads
    app.server.register_blueprint(routes(sessions, options, offered))
    protect(app.server, (options.host, *options.names), app.csp_hashes())
    return app


def _volumes(path: pathlib.Path) -> list[Files]:
    """The scans at a place; pictures are none that the planes could show."""
    found = [files for files in find_scans(path) if PICTURE not in files.contrasts]
    if not found:
        raise DataError(
            f"{path}: a picture is no volume that can be viewed; give it to brainjax analyze"
        )
    return found


@contextmanager
def serving(options: Options, jobs: Jobs) -> Iterator[str]:
    """A server in threads of its own for as long as it is entered; gives its address.

    Args:
        options: what it allows.
        jobs: runs the pipeline; closed with the server.

    Raises:
        ConfigError: it cannot listen at that address.
        DataError: as `build`.
    """
    sessions = Sessions(idle_s=60 * options.idle_minutes, most=options.sessions)
    with ExitStack() as ending:
        ending.callback(sessions.close)
        ending.callback(jobs.close)
        app = build(options, sessions, jobs)
        try:
            server = make_server(
                options.host, options.port, app.server, threaded=True, request_handler=_Handler
            )
        except (OSError, SystemExit) as error:  # werkzeug exits where a port is taken
            raise ConfigError(
                f"cannot listen at {options.host}:{options.port}; choose another --port"
            ) from error
        ending.callback(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True, name="server").start()
        ending.callback(server.shutdown)
        done = threading.Event()
        ending.callback(done.set)
        sweeper = (done, sessions)
        threading.Thread(target=_sweep, args=sweeper, daemon=True, name="sweep").start()
        host = f"[{options.host}]" if ":" in options.host else options.host
        yield f"http://{host}:{server.server_port}/"


def _sweep(done: threading.Event, sessions: Sessions) -> None:
    while not done.wait(_SWEEP_S):
        sessions.sweep()


def released() -> Pipeline:
    """The pipeline with the models that come with brainjax."""
    from brainjax.infer.pipeline import Pipeline  # not before somebody runs it

    return Pipeline.load()


def serve(
    options: Options,
    load: Callable[[], Pipeline] = released,
    *,
    asked: Callable[[], bool] = lambda: False,
    opened: Callable[[str], None] = lambda address: None,
    code: int = 0,
) -> None:
    """Serves until asked to stop.

    A run of the pipeline is cancelled then. Where it does not end soon, the process ends here, all sessions deleted.

    Args:
        options: what the server allows.
        load: gives the pipeline, when it is first run.
        asked: whether it should stop; so does any exception, such as that of Ctrl-C.
        opened: called with the address.
        code: that the process ends with where a run does not.
    """
    if options.host not in _LOOPBACK:
        print(
            f"warning: whoever can reach {options.host} can use this viewer and open the scans that it offers",
            file=sys.stderr,
        )
    jobs = Jobs(load)
    try:
        with serving(options, jobs) as address:
            print(f"brainjax viewer at {address} (Ctrl-C stops it). Research use only.", flush=True)
            opened(address)
            while not asked():
                time.sleep(0.2)
    finally:
        if not jobs.close(1.0):
            _end(code)


def _end(code: int) -> NoReturn:
    """Ends the process without Python's own end, which a thread in the middle of compiled code turns into an abort."""
    print("stopped in the middle of a run", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)
