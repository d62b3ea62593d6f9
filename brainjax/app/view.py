"""A scan, and what was found in it, as slices to draw: raw numbers, turned to how they hang on the wall.

Planes are those of the scan's own grid, turned by flips and permutations to the nearest RAS+, never resampled: what is
seen is what was measured. All hang as radiologists do: the patient's right on the left, the nose up or on the left, the
crown up.
"""

import dataclasses
import secrets
from typing import Any

import numpy as np

from brainjax.infer.analysis import Analysis
from brainjax.infer.scan import UNKNOWN, Scan
from brainjax.preprocess.orient import Turn, turn_to

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}  # and the axis that each runs along
LABELS = "labels"  # the array of masks: bit 0 brain, the bits above it the tumour's label
_TITLES = {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "FLAIR", UNKNOWN: "Scan"}
_TURNED = 1.0  # degrees between grid and world that are worth a word
_BRAIN, _TUMOUR = 1, 0xFE
# Apart from each other under every common colour blindness (Okabe & Ito, 2008).
COLOURS = {
    "brain": (86, 180, 233),
    "oedema": (0, 158, 115),
    "core": (240, 228, 66),
    "enhancing": (230, 110, 40),
    "tumour": (230, 110, 40),
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """Something that can be laid over a slice.

    Attributes:
        name: unique.
        label: for people.
        kind: 'outline', 'fill' (with its outline) or 'heat'.
        source: the array it is read from.
        bits: where it is a mask, it is where `source & bits == value`.
        value: see `bits`.
        opacity: to begin with, 0 to 1.
        ml: its volume, of masks.
    """

    name: str
    label: str
    kind: str
    source: str = LABELS
    bits: int = 0
    value: int = 0
    opacity: float = 0.0
    ml: float | None = None


@dataclasses.dataclass(frozen=True)
class Line:
    """A diameter: its length, and its ends in voxels of the scan's grid."""

    mm: float
    ends: tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclasses.dataclass(frozen=True)
class Scale:
    """How 16 bits tell a volume's numbers: value = offset + step * stored. Exact for integers of 16 bits or fewer."""

    offset: float
    step: float

    @classmethod
    def of(cls, low: float, high: float, *, whole: bool) -> "Scale":
        """The scale of a volume from `low` to `high`, all of whose numbers are integers if `whole`."""
        if whole and high - low < 2**16:
            return cls(low, 1.0)
        return cls(low, (high - low) / (2**16 - 1) or 1.0)

    def pack(self, values: np.ndarray) -> np.ndarray:
        """Numbers -> uint16, little-endian."""
        return np.rint((values.astype(np.float64) - self.offset) / self.step).astype("<u2")


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """What can be drawn of a session.

    Attributes:
        token: of this state; slices that bear it never change.
        opened: of the scan: another each time that one is opened, and the same when more is found in it.
        scan: that is seen.
        turn: from the scan's grid to that of the planes.
        arrays: name -> [X Y Z] in RAS+; contrasts as they are, all else uint8.
        scales: of the contrasts.
        ranges: of the contrasts: lowest, highest, and what to show black and white.
        layers: that can be laid over them.
        lines: the diameters of lesions.
    """

    token: str
    opened: str
    scan: Scan
    turn: Turn
    arrays: dict[str, np.ndarray]
    scales: dict[str, Scale]
    ranges: dict[str, dict[str, float]]
    layers: tuple[Layer, ...]
    lines: tuple[Line, ...] = ()

    @classmethod
    def of(cls, scan: Scan, analysis: Analysis | None = None, opened: str = "") -> "View":
        """Makes ready to cut: finds the range of every volume.

        Args:
            scan: to look at.
            analysis: what was found in it.
            opened: that of the view before, where the scan is open already.
        """
        turn = turn_to(scan.grid)
        arrays, scales, ranges = {}, {}, {}
        for name, volume in scan.volumes.items():
            arrays[name] = turn.apply(volume.data)
            low, high = float(volume.data.min()), float(volume.data.max())
            scales[name] = Scale.of(low, high, whole=volume.data.dtype.kind in "biu")
            black, white = window(volume.data)
            ranges[name] = {"low": low, "high": high, "black": black, "white": white}
        found, layers = _found(analysis) if analysis else ({}, ())
        arrays |= {name: turn.apply(data) for name, data in found.items()}
        lines = _lines(analysis) if analysis else ()
        names = secrets.token_hex(8), opened or secrets.token_hex(8)
        return cls(*names, scan, turn, arrays, scales, ranges, layers, lines)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the axes of the planes."""
        return self.turn.grid(self.scan.grid).shape

    def slice(self, name: str, plane: str, index: int) -> bytes:
        """One slice as it hangs, row by row: uint16 (see `Scale`) of a contrast, else uint8.

        Raises:
            KeyError: no such array or plane.
            IndexError: no such slice.
        """
        axis = PLANES[plane]
        array = self.arrays[name]
        if not 0 <= index < array.shape[axis]:
            raise IndexError(f"{plane} {index}")
        cut = array[(slice(None),) * axis + (index,)]
        cut = cut[::-1, ::-1].T  # both axes of a plane run against the screen
        return (self.scales[name].pack(cut) if name in self.scales else cut).tobytes()

    def describe(self) -> dict[str, Any]:
        """Everything that the page must know to draw, ready for JSON."""
        grid = self.turn.grid(self.scan.grid)
        # A voxel of the planes -> its index in the file.
        index = np.linalg.inv(self.scan.grid.affine) @ grid.affine
        directions = grid.affine[:3, :3] / np.array(grid.spacing)
        angle = float(np.degrees(np.arccos(np.clip(np.diag(directions).min(), -1, 1))))
        notes = list(self.scan.notes)
        if angle > _TURNED:
            notes.append(f"Planes follow the scan's own axes, which are turned by {angle:.0f}°.")
        return {
            "token": self.token,
            "opened": self.opened,
            "name": self.scan.name,
            "notes": notes,
            "shape": list(grid.shape),
            "spacing": list(grid.spacing),
            "affine": grid.affine.tolist(),
            "index": np.rint(index).tolist(),
            "volumes": [
                {
                    "name": name,
                    "label": _TITLES.get(name, name),
                    "offset": scale.offset,
                    "step": scale.step,
                    "whole": self.arrays[name].dtype.kind in "biu",
                    **self.ranges[name],
                }
                for name, scale in self.scales.items()
            ],
            "lines": [
                {
                    "text": f"{line.mm:.0f}",
                    "ends": [_apply(np.linalg.inv(index), end) for end in line.ends],
                }
                for line in self.lines
            ],
            "layers": [
                {**dataclasses.asdict(layer), "colour": COLOURS.get(layer.name)}
                for layer in self.layers
            ],
        }


def window(data: np.ndarray) -> tuple[float, float]:
    """What to show black and white: from the darkest to nearly the brightest of what is not background."""
    sample = data.ravel(order="K")[:: max(1, data.size // 400_000)].astype(np.float64)
    black = float(np.percentile(sample, 0.5))
    inside = sample[sample > black]
    white = float(np.percentile(inside, 99.7)) if inside.size else black + 1
    return black, white if white > black else black + 1


def _apply(matrix: np.ndarray, point: tuple[float, float, float]) -> list[float]:
    return (matrix[:3, :3] @ point + matrix[:3, 3]).tolist()


def _lines(analysis: Analysis) -> tuple[Line, ...]:
    """Both diameters of every lesion."""
    found = [lesion.diameters for lesion in analysis.lesions if lesion.diameters is not None]
    return tuple(
        line
        for d in found
        for line in (Line(d.longest_mm, d.longest), Line(d.perpendicular_mm, d.perpendicular))
    )


def _found(analysis: Analysis) -> tuple[dict[str, np.ndarray], tuple[Layer, ...]]:
    """The arrays and layers of an analysis, on the scan's own grid."""
    labels = np.zeros(analysis.scan.grid.shape, np.uint8)
    layers = []

    def mask(name: str, label: str, kind: str, bits: int, value: int, opacity: float) -> None:
        inside = (labels & bits) == value
        if inside.any():
            ml = analysis.volume_ml(inside)
            layers.append(Layer(name, label, kind, LABELS, bits, value, opacity, ml))

    if analysis.tumour is not None:
        labels |= (analysis.tumour.data.astype(np.uint8) << 1) & _TUMOUR
    if analysis.brain is not None:
        labels |= analysis.brain.data > 0
        mask("brain", "Brain", "outline", _BRAIN, _BRAIN, 0.8)
    if analysis.regional:
        mask("oedema", "Oedema", "fill", _TUMOUR, 2 << 1, 0.35)
        mask("core", "Necrosis, core", "fill", _TUMOUR, 1 << 1, 0.35)
        mask("enhancing", "Enhancing tumour", "fill", _TUMOUR, 4 << 1, 0.35)
    else:
        mask("tumour", "Tumour", "fill", _TUMOUR, 1 << 1, 0.35)
    arrays = {LABELS: labels}
    for name, label in (("probability", "Probability of tumour"), ("uncertainty", "Uncertainty")):
        volume = getattr(analysis, name)
        if volume is not None:
            arrays[name] = (np.clip(volume.data, 0, 1) * 255).round().astype(np.uint8)
            layers.append(Layer(name, label, "heat", name))
    return arrays, tuple(layers)
