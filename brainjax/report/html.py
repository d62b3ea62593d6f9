"""The report: one HTML file that needs no other, no network and no server, of all that an `Analysis` says.

Nothing in it comes from anywhere else: pictures are in the page as JPEG, outlines as SVG, the brain as a mesh. Its own
content security policy forbids it to load anything, and to run any script but the one it was written with.
"""

import base64
import datetime
import hashlib
import os

from brainjax.files import write_text
from brainjax.infer.analysis import Analysis
from brainjax.report import html_pictures, html_tables
from brainjax.report.hanging import Hanging
from brainjax.report.html_script import SCRIPT
from brainjax.report.html_style import STYLE, switches
from brainjax.report.markup import Markup, tag


def write(
    path: str | os.PathLike, analysis: Analysis, *, when: datetime.datetime | None = None
) -> None:
    """Writes the report of one scan, whole or not at all.

    Args:
        path: of the file, `.html`; its folder exists.
        analysis: what to tell.
        when: printed on it; None for now.

    Raises:
        DataError: it cannot be written there.
    """
    write_text(path, page(analysis, when or datetime.datetime.now().astimezone()))


def page(analysis: Analysis, when: datetime.datetime) -> str:
    """The whole file as text."""
    hanging = Hanging.of(analysis)
    style = STYLE + switches(
        len(hanging.images), len(hanging.planes), html_pictures.overlays(hanging)
    )
    title = f"{analysis.scan.name} – brainjax report"
    script_hash = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{script_hash}'; base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        # Style and script are ours alone, and hold nothing of the scan's.
        tag("style", Markup(style)),
    )
    body = tag(
        "body",
        html_pictures.inputs(hanging),
        _header(analysis, when),
        tag("main", _sections(analysis, hanging), class_="wide"),
        _footer(),
        tag("script", Markup(SCRIPT)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _sections(analysis: Analysis, hanging: Hanging) -> list[Markup]:
    sizes = hanging.sizes_ml
    return [
        html_tables.cautions(analysis),
        html_tables.tiles(analysis, sizes),
        tag(
            "div",
            html_pictures.scene(hanging),
            tag("div", html_tables.classes(analysis), html_tables.scan_facts(analysis)),
            class_="pair",
        ),
        html_tables.volumes(analysis, sizes),
        html_pictures.tools(hanging),
        html_pictures.mosaics(hanging),
        html_pictures.lesions(hanging, analysis.lesions),
        html_pictures.uncertainty(hanging, analysis),
        html_pictures.pictures(analysis),
        html_tables.stages(analysis),
        html_tables.models(analysis),
    ]


def _header(analysis: Analysis, when: datetime.datetime) -> Markup:
    words = tag(
        "div",
        tag("p", "brainjax report", class_="over"),
        tag("h1", tag("bdi", analysis.scan.name)),
        tag("p", f"{when:%Y-%m-%d %H:%M %Z}".rstrip(), class_="when"),
    )
    return tag(
        "header",
        tag("div", words, tag("div", "Research use only", class_="research"), class_="wide"),
    )


def _footer() -> Markup:
    return tag(
        "footer",
        tag(
            "div",
            tag(
                "p",
                "Research use only. Not a medical device: it must not be used for diagnosis or treatment.",
            ),
            tag("p", html_tables.versions()),
            class_="wide",
        ),
    )
