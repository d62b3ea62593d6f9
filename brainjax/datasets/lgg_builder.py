"""LGG as a TensorFlow Datasets builder, stored as ArrayRecord for random access.

    prepare('~/lgg_mri_segmentation', '~/prepared')   # once: verifies, decodes, writes
    dataset = load_prepared('~/prepared')             # the same rows as LGG(dir).load(), in order
    source = data_source('~/prepared')                # or one row at a time: source[7]['image']

Everything is one TFDS split, `slices`; who trains on what is decided by `splits.py`, at run time.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from brainjax.datasets import common_builder
from brainjax.datasets.base import ArrayDataset
from brainjax.datasets.lgg import INFO, LGG, SEQUENCES, Slice, find_slices
from brainjax.io import images
from brainjax.types import ConfigError

SPLIT = "slices"  # TFDS reserves the name 'all'


class LggMri(common_builder.FolderBuilder):
    """The LGG folder, one example a slice, in the order of `LGG.load()`."""

    SOURCE = LGG
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Unpack Kaggle's 'LGG MRI Segmentation' (kaggle_3m) and pass its folder as source_dir."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                # The size is not fixed: PNG keeps it, and the masks compress to almost nothing.
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                "patient": tfds.features.Text(),
                "position": np.int32,
            }
        )
        return self._described(
            INFO,
            f"{INFO.name}: {', '.join(INFO.channels)} slices; {INFO.classes[0]} masks.",
            features,
            "mask",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        source = self._folder(dl_manager)
        # Reads and verifies all files before the first example is written.
        dataset = source.load()
        if not self._beam.runner:
            return {SPLIT: self._generate_examples(dataset)}
        # Workers are sent names and decode again, sooner than be sent pixels.
        files = {(item.patient, item.number): item for item in find_slices(source.dir)[0]}
        patients = (dataset.groups[g] for g in dataset.group)
        good = [files[key] for key in zip(patients, dataset.position.tolist(), strict=True)]
        return {SPLIT: common_builder.examples(good, _example, self._beam)}

    def _generate_examples(self, dataset: ArrayDataset) -> Iterator[tuple[int, dict[str, Any]]]:
        for row in range(len(dataset)):
            yield (
                row,
                {
                    "image": dataset.image[row],
                    "mask": dataset.mask[row],
                    "patient": dataset.groups[dataset.group[row]],
                    "position": int(dataset.position[row]),
                },
            )


def _example(item: Slice) -> dict[str, Any]:
    image = images.read_image(item.image)
    mask = images.read_image(item.mask).reshape(*image.shape[:2], 1) > 127
    return {
        "image": image,
        "mask": mask.astype(np.uint8),
        "patient": item.patient,
        "position": item.number,
    }


def prepare(
    source_dir: str,
    data_dir: str,
    *,
    skip_bad: bool = False,
    beam: common_builder.Beam = common_builder.NO_BEAM,
) -> str:
    """Verifies, decodes and writes the data set; does nothing if the same files were prepared before.

    Args:
        source_dir: as `LGG.dir`.
        data_dir: where the prepared files go.
        skip_bad: leave bad files out instead of refusing.
        beam: what shares the work out, and must reach the folders by these names.

    Returns:
        The folder of the prepared version, inside `data_dir`.

    Raises:
        DataError: there are bad files, which the message lists; or `data_dir` holds what was prepared from
            other files.
    """
    common_builder.hide_gpus()
    builder = LggMri(
        source_dir=common_builder.absolute(source_dir),
        options={"skip_bad": skip_bad},
        beam=beam,
        data_dir=common_builder.absolute(data_dir),
    )
    slices, problems = find_slices(source_dir)
    files = [
        ((item.patient, item.number, kind), getattr(item, kind))
        for item in slices
        for kind in ("image", "mask")
    ]
    stamp = common_builder.stamp_of((skip_bad, len(problems)), files)
    return common_builder.prepare(builder, source_dir, stamp, beam)


def data_source(data_dir: str) -> Sequence[dict[str, Any]]:
    """Random access to the prepared slices, decoded one at a time and without TensorFlow.

    Args:
        data_dir: as for `prepare`.

    Returns:
        A sequence of dicts: image [H W 3] uint8, mask [H W 1] uint8 in {0, 1}, patient, position.

    Raises:
        DataError: nothing was prepared there, or the preparation was interrupted.
    """
    return common_builder.data_source(data_dir, LggMri, SPLIT)


def load_prepared(data_dir: str, *, sequences: str = "all") -> ArrayDataset:
    """All prepared slices in memory: row for row what `LGG.load()` returned.

    Args:
        data_dir: as for `prepare`.
        sequences: as `LGG.sequences`.

    Raises:
        ConfigError: `sequences` is none of `SEQUENCES`.
        DataError: nothing was prepared there, or the preparation was interrupted.
    """
    if sequences not in SEQUENCES:
        raise ConfigError(f"sequences is {sequences!r}; choose {' or '.join(map(repr, SEQUENCES))}")
    picked = list(SEQUENCES[sequences])
    source = data_source(data_dir)
    size = source[0]["image"].shape[:2]
    image = np.empty((len(source), *size, len(picked)), np.uint8)
    mask = np.empty((len(source), *size, 1), np.uint8)
    patients, position = [], np.empty(len(source), np.int32)
    for row in range(len(source)):
        example = source[row]
        image[row], mask[row] = example["image"][..., picked], example["mask"]
        position[row] = example["position"]
        patients.append(example["patient"].decode())
    groups, group = np.unique(patients, return_inverse=True)
    return ArrayDataset(
        info=dataclasses.replace(INFO, channels=tuple(INFO.channels[c] for c in picked)),
        image=image,
        mask=mask,
        group=group.astype(np.int32),
        position=position,
        groups=tuple(groups.tolist()),
    )
