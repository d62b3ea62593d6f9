"""Sessions, scans, slices and results over HTTP. A session is named in the path, by its unguessable id."""

import contextlib
import json
import logging
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from flask import Blueprint, Response, abort, jsonify, request
from werkzeug.exceptions import HTTPException

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

    @api.errorhandler(OSError)
    def unwritten(error: OSError) -> tuple[Response, int]:
        words = error.strerror or type(error).__name__  # without the path
        return jsonify(error=f"the server cannot read or write its files ({words})"), 500

    @api.errorhandler(Exception)
    def broken(error: Exception) -> tuple[Response, int] | HTTPException:
        if isinstance(error, HTTPException):
            return error
        # Not by Flask, which would put the request's address on the terminal, and with it the session's id.
        logging.getLogger(__name__).error("a request failed", exc_info=error)
        kind = type(error).__name__
        return jsonify(error=f"the server failed ({kind}); its terminal says where"), 500

    @api.post("/sessions")
    def create() -> Response:
        return jsonify(session=sessions.create().id)

    @api.get("/<session>")
    def state(session: str) -> Response:
        current = sessions.get(session)
        view = current.view
        return jsonify(view=view and view.describe(), offered=current.offered)

    @api.post("/<session>/leave")
    def leave(session: str) -> Response:
        sessions.leave(session)
        return jsonify()

    @api.post("/<session>/batch")
    def batch(session: str) -> Response:
        """Begins an upload of files that belong together; what came in before is forgotten."""
        name, left = sessions.get(session).begin()
        _remove(left)
        return jsonify(batch=name)

    @api.post("/<session>/upload/<batch>")
    def upload(session: str, batch: str) -> Response:
        current = sessions.get(session)
        current.check(batch)
        name = uploads.clean(unquote(request.headers.get("X-Name", "")))
        request.max_content_length = options.upload  # that of all else is far smaller
        if (request.content_length or 0) > options.upload:
            raise TooLarge(
                f"{name}: it is larger than {options.upload_mib:g} MiB, all that this server takes"
            )
        if not current.receiving.acquire(blocking=False):
            raise DataError("another file is still coming in; wait for it")
        try:
            with _folder(current) as folder:
                limits = {"upload": options.upload, "unpacked": options.unpacked}
                path = uploads.receive(request.stream, folder, name, **limits)
        finally:
            current.receiving.release()
        try:
            count = current.add(batch, name, path)
        except BrainjaxError:
            _remove([(name, path)])
            raise
        if count > uploads.MOST_FILES:
            _remove(current.take(batch))
            raise TooLarge(
                f"choose at most {uploads.MOST_FILES} files: the contrasts of one patient"
            )
        return jsonify(name=name)

    @api.post("/<session>/open/<batch>")
    def uploaded(session: str, batch: str) -> Response:
        """Opens what was uploaded."""
        current = sessions.get(session)
        files = current.take(batch)
        if not files:
            raise DataError("nothing was uploaded; choose a file")
        try:
            return jsonify(current.open(uploads.read(files, unpacked=options.unpacked)).describe())
        finally:
            # Gone from the disk; where volumes are mapped from it, the system keeps the bytes until they are let go.
            _remove(files)

    @api.post("/<session>/offered/<int:index>")
    def choose(session: str, index: int) -> Response:
        """Opens one of the scans that the server was started with."""
        current = sessions.get(session)
        if index >= len(offered):
            abort(404)
        chosen = offered[index]
        with uploads.reading([(path.name, path) for path in chosen.contrasts.values()]):
            scan = read_scan(contrasts=chosen.contrasts, name=chosen.name)
        return jsonify(current.open(scan, index).describe())

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
        with _folder(current) as own, tempfile.TemporaryDirectory(dir=own) as folder:
            path = pathlib.Path(folder) / name
            if not _write(path, analysis):
                abort(404)
            data = path.read_bytes()
        # Never shown in place: a report would be a page of ours, with our rights.
        response = Response(data, mimetype="application/octet-stream")
        response.headers.set(
            "Content-Disposition", "attachment", filename=download_name(analysis.scan.name, name)
        )
        return response

    @api.route("/<path:rest>", methods=["GET", "POST"])
    def nothing(rest: str) -> Response:
        abort(404)  # before Dash, which answers every path with its page

    return api


def download_name(scan: str, result: str) -> str:
    """The file's name of one of `RESULTS` of a scan of that name, which may hold whatever a folder's can."""
    return f"{uploads.plain(scan)}_{result}"


@contextlib.contextmanager
def _folder(session: Session) -> Iterator[pathlib.Path]:
    """A session's folder; raises NoSession where it goes away meanwhile."""
    try:
        yield session.folder
    except (OSError, DataError) as error:
        if session.ended:
            raise NoSession("this session has ended; reload the page") from error
        raise


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


def _remove(files: list[tuple[str, pathlib.Path]]) -> None:
    for _, path in files:
        with contextlib.suppress(OSError):  # Windows keeps what is mapped; it goes with the session
            path.unlink()
