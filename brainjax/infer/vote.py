"""The class of a volume by a classifier of pictures: the vote of 27 slices.

The rule is that of the project that brainjax re-implements (its `R0`, volume prediction): along each axis the middle
slice and those 5, 10, 15 and 20 to either side; every slice cropped to the head and smoothed; the 27 softmax outputs
summed; healthy where "no tumour" reaches 95 % of the sum, else the likeliest kind of tumour.

It counted slices of volumes of 1 mm. Here the numbers are millimetres: there that is the same, and elsewhere - thick
slices, half a millimetre - they reach as far into the head. The middle is the brain's, not the file's: a scan with a
neck in it, or of a part of the head, has its slices through the brain too.
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from brainjax.infer.classifier import Classifier
from brainjax.infer.explain import grad_cam
from brainjax.infer.heat import hung, lit
from brainjax.infer.occlusion import occlusion
from brainjax.infer.unlike import unlike
from brainjax.io.volume import Volume, finite
from brainjax.preprocess.batch import prepare
from brainjax.preprocess.conform import Undo, conform
from brainjax.preprocess.head import middle, windowed
from brainjax.types import ConfigError, DataError

AXES = ("sagittal", "coronal", "axial")
OFFSETS = (-20.0, -15.0, -10.0, -5.0, 0.0, 5.0, 10.0, 15.0, 20.0)  # mm from the middle
HEALTHY = 0.95  # mean probability of no tumour from which a head is called healthy
# What the class without a tumour is called in the data sets at hand; the first is that of the released classifier.
NO_TUMOUR = ("no_tumor", "notumor", "no", "healthy", "normal")
_SMOOTH = 0.7  # mm, standard deviation of the filter; it takes noise away and no edge
_LEAST = 0.02  # of a slice's pixels; with fewer that are not dark it shows no head
_DARK = 16  # grey levels
_THICK = 3.0  # mm between slices, from which those across them are mostly interpolated


@dataclasses.dataclass(frozen=True)
class SliceVote:
    """What the classifier said of one slice.

    Attributes:
        axis: one of `AXES`.
        index: number of the slice along the scan's own axis that is nearest to that direction.
        offset_mm: from the middle of the brain, towards right, front or up.
        probabilities: class -> probability.
        unlike: in what it is unlike the pictures that trained the classifier (`brainjax.infer.unlike`).
    """

    axis: str
    index: int
    offset_mm: float
    probabilities: Mapping[str, float]
    unlike: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class VolumeVote:
    """What the slices say together.

    Attributes:
        answer: the class by the rule, or the likeliest where the classifier knows no healthy one.
        probabilities: class -> mean over the slices.
        slices: what each slice said.
        images: the slices as the classifier was given them, [H W] uint8, the patient's right on the left.
        pictures: title -> [H W 3] uint8, slices beside themselves under two maps of evidence; see `explain`.
        notes: what had to be decided.
    """

    answer: str
    probabilities: Mapping[str, float]
    slices: tuple[SliceVote, ...]
    images: tuple[np.ndarray, ...]
    pictures: Mapping[str, np.ndarray]
    notes: tuple[str, ...]


def vote(
    classifier: Classifier,
    volume: Volume,
    brain: Volume | None = None,
    *,
    pictures: int = 3,
    healthy: str | None = None,
) -> VolumeVote:
    """Classifies a volume by its slices, in one call of the network for all (its batch size allowing).

    Args:
        classifier: of pictures; that of brainjax learned from heads with their skulls, so give those, not brains.
        volume: [X Y Z] of any orientation and voxel size; what is not a number is set to 0.
        brain: its mask, on the same grid: where the middle is. Without one the head's outline says it.
        pictures: how many slices to explain.
        healthy: name of the class without a tumour; by itself the one of `NO_TUMOUR` that the classifier has.

    Raises:
        DataError: there is nothing in the scan, or no slice of it shows a head; or the mask is of another scan.
        ConfigError: the classifier does not know the class `healthy`.
    """
    if healthy is not None and healthy not in classifier.classes:
        raise ConfigError(
            f"the classifier has no class {healthy!r}; give healthy= one of {', '.join(classifier.classes)}"
        )
    healthy = healthy or healthy_class(classifier.classes)
    places, images, notes = slices(volume, brain)
    found = classifier.probabilities(images)
    names = classifier.classes
    each = tuple(
        SliceVote(*place, _named(names, p), unlike(image))
        for place, image, p in zip(places, images, found, strict=True)
    )
    mean = found.mean(0, dtype=np.float64)
    tumours = np.where(np.array(names) == healthy, -1.0, mean)
    answer = names[int(tumours.argmax())]
    if healthy is not None and mean[names.index(healthy)] >= HEALTHY:
        answer = healthy
    strange = sum(bool(one.unlike) for one in each)
    if strange:
        notes += (f"{strange} of {len(each)} slices are unlike the classifier's training pictures",)
    made = VolumeVote(answer, _named(names, mean), each, tuple(images), {}, notes)
    return dataclasses.replace(made, pictures=explain(classifier, made, pictures))


def healthy_class(classes: Sequence[str]) -> str | None:
    """The class without a tumour among a classifier's, known by its name; None where there is none."""
    return next((name for name in NO_TUMOUR if name in classes), None)


