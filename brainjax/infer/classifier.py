"""A trained classifier ready for use: from a picture, as it is in its file, to the probability of each class."""

from collections.abc import Sequence

import numpy as np

from brainjax.datasets.base import DatasetInfo, LabelledDataset
from brainjax.infer.model import Model
from brainjax.io.images import to_grey
from brainjax.preprocess.crop import as_input
from brainjax.types import DataError


class Classifier(Model):
    """A classification network, its weights and its preprocessing.

        model = Classifier.load("checkpoints/tumor4_lite")
        model(image)  # [H W] or [H W 3] uint8 -> {"glioma_tumor": 0.97, ...}

    Attributes: see `Model`.
    """

    task = "classification"
    ranks = (2,)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes."""
        return tuple(self.facts["classes"])

    def __call__(self, image: np.ndarray) -> dict[str, float]:
        """Class -> probability, for one picture.

        Args:
            image: [H W], [H W 1], [H W 3] or with transparency, uint8, of any size.

        Raises:
            DataError: another shape or type.
        """
        probability = self.probabilities([image])[0]
        return {name: float(p) for name, p in zip(self.classes, probability, strict=True)}

    def probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """[n K] float32, for pictures as in `__call__`.

        Raises:
            DataError: as `__call__`, or there are none.
        """
        if not len(images):
            raise DataError("there are no images to classify")
        source = self.source(self.dataset(images))
        return self.predictor.probabilities(self.variables, source, np.arange(len(images)))

    def dataset(self, images: Sequence[np.ndarray]) -> LabelledDataset:
        """The pictures, cropped and resized as in training, as a dataset without truth."""
        data, count = self.config.data, len(images)
        options = {"size": data.size, "channels": data.channels, "crop": data.crop}
        names = tuple(str(i) for i in range(count))
        return LabelledDataset(
            info=DatasetInfo("images", tuple(self.facts["channels"]), self.classes, "", ""),
            image=np.stack([as_input(to_grey(_checked(x)), **options) for x in images]),
            label=np.zeros(count, np.int32),
            group=np.arange(count, dtype=np.int32),
            groups=names,
            name=names,
            part=("",) * count,
            content=names,
        )


def _checked(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise DataError(
            f"image has shape {image.shape} and type {image.dtype}; this model wants [height, width] or "
            f"[height, width, 3] uint8, as brainjax.io.images.read_image gives it"
        )
    if image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4):
        raise DataError(f"image has {image.shape[2]} channels; give a grey or a colour picture")
    return image
