"""Which requests are answered: those of our own page, asked for under our own name.

Other web sites that the user has open could otherwise talk to a server on 127.0.0.1: by requests across sites, or by a
name of theirs that they let point to 127.0.0.1 (DNS rebinding). A session's unguessable id is needed besides.
"""

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

_ALWAYS = ("localhost",)


def protect(server: Flask, names: tuple[str, ...], scripts: list[str]) -> None:
    """Checks every request and limits what a page may do.

    Args:
        server: to protect.
        names: under which it may be asked for, beside localhost and the numbers of addresses (which nobody can rebind).
        scripts: hashes of the scripts written into the page itself.
    """
    allowed = {name.lower() for name in (*_ALWAYS, *names)}
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' {' '.join(scripts)}",
            "style-src 'self' 'unsafe-inline'",  # the plots and sliders place their parts by it
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )

    @server.before_request
    def check() -> None:
        if not known(request.host, allowed):
            abort(403, "the server is not known by this name; add it with --names")
        origin = request.headers.get("Origin")
        if origin is not None and not ours(origin, request.host):
            abort(403, "requests from other sites are not answered")
        opened = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
        site = request.headers.get("Sec-Fetch-Site", "none")
        if site not in ("same-origin", "none") and not (opened and request.path == "/"):
            abort(403, "requests from other sites are not answered")

    @server.after_request
    def limit(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if not request.path.startswith(("/assets/", "/_dash-component-suites/")):
            response.headers["Cache-Control"] = (
                "no-store"  # nothing of a scan on the browser's disk
            )
        return response


def ours(origin: str, host: str) -> bool:
    """Whether an Origin header is of the page that is served under the name in a Host header."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # such as http://[x
        return False


def known(host: str, allowed: set[str]) -> bool:
    """Whether a Host header is an address in numbers or one of the names."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in allowed
    return True
