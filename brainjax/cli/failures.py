"""What a command says of a scan that it could not do: one line, whatever went wrong; the other scans are done."""

from brainjax.types import BrainjaxError


def said(error: Exception, where: object) -> str:
    """The line that tells of an error.

    Args:
        error: what came of a scan. An error that brainjax words itself, or the system, is given as it is; any other is
            a fault of the program's, which the line says.
        where: the scan's path, or its name; it goes before the message unless that contains it.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, BrainjaxError | OSError):
        text = "; ".join(lines) or type(error).__name__
    elif isinstance(error, MemoryError):
        text = "too large for this machine's memory; crop it, or end other programs"
    else:
        text = f"unexpected {': '.join([type(error).__name__, *lines[:1]])}; please report it"
    return text if str(where) in text else f"{where}: {text}"
