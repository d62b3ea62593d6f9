r"""Derives `brainjax/synth/mni152_labels.npz`, the head of the default dataset, from the MNI152 template.

The template comes in nilearn's wheel (needed here only, never at run time) as three 1 mm maps of the brain alone:
T1, grey matter and white matter. Everything outside the brain is grown around it by distance. Run:

    pip download --no-deps nilearn && unzip nilearn-*.whl 'nilearn/datasets/data/mni_*'
    python -m experiments.make_label_map --templates nilearn/datasets/data

The file is a function of the templates alone: a second run gives the same arrays.
"""

import pathlib

import nibabel
import numpy as np
from absl import flags
from scipy import ndimage

from brainjax.synth import anatomy
from brainjax.types import DataError
from experiments import entry

_TEMPLATES = flags.DEFINE_string(
    "templates", None, "Folder of nilearn's mni_icbm152_*.nii.gz.", required=True
)
_OUT = flags.DEFINE_string(
    "out", f"brainjax/synth/{anatomy.MAP_PATH.name}", "Where to write the label map."
)
_SPACING = flags.DEFINE_float("spacing", 1.6, "Voxel size of the map in mm.")
_SITES = flags.DEFINE_integer("sites", 4000, "How many places a tumour may start from.")

# World box of the map in mm (RAS+), wide enough for the grown head; the neck is cut at the template's own floor.
_LOW, _HIGH = np.array([-102.0, -136.0, -71.0]), np.array([102.0, 106.0, 112.0])

# Places in MNI mm that distance alone cannot find: (centre, radii), mirrored in x where x > 0.
_EYES = (((33, 67, -38), (12, 12, 12)),)
_SINUSES = (
    ((0, 80, -8), (13, 5, 9)),  # frontal
    ((7, 60, -42), (5, 22, 16)),  # ethmoid
    ((7, 20, -42), (7, 11, 8)),  # sphenoid
    ((54, -34, -44), (6, 9, 9)),  # mastoid cells
    ((68, -12, -48), (14, 3, 3)),  # ear canal
)


