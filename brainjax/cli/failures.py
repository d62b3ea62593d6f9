"""What is said of a scan that could not be done, the others going on."""

from brainjax.types import BrainjaxError


def said(error: Exception, where: object) -> str:
    """One line: known errors as they are, with the path in front where they do not name it; of others the type too."""
    text = " ".join(str(error).split())
    if not isinstance(error, (BrainjaxError, OSError)):
        text = f"unexpected {type(error).__name__}: {text}; please report it"
    return text if str(where) in text else f"{where}: {text}"
