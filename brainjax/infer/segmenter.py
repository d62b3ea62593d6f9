"""A trained model ready for use: three lines from an array of slices to a mask."""

import numpy as np

from brainjax.datasets.base import ArrayDataset, DatasetInfo
from brainjax.infer.model import Model
from brainjax.types import DataError


class Segmenter(Model):
    """A segmentation network, its weights and its preprocessing.

        model = Segmenter.load("checkpoints/lgg_unet")
        mask = model(volume)  # [S H W C] uint8 -> [S H W] bool, on the same grid

    Attributes: see `Model`.
    """

    task = "segmentation"

    def __call__(self, volume: np.ndarray, *, clean: bool = True) -> np.ndarray:
        """Segments one patient's stacked slices.

        Args:
            volume: [S H W C] with the channels the model was trained on, in scan order; values as in the
                training files, since each volume is normalised by its own intensities.
            clean: apply the model's 3D clean-up.

        Returns:
            [S H W] bool.

        Raises:
            DataError: wrong number of axes or channels, or values that are not finite.
        """
        channels = self.facts["channels"]
        volume = np.asarray(volume)
        if volume.ndim != 4 or not len(volume) or volume.shape[-1] != len(channels):
            raise DataError(
                f"volume has shape {volume.shape}; this model wants [slices, height, width, "
                f"{len(channels)}] with channels {', '.join(channels)}"
            )
        if not np.isfinite(volume).all():
            raise DataError("volume holds NaN or infinite values; replace them first")
        count = len(volume)
        dataset = ArrayDataset(
            info=DatasetInfo("volume", tuple(channels), tuple(self.facts["classes"]), "", ""),
            image=volume,
            mask=np.zeros((*volume.shape[:3], 1), np.uint8),
            group=np.zeros(count, np.int32),
            position=np.arange(count, dtype=np.int32),
            groups=("volume",),
        )
        mask = self.predictor.masks(self.variables, self.source(dataset), np.arange(count))[..., 0]
        return self.predictor.options.postprocess()(mask) if clean else mask
