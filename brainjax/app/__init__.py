"""The viewer: a page on this machine where scans are looked at and put through the pipeline. Extra `app`.

    options.py    what a server allows
    sessions.py   who is looking at what, and until when
    uploads.py    bytes of strangers to a scan
    view.py       a scan and what was found in it as slices to draw
    surface.py    and as surfaces
    jobs.py       one run of the pipeline at a time
    guard.py      which requests are answered at all
    routes.py     sessions, scans, slices and results over HTTP
    page.py       what the page looks like; results.py the part that tells what was found
    callbacks.py  what the page does with the server; in the browser that is assets/
    server.py     all of it together

The planes are drawn in the browser: the server gives raw slices, so that window, overlays and opacity need no request.
"""

import importlib.util

from brainjax.app.options import Options
from brainjax.types import ConfigError

__all__ = ["Options", "needed"]


def needed() -> None:
    """Raises ConfigError where what the viewer needs is not installed."""
    missing = [name for name in ("dash", "plotly") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"the viewer needs {' and '.join(missing)}: pip install 'brainjax[app]'")
