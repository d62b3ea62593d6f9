"""How the report puts numbers and names: the same everywhere, and with as many digits as mean something."""

from collections.abc import Sequence

REGION_NAMES = {"WT": "whole tumour", "TC": "tumour core", "ET": "enhancing tumour"}
PART_NAMES = {"TC": "core", "ET": "enhancing"}
WAYS = {"slices": "vote of slices", "volume": "3D network"}
STAGES = {
    "strip": "skull stripping",
    "slices": "class by slices",
    "volume": "class by the 3D network",
    "segment": "tumour segmentation",
    "localize": "localisation",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


def ml(value: float) -> str:
    """'0.06', '4.21', '77.7', '1448'."""
    return _digits(value, 3)


def mm(value: float) -> str:
    """'87.7'."""
    return f"{value:.1f}"


def percent(share: float) -> str:
    """'93 %'; near 0 and 1 with a sign that it is not quite."""
    text = f"{100 * share:.0f}"
    if text == "0" and share > 0:
        return "< 1 %"
    if text == "100" and share < 1:
        return "> 99 %"
    return f"{text} %"


def seconds(value: float) -> str:
    """'0.4 s', '12 s', '3 min 20 s'."""
    if value < 59.5:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def world(point: Sequence[float]) -> str:
    """RAS+ mm -> '−84.6, 69.5, 91.4'."""
    return ", ".join(signed(x, 1) for x in point)


def signed(value: float, digits: int = 0) -> str:
    """A number with the minus sign of typesetters, and without one for zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def level(axis: int, at: float) -> str:
    """Where a slice is: 'z 45 mm'."""
    return f"{'xyz'[axis]} {signed(at)} mm"


def plain(name: str) -> str:
    """'glioma_tumor' -> 'glioma tumor'."""
    return name.replace("_", " ")


def readable(text: str) -> str:
    """The text with '?' for what is no character, as in names of files that are not UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def no_formula(text: str) -> str:
    """The text for a table, so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _digits(value: float, count: int) -> str:
    """So many digits that count, and no more than two behind the point."""
    if value >= 10 ** (count - 1):
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 ** (count - 2) else f"{value:.2f}"
