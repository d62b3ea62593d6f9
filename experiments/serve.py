r"""Serves the viewer: scans in three linked planes and in 3D, the pipeline, its results. Research use only.

    python -m experiments.serve
    python -m experiments.serve head.nii.gz patients --port=8051
        Offers a scan, and all that are in a folder; the first is opened.

The server listens at 127.0.0.1; from another machine, reach it by `ssh -L 8050:127.0.0.1:8050 MACHINE`. With any other
--host, whoever can reach it can use it and open the scans it offers, so put a proxy with passwords and TLS before it,
and name it with --names. Needs pip install 'brainjax[app]'.
"""

import pathlib

from absl import flags

from experiments import entry

_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen at.")
_PORT = flags.DEFINE_integer("port", 8050, "0 takes a free one.")
_NAMES = flags.DEFINE_list("names", [], "Further names of this server, such as a proxy's.")
_UPLOAD = flags.DEFINE_float("upload_mib", 512, "Largest file that may be uploaded, in MiB.")
_UNPACKED = flags.DEFINE_float("unpacked_mib", 512, "How much a file may hold, in MiB.")
_IDLE = flags.DEFINE_float(
    "idle_minutes", 30, "Pages not heard of for so long are forgotten; 2 or more."
)
_SESSIONS = flags.DEFINE_integer("sessions", 8, "Pages that may be open at the same time.")


def main(scans: list[str]) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    from brainjax.app import Options, needed
    from brainjax.train.signals import EXIT_CODE, Interrupted, StopRequest

    needed()
    options = Options(
        host=_HOST.value,
        port=_PORT.value,
        names=tuple(_NAMES.value),
        scans=tuple(map(pathlib.Path, scans)),
        upload_mib=_UPLOAD.value,
        unpacked_mib=_UNPACKED.value,
        idle_minutes=_IDLE.value,
        sessions=_SESSIONS.value,
    )
    from brainjax.app.server import serve

    with StopRequest() as stop:
        serve(options, asked=lambda: stop.asked, code=EXIT_CODE)
    raise Interrupted("stopped; all sessions are deleted")


if __name__ == "__main__":
    entry.run(main, positional=True)