def slices(
    volume: Volume, brain: Volume | None = None
) -> tuple[list[tuple[str, int, float]], list[np.ndarray], tuple[str, ...]]:
    """The slices that vote: (axis, index, offset in mm) of each, [H W] uint8 of each, and what had to be decided.

    Pixels are 1 mm, so that slices have their proportions; intensities are scaled over the volume.

    Raises:
        DataError: as `vote`.
    """
    if volume.data.ndim != 3:
        raise DataError(f"the scan has shape {volume.data.shape}; give one sequence, [X Y Z]")
    data, notes = finite(np.array(volume.data, np.float32))
    if data.min() == data.max():
        raise DataError(f"every voxel of the scan is {data.min():g}; check the file")
    conformed, undo = conform(volume.with_data(data), 1.0, multiple=1)
    image = np.asarray(conformed.data)
    centre, more = _centre(image, brain, undo)
    smooth = ndimage.gaussian_filter(image, _SMOOTH)
    grey = windowed(smooth)
    places, images = [], []
    for a, axis in enumerate(AXES):
        for offset in OFFSETS:
            at = round(float(centre[a]) + offset)
            if not 0 <= at < image.shape[a]:
                continue
            picture = hung(grey, a, at)
            if (picture > _DARK).mean() >= _LEAST:
                places.append((axis, _native(undo, a, at), offset))
                images.append(picture)
    if not images:
        raise DataError("no slice about the middle of the scan shows a head; check the file")
    whole = len(AXES) * len(OFFSETS)
    if len(images) < whole:
        more += (f"{whole - len(images)} of {whole} slices lie outside the scan or are empty",)
    if max(volume.spacing) > _THICK:
        more += (f"slices are {max(volume.spacing):.1f} mm apart: those across are interpolated",)
    return places, images, notes + more


def explain(classifier: Classifier, vote: VolumeVote, count: int = 3) -> dict[str, np.ndarray]:
    """The slices that speak most for the answer, one an axis in turn, each beside itself under maps of its evidence.

    The first map is by occlusion, the second by Grad-CAM, which networks without a `Head` do not have.

    Args:
        classifier: that which voted.
        vote: what it said.
        count: slices at most.

    Returns:
        Title -> [H 2H 3] or [H 3H 3] uint8, H the size that the network sees.
    """
    if count < 1:
        return {}
    share = np.array([one.probabilities[vote.answer] for one in vote.slices])
    # The best of every axis, then the second best: three neighbours would show one thing three times.
    turn = np.zeros(len(share), int)
    for axis in AXES:
        own = np.flatnonzero([one.axis == axis for one in vote.slices])
        turn[own[np.argsort(-share[own], kind="stable")]] = np.arange(len(own))
    picked = np.lexsort((-share, turn))[:count]
    source = classifier.source(classifier.dataset([vote.images[i] for i in picked]))
    raw = source.gather(np.arange(len(picked)))
    image = prepare(raw, classifier.predictor.input.size)["image"]
    k = classifier.classes.index(vote.answer)
    model, variables = classifier.predictor.model, classifier.variables
    maps = [np.asarray(occlusion(model, variables, image, k))]
    with contextlib.suppress(ConfigError):
        maps.append(np.asarray(grad_cam(model, variables, image, k)))
    pictures = {}
    for i, seen, *heats in zip(picked, np.asarray(image)[..., 0], *maps, strict=True):
        one = vote.slices[i]
        title = f"{one.axis} {one.offset_mm:+.0f} mm: {vote.answer} {share[i]:.2f}"
        pictures[title] = lit(seen, *heats)
    return pictures


def _centre(
    image: np.ndarray, brain: Volume | None, undo: Undo
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The middle of the brain in voxels of the conformed scan, and a note."""
    if brain is None:
        return middle(image, 1.0), ()
    if brain.data.ndim != 3 or not brain.grid.matches(undo.native):
        raise DataError("the brain mask is not on the grid of the scan; resample it")
    inside = np.argwhere(brain.data > 0)
    if not len(inside):
        return middle(image, 1.0), ("the brain mask is empty: the head's outline was used",)
    # Of its box, as of a file that is cropped to the brain.
    index = (inside.min(0) + inside.max(0)) / 2
    world = undo.native.affine @ np.append(index, 1.0)
    return (np.linalg.inv(undo.working.affine) @ world)[:3], ()


def _native(undo: Undo, axis: int, at: int) -> int:
    """Number of a slice of the conformed scan along the scan's own axis nearest to `axis`."""
    place = (np.array(undo.working.shape) - 1) / 2
    place[axis] = at
    index = np.linalg.inv(undo.native.affine) @ undo.working.affine @ np.append(place, 1.0)
    steps = np.abs((np.linalg.inv(undo.native.affine) @ undo.working.affine)[:3, axis])
    own = int((steps * undo.native.spacing).argmax())
    return int(np.clip(round(float(index[own])), 0, undo.native.shape[own] - 1))


def _named(names: tuple[str, ...], probabilities: np.ndarray) -> dict[str, float]:
    return {name: float(p) for name, p in zip(names, probabilities, strict=True)}
