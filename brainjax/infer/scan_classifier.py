"""A trained classifier of whole heads ready for use: from a scan, as it is in its file, to the probability of each class."""

from collections.abc import Sequence

import numpy as np

from brainjax.datasets.base import DatasetInfo, LabelledDataset
from brainjax.infer.explain import grad_cam
from brainjax.infer.model import Model
from brainjax.io.volume import Volume
from brainjax.preprocess.batch import prepare
from brainjax.preprocess.head import cut_head
from brainjax.types import DataError


class ScanClassifier(Model):
    """A classification network for volumes, its weights and its preprocessing.

        model = ScanClassifier.load("checkpoints/tumor4_volume")
        model(read_volume("t1ce.nii.gz"))  # {"glioma_tumor": 0.97, ...}

    The scan shows a whole head, not a stripped brain, in the sequence of `facts["channels"]`.

    Attributes: see `Model`.
    """

    task = "classification"
    ranks = (3,)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes."""
        return tuple(self.facts["classes"])

    def __call__(self, volume: Volume) -> dict[str, float]:
        """Class -> probability, for one scan.

        Args:
            volume: [X Y Z] of any orientation, voxel size and field of view.

        Raises:
            DataError: there is nothing in the scan, or not only numbers.
        """
        probability = self.probabilities([volume])[0]
        return {name: float(p) for name, p in zip(self.classes, probability, strict=True)}

    def probabilities(self, volumes: Sequence[Volume]) -> np.ndarray:
        """[n K] float32, for scans as in `__call__`.

        Raises:
            DataError: as `__call__`, or there are none.
        """
        source = self.source(self.dataset(volumes))
        return self.predictor.probabilities(self.variables, source, np.arange(len(volumes)))

    def heat(self, volume: Volume, name: str | None = None) -> Volume:
        """Where the evidence for a class lies, 0 to 1, on the scan's own grid: Grad-CAM (`brainjax.infer.explain`).

        As coarse as the network's last features: 16 of its voxels, some centimetres.

        Args:
            volume: as in `__call__`.
            name: the class; None for the likeliest.

        Raises:
            DataError: as `__call__`, or there is no such class.
        """
        if name is not None and name not in self.classes:
            raise DataError(f"class {name!r}; choose one of {', '.join(self.classes)}")
        raw = self.source(self.dataset([volume])).gather(np.zeros(1, np.int64))
        image = prepare(raw, 0)["image"]
        k = None if name is None else self.classes.index(name)
        found = grad_cam(self.predictor.model, self.variables, image, k)
        _, box, undo = cut_head(volume, *self._box)
        return undo.volume(box.paste(np.asarray(found[0])))

    def dataset(self, volumes: Sequence[Volume]) -> LabelledDataset:
        """The scans' heads, cut out as in training, as a dataset without truth.

        Raises:
            DataError: as `probabilities`.
        """
        if not len(volumes):
            raise DataError("there are no scans to classify")
        count, names = len(volumes), tuple(str(i) for i in range(len(volumes)))
        return LabelledDataset(
            info=DatasetInfo("scans", tuple(self.facts["channels"]), self.classes, "", ""),
            image=np.stack([cut_head(volume, *self._box)[0] for volume in volumes])[..., None],
            label=np.zeros(count, np.int32),
            group=np.arange(count, dtype=np.int32),
            groups=names,
            name=names,
            part=("",) * count,
            content=names,
        )

    @property
    def _box(self) -> tuple[tuple[int, ...], float]:
        return tuple(self.config.data.shape), self.config.data.spacing