def _read(folder: pathlib.Path, tissue: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads one template: values [X Y Z] float32 in 0..1 and its affine [4 4]."""
    found = sorted(folder.glob(f"mni_icbm152_{tissue}_*.nii.gz"))
    if not found:
        raise DataError(
            f"no mni_icbm152_{tissue}_*.nii.gz in {folder}; unzip nilearn's wheel there"
        )
    image = nibabel.as_closest_canonical(nibabel.load(found[0]))
    return np.asarray(image.dataobj, np.float32) / 255, image.affine


def _smooth_noise(shape: tuple[int, ...], spacing: float, scale_mm: float) -> np.ndarray:
    """Unit-variance smooth field [X Y Z] from a fixed seed, mirrored in x as the template is."""
    noise = np.random.default_rng(152).standard_normal(shape).astype(np.float32)
    field = ndimage.gaussian_filter(noise + noise[::-1], scale_mm / spacing)
    return field / field.std()


def _ellipsoids(world: np.ndarray, specs, wobble: np.ndarray) -> np.ndarray:
    """Union [X Y Z] bool of ellipsoids with an uneven surface, each with its mirror image."""
    inside = np.zeros(world.shape[:-1], bool)
    for (x, y, z), radii in specs:
        for side in {x, -x}:
            offset = (world - np.array([side, y, z], np.float32)) / np.array(radii, np.float32)
            inside |= np.linalg.norm(offset, axis=-1) < 1 + wobble
    return inside


def _brain_labels(
    t1: np.ndarray, grey: np.ndarray, white: np.ndarray, spacing: float
) -> np.ndarray:
    """Labels of the brain [X Y Z] uint8: CSF (ventricles and sulci), grey, deep grey, white."""
    brain = ndimage.binary_fill_holes(t1 > 0.2)
    # Averaging 152 people closes the sulci in the grey map; the T1, dark there, opens them again.
    fluid = np.maximum(1 - grey - white, np.clip((0.60 - t1) / 0.16, 0, 1) * (white < 0.3))
    labels = np.where(white > grey, anatomy.WHITE, anatomy.GREY)
    # Thalamus, pallidum and brain stem are halfway between grey and white over many millimetres, the cortex's
    # edge over one or two: an opening keeps the former.
    halfway = (np.minimum(grey, white) > 0.22) & (grey + white > 0.8)
    halfway = ndimage.binary_opening(halfway, ndimage.generate_binary_structure(3, 1), iterations=2)
    deep = halfway & (ndimage.distance_transform_edt(brain, spacing) > 8)
    pieces, _ = ndimage.label(deep)
    deep &= (
        np.bincount(pieces.ravel())[pieces] * spacing**3 > 1000
    )  # mm3; smaller ones are blurred cortex
    labels = np.where(deep, anatomy.DEEP_GREY, labels)
    labels = np.where(fluid > np.maximum(grey, white), anatomy.CSF, labels)
    return np.where(brain, labels, anatomy.AIR).astype(np.uint8)


def _grow_head(brain: np.ndarray, world: np.ndarray, spacing: float) -> np.ndarray:
    """Adds CSF, skull, marrow, scalp, muscle, eyes, sinuses around brain labels [X Y Z]."""
    x, y, z = np.moveaxis(world, -1, 0)
    noise = _smooth_noise(brain.shape, spacing, 14.0)

    # Inner table: the brain with its clefts closed (by 9 mm), plus the subarachnoid space.
    reach = ndimage.distance_transform_edt(brain == anatomy.AIR, spacing)
    closed = ndimage.distance_transform_edt(reach <= 9, spacing) > 9
    outside = ndimage.distance_transform_edt(~closed, spacing)  # mm from the closed brain
    cranium = outside <= 2.2 + 0.6 * noise

    depth = ndimage.distance_transform_edt(~cranium, spacing)
    # Skull thickness in mm: thin at the temples, thick at forehead and occiput.
    thick = 6.0 + 1.2 * noise + 2.5 * np.clip((np.abs(y + 15) - 60) / 40, 0, 1)
    thick -= 1.5 * np.clip((np.abs(x) - 45) / 25, 0, 1) * (z < 20)
    scalp = 5.5 + 0.8 * np.roll(noise, 9, axis=1) + 2.0 * (y < -60)

    # Below the eyebrows the head no longer follows the brain: face in front, muscle behind and below.
    low = np.clip((4 - z) / 40, 0, 1)
    face = ((x / (50 + 22 * low)) ** 2 + ((y - 18) / (70 + 9 * low)) ** 2 < 1) & (z < -2)
    neck = ((x / 74) ** 2 + ((y + 22) / 88) ** 2 < 1) & (z < -20)
    head = (depth <= thick + scalp) | face | neck
    # Round off the step where the two meet: erode and dilate by distance.
    head = ndimage.gaussian_filter(head.astype(np.float32), 5.0 / spacing) > 0.5
    head |= depth <= thick + scalp - 1
    skin = ndimage.distance_transform_edt(head, spacing)  # mm below the skin

    labels = np.where(head, anatomy.MUSCLE, anatomy.AIR)
    labels = np.where(head & (noise > 0.8) & (depth > thick + 8), anatomy.SCALP, labels)
    labels = np.where(head & (skin <= scalp), anatomy.SCALP, labels)
    # The orbit is fat; its globe is fluid with a dark coat.
    orbit = tuple((centre, tuple(1.6 * r for r in radii)) for centre, radii in _EYES)
    labels = np.where(head & _ellipsoids(world, orbit, 0.1 * noise), anatomy.SCALP, labels)
    skull = depth <= thick
    labels = np.where(skull, anatomy.SKULL, labels)
    marrow = skull & (depth > 2.0) & (depth < thick - 2.0) & (thick > 5.6)
    labels = np.where(marrow, anatomy.MARROW, labels)
    labels = np.where(head & _ellipsoids(world, _EYES, 0 * noise) & ~skull, anatomy.EYE, labels)
    sinus = _ellipsoids(world, _SINUSES, 0.2 * np.roll(noise, 5, axis=2))
    labels = np.where(sinus & ~cranium, anatomy.AIR, labels)
    labels = np.where(cranium, anatomy.CSF, labels)
    # The clefts below the brain hold the sphenoid wings and petrous bones, not pools of CSF.
    bone = cranium & (reach > 4.0) & (z < -10) & (y > -50)
    labels = np.where(bone, anatomy.SKULL, labels)
    labels = np.where(brain != anatomy.AIR, brain, labels)

    # Superior sagittal and transverse sinuses: a vein under the midline vault, and one round the tentorium.
    under = cranium & (ndimage.distance_transform_edt(cranium, spacing) < 5)
    sagittal = (np.abs(x) < 4.0 - 0.03 * np.clip(y + 60, 0, 130)) & (z > -10) & (y < 62)
    transverse = (np.abs(z + 18 - 0.08 * np.abs(x)) < 3.5) & (y < -62)
    vein = under & (sagittal | transverse) & ~np.isin(labels, (anatomy.WHITE, anatomy.DEEP_GREY))
    return np.where(vein, anatomy.VEIN, labels).astype(np.uint8)


def _tumour_sites(labels: np.ndarray, world: np.ndarray, spacing: float, count: int) -> np.ndarray:
    """Picks white matter places [count 4] float16: x, y, z and the distance to the inner table, all in mm."""
    intracranial = np.isin(labels, (*anatomy.BRAIN, anatomy.CSF, anatomy.VEIN))
    depth = ndimage.distance_transform_edt(intracranial, spacing)
    allowed = (labels == anatomy.WHITE) & (depth > 9) & (np.abs(world[..., 0]) > 12)
    allowed &= (world[..., 2] > -22) & (
        world[..., 2] < 52
    )  # cerebrum; gliomas of adults live there
    place = np.concatenate([world[allowed], depth[allowed][:, None]], axis=1)
    keep = np.random.default_rng(152).choice(len(place), min(count, len(place)), replace=False)
    return place[np.sort(keep)].astype(np.float16)


def make_map(folder: pathlib.Path, spacing: float, sites: int) -> dict[str, np.ndarray]:
    """Builds the arrays of the packaged file: `labels` [X Y Z] uint8, `affine` [4 4], `sites` [N 4]."""
    shape = tuple(int(n) for n in np.ceil((_HIGH - _LOW) / spacing) + 1)
    # Centre the grid on x = 0, so that the map is as symmetric as its template.
    origin = np.array([-(shape[0] - 1) * spacing / 2, _LOW[1], _LOW[2]])
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = origin
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    world = (index * spacing + origin).astype(np.float32)

    resampled = []
    for tissue in ("t1", "gm", "wm"):
        values, source = _read(folder, tissue)
        inverse = np.linalg.inv(source) @ affine
        resampled.append(
            ndimage.affine_transform(values, inverse[:3, :3], inverse[:3, 3], shape, order=1)
        )
    labels = _grow_head(_brain_labels(*resampled, spacing), world, spacing)
    return {
        "labels": labels,
        "affine": affine,
        "sites": _tumour_sites(labels, world, spacing, sites),
    }


def main() -> None:
    """Writes the file and prints what is in it."""
    arrays = make_map(pathlib.Path(_TEMPLATES.value), _SPACING.value, _SITES.value)
    np.savez_compressed(_OUT.value, **arrays)
    cubic_mm = (
        np.bincount(arrays["labels"].ravel(), minlength=len(anatomy.TISSUES)) * _SPACING.value**3
    )
    for name, volume in zip(anatomy.TISSUES, cubic_mm / 1000, strict=True):
        print(f"{name:10s} {volume:8.0f} ml")
    size = pathlib.Path(_OUT.value).stat().st_size
    print(
        f"{_OUT.value}: {arrays['labels'].shape}, {len(arrays['sites'])} sites, {size / 1000:.0f} kB"
    )


if __name__ == "__main__":
    entry.run(main)
