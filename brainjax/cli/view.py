"""`brainjax view`: scans in the browser, on this machine."""

import argparse
import pathlib
import signal
import sys
import webbrowser

_HELP = """\
Opens a page in the browser that shows scans in three linked planes and in 3D, runs the pipeline on them and lays over
them what it found. The server runs on this machine and is reached from this machine alone; it needs no internet.

examples:
  brainjax view
      open files by dropping them on the page
  brainjax view head.nii.gz patients
      offers a scan, and all that are in a folder: files of one patient that end in _t1, _t1ce, _t2 or _flair are one
  brainjax view --no-browser --port 8050
      on another machine; from here: ssh -L 8050:127.0.0.1:8050 MACHINE, then http://127.0.0.1:8050

What is uploaded is deleted with the page that it was uploaded to. Needs pip install 'brainjax[app]'.
Research use only."""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Declares the command line."""
    parser = subparsers.add_parser(
        "view",
        help="look at scans and run the pipeline in the browser",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scans", nargs="*", metavar="SCAN", help="file or folder to offer")
    parser.add_argument("--port", type=int, default=8050, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument(
        "--upload-limit", type=float, default=512, metavar="MIB", help="largest file to upload"
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until Ctrl-C; returns the exit code."""
    from brainjax.app import Options, needed

    needed()
    options = Options(
        host=arguments.host,
        port=arguments.port,
        scans=tuple(map(pathlib.Path, arguments.scans)),
        upload_mib=arguments.upload_limit,
    )
    from brainjax.app.server import serve

    # As Ctrl-C, so that sessions are deleted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        serve(options, opened=lambda url: arguments.no_browser or webbrowser.open(url))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    return 0
