"""Sessions, scans, slices and results over HTTP. A session is named in the path, by its unguessable id."""

import contextlib
import json
import pathlib
import tempfile
from collections.abc import Sequence
from urllib.parse import unquote

from flask import Blueprint, Response, abort, jsonify, request

from brainjax.app import uploads
from brainjax.app.options import Options
from brainjax.app.sessions import Crowded, NoSession, Session, Sessions
from brainjax.app.uploads import TooLarge
from brainjax.files import write_text
from brainjax.infer.scan import Files, read_scan
from brainjax.io import write_volume
from brainjax.types import BrainjaxError, DataError

RESULTS = {
    "brain.nii.gz": "Brain mask",
    "tumour.nii.gz": "Tumour mask",
    "report.html": "Report",
    "measurements.json": "Measurements",
}


def routes(sessions: Sessions, options: Options, offered: Sequence[Files]) -> Blueprint:
    """All routes below /api.

    Args:
        sessions: of the pages.
        options: the limits of uploads.
        offered: scans on the server's disk that a page may open, by their number.
    """
    api = Blueprint("api", __name__, url_prefix="/api")

    @api.errorhandler(BrainjaxError)
    def wrong(error: BrainjaxError) -> tuple[Response, int]:
        codes = ((NoSession, 404), (Crowded, 503), (TooLarge, 413), (DataError, 422))
        code = next((code for kind, code in codes if isinstance(error, kind)), 400)
        return jsonify(error=str(error)), code

    @api.post("/sessions")
    def create() -> Response:
        return jsonify(session=sessions.create().id)

    @api.get("/<session>")
    def state(session: str) -> Response:
        view = sessions.get(session).view
        return jsonify(view=view and view.describe())

    @api.post("/<session>/leave")
    def leave(session: str) -> Response:
        sessions.leave(session)
        return jsonify()

    @api.post("/<session>/upload")
    def upload(session: str) -> Response:
        current = sessions.get(session)
        name = uploads.clean(unquote(request.headers.get("X-Name", "")))
        request.max_content_length = options.upload  # that of all else is far smaller
        if (request.content_length or 0) > options.upload:
            raise TooLarge(
                f"{name}: it is larger than {options.upload_mib:g} MiB, all that this server takes"
            )
        if not current.receiving.acquire(blocking=False):
            raise DataError("another file is still coming in; wait for it")
        try:
            path = uploads.receive(
                request.stream,
                current.folder,
                name,
                upload=options.upload,
                unpacked=options.unpacked,
            )
        finally:
            current.receiving.release()
        if current.add(name, path) > uploads.MOST_FILES:
            _forget(current)
            raise TooLarge(
                f"choose at most {uploads.MOST_FILES} files: the contrasts of one patient"
            )
        return jsonify(name=name)

    @api.post("/<session>/open")
    def uploaded(session: str) -> Response:
        """Opens what was uploaded."""
        current = sessions.get(session)
        files = current.take()
        if not files:
            raise DataError("nothing was uploaded; choose a file")
        try:
            return jsonify(current.open(uploads.read(files, unpacked=options.unpacked)).describe())
        finally:
            # Gone from the disk; where volumes are mapped from it, the system keeps the bytes until they are let go.
            _remove(files)

    @api.post("/<session>/discard")
    def discard(session: str) -> Response:
        _forget(sessions.get(session))
        return jsonify()

    @api.post("/<session>/offered/<int:index>")
    def choose(session: str, index: int) -> Response:
        """Opens one of the scans that the server was started with."""
        current = sessions.get(session)
        if index >= len(offered):
            abort(404)
        chosen = offered[index]
        scan = read_scan(contrasts=chosen.contrasts, name=chosen.name)
        return jsonify(current.open(scan).describe())

    @api.get("/<session>/slice/<token>/<name>/<plane>/<int:index>")
    def cut(session: str, token: str, name: str, plane: str, index: int) -> Response:
        view = sessions.get(session).view
        if view is None or view.token != token:
            abort(409)  # another scan was opened meanwhile
        try:
            data = view.slice(name, plane, index)
        except (KeyError, IndexError):
            abort(404)
        return Response(data, mimetype="application/octet-stream")

    @api.get("/<session>/result/<name>")
    def result(session: str, name: str) -> Response:
        current = sessions.get(session)
        analysis = current.analysis
        if analysis is None or name not in RESULTS:
            abort(404)
        with tempfile.TemporaryDirectory(dir=current.folder) as folder:
            path = pathlib.Path(folder) / name
            if not _write(path, analysis):
                abort(404)
            data = path.read_bytes()
        # Never shown in place: a report would be a page of ours, with our rights.
        response = Response(data, mimetype="application/octet-stream")
        response.headers.set(
            "Content-Disposition", "attachment", filename=f"{analysis.scan.name}_{name}"
        )
        return response

    @api.route("/<path:rest>", methods=["GET", "POST"])
    def nothing(rest: str) -> Response:
        abort(404)  # before Dash, which answers every path with its page

    return api


def _write(path: pathlib.Path, analysis) -> bool:
    """Writes one of `RESULTS`; False where the analysis has none of it."""
    if path.name == "report.html":
        from brainjax.report import html

        html.write(path, analysis)
    elif path.name == "measurements.json":
        write_text(path, json.dumps(analysis.facts(), indent=1))
    else:
        volume = getattr(analysis, path.name.split(".")[0])
        if volume is None:
            return False
        write_volume(path, volume)
    return True


def _forget(session: Session) -> None:
    _remove(session.take())


def _remove(files: list[tuple[str, pathlib.Path]]) -> None:
    for _, path in files:
        with contextlib.suppress(OSError):  # Windows keeps what is mapped; it goes with the session
            path.unlink()
