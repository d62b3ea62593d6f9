"""TorchIO's and MONAI's chains for the suite `augment`, example by example on CPU as their data loaders run them.

Imported under the peers' interpreter alone, so nothing here needs brainjax.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmarks import child


def torchio(shape: tuple[int, ...], steps: int) -> dict[str, Any]:
    """Times TorchIO; a slice is a volume of one voxel's depth to it."""
    import torch
    import torchio as tio

    *_, channels = shape
    flat = len(shape) == 4
    lock = {"locked_borders": 0} if flat else {}
    points = (7, 7, 4) if flat else 8
    chain = tio.Compose(
        [
            tio.RandomAffine(0.15, 15 if not flat else (0, 0, 0, 0, -15, 15), p=0.8),
            tio.RandomElasticDeformation(points, (4, 4, 0) if flat else 4, p=0.3, **lock),
            tio.RandomFlip(1 if flat else 2, 0.5),
            tio.RandomGamma(0.3, p=0.3),
            tio.RandomBiasField(0.3, p=0.3),
            tio.RandomBlur((0, 1), p=0.2),
            tio.RandomNoise(std=(0, 0.1), p=0.2),
        ]
    )
    depth = (1,) if flat else ()
    image = torch.rand(channels, *shape[1:-1], *depth)
    mask = (image[:1] > 0.5).to(torch.uint8)
    subject = tio.Subject(image=tio.ScalarImage(tensor=image), mask=tio.LabelMap(tensor=mask))
    return _times(lambda: chain(subject), shape, steps)


def monai(shape: tuple[int, ...], steps: int) -> dict[str, Any]:
    """Times MONAI's dictionary transforms."""
    import torch
    from monai import transforms as t

    rank = len(shape) - 2
    both = {"keys": ("image", "mask"), "mode": ("bilinear", "nearest")}
    if rank == 2:
        elastic = t.Rand2DElasticd(spacing=(32, 32), magnitude_range=(0, 4), prob=0.3, **both)
        turn = {"rotate_range": 0.26}
    else:
        how = {"sigma_range": (5, 7), "magnitude_range": (50, 100)}
        elastic, turn = t.Rand3DElasticd(prob=0.3, **how, **both), {"rotate_range": (0.26,) * 3}
    low = t.RandSimulateLowResolutiond("image", prob=0.2, zoom_range=(0.5, 1.0))
    chain = t.Compose(
        [
            t.RandAffined(
                prob=0.8, **turn, scale_range=(0.15,) * rank, shear_range=(0.05,) * rank, **both
            ),
            elastic,
            t.RandFlipd(("image", "mask"), 0.5, rank - 1),
            t.RandAdjustContrastd("image", 0.3, (0.7, 1.3)),
            t.RandBiasFieldd("image", coeff_range=(0.0, 0.3), prob=0.3),
            t.RandGaussianSmoothd("image", prob=0.2),
            *([low] if rank == 3 else []),
            t.RandGaussianNoised("image", prob=0.2, std=0.1),
        ]
    )
    image = torch.rand(shape[-1], *shape[1:-1])
    mask = (image[:1] > 0.5).float()
    return _times(lambda: chain({"image": image, "mask": mask}), shape, steps)


def _times(run: Callable[[], Any], shape: tuple[int, ...], steps: int) -> dict[str, Any]:
    def batch() -> None:
        for _ in range(shape[0]):
            run()

    np.random.seed(0)
    return {**child.timed(batch, steps), "units": shape[0], "unit": "examples"}
