"""Small made-up heads as picture files: for the tests of folders of labelled pictures."""

import pathlib

import numpy as np
from PIL import Image

CLASSES = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")


def head(seed: int, size: int = 96, noise: int = 0) -> np.ndarray:
    """[size size] uint8: a bright skull around a brain of blobs that the seed draws, on black."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius = (y / rng.uniform(0.75, 0.85)) ** 2 + (x / rng.uniform(0.6, 0.7)) ** 2
    picture = 80.0 * (radius < 0.8) + 180.0 * ((radius >= 0.8) & (radius < 1))
    for _ in range(25):
        cy, cx = rng.uniform(-0.5, 0.5, 2)
        blob = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / rng.uniform(0.01, 0.05))
        picture += rng.uniform(-150, 150) * blob * (radius < 0.75)
    picture += np.random.default_rng(noise).normal(0, 1, picture.shape) * bool(noise)
    return np.clip(picture, 0, 255).astype(np.uint8)


def write(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    """Writes a PNG or a JPEG, with the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def tumor_folder(root: pathlib.Path, each: int = 3, size: int = 96) -> pathlib.Path:
    """`Training/` with `each` heads of every class, `Testing/` with 2, one of which is a copy from training."""
    for k, name in enumerate(CLASSES):
        for i in range(each):
            write(root / "Training" / name / f"m ({i}).png", head(100 * k + i, size))
        write(root / "Testing" / name / "image(0).png", head(100 * k, size))
        write(root / "Testing" / name / "image(1).png", head(100 * k + 50, size))
    return root
