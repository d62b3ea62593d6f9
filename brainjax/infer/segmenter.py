"""A trained model ready for use: three lines from an array of slices, or a volume, to a mask."""

import dataclasses
import itertools
from collections.abc import Callable

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
        """Segments one patient's stacked slices, or a whole volume.

        Args:
            volume: [S H W C] of slices in scan order, or [X Y Z C] in RAS+ of about the voxel size of
                `facts["spacing_mm"]`, with the channels the model was trained on; values as in the training files,
                since each volume is normalised by its own intensities.
            clean: apply the model's 3D clean-up.

        Returns:
            [S H W] or [X Y Z] bool; of a model with several classes [.. K].

        Raises:
            DataError: wrong number of axes or channels, or values that are not finite.
        """
        mask = self.probabilities(volume) >= self.predictor.options.threshold
        if clean:
            mask = self.clean(mask)
        return mask if mask.shape[-1] > 1 else mask[..., 0]

    def probabilities(
        self, volume: np.ndarray, *, progress: Callable[[float], None] | None = None
    ) -> np.ndarray:
        """[.. K] float32, of a volume and with the errors as of a call.

        Args:
            volume: as of a call.
            progress: called with the share that is done, above 0 to 1; what it raises ends the prediction.
        """
        volume = self._checked(np.asarray(volume))
        classes = self.facts["classes"]
        rows = volume if self.rank == 2 else volume[None]
        count = len(rows)
        dataset = ArrayDataset(
            info=DatasetInfo("volume", tuple(self.facts["channels"]), tuple(classes), "", ""),
            image=rows,
            mask=np.zeros((*rows.shape[:-1], len(classes)), np.uint8),
            group=np.zeros(count, np.int32),
            position=np.arange(count, dtype=np.int32),
            groups=("volume",),
        )
        source = self.source(dataset)
        calls, done = self.predictor.calls(source, count), itertools.count(1)
        found = self.predictor.probabilities(
            self.variables,
            source,
            np.arange(count),
            check=progress and (lambda: progress(next(done) / calls)),
        )
        return found if self.rank == 2 else found[0]

    def clean(self, mask: np.ndarray) -> np.ndarray:
        """A mask [.. K] bool after the model's 3D clean-up, class by class."""
        cleanup = self.predictor.options.postprocess()
        cleanup = dataclasses.replace(cleanup, per_slice=self.rank == 2)
        return np.stack([cleanup(mask[..., k]) for k in range(mask.shape[-1])], -1)

    def _checked(self, volume: np.ndarray) -> np.ndarray:
        channels = self.facts["channels"]
        if volume.ndim != 4 or not len(volume) or volume.shape[-1] != len(channels):
            axes = "slices, height, width" if self.rank == 2 else "X, Y, Z"
            raise DataError(
                f"volume has shape {volume.shape}; this model wants [{axes}, {len(channels)}] with channels "
                f"{', '.join(channels)}"
            )
        if not np.isfinite(volume).all():
            raise DataError("volume holds NaN or infinite values; replace them first")
        return volume
