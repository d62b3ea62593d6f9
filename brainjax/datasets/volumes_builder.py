"""The folders of volumes as TensorFlow Datasets builders, stored as ArrayRecord for random access.

    prepare('Brats', '~/BraTS2021', '~/prepared')   # once: verifies, turns, crops, writes
    dataset = Brats('~/prepared').load()            # the same rows as from the folder, in order

Everything is one TFDS split, `volumes`; who trains on what is decided by `splits.py`, at run time. Memory stays bounded:
the folder is read twice, once to verify it and to find the grid that all cases fit into, once to write.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from brainjax.datasets import brats, common_builder, image_pairs, nfbs, volumes
from brainjax.lookup import lookup
from brainjax.preprocess.plan import Fingerprint

SPLIT = "volumes"  # TFDS reserves the name 'all'


class _Builder(common_builder.FolderBuilder, skip_registration=True):
    """A folder of volumes, one example a case."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Unpack the download and pass its folder as source_dir."

    def _info(self) -> tfds.core.DatasetInfo:
        info, grid = self._source.info, (None, None, None)
        zipped = {"encoding": "zlib"}  # most of a volume is air
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(
                    shape=(*grid, len(info.channels)), dtype=np.float16, **zipped
                ),
                "mask": tfds.features.Tensor(
                    shape=(*grid, len(info.classes)), dtype=np.uint8, **zipped
                ),
                "patient": tfds.features.Text(),
                "position": np.int32,
                "spacing": tfds.features.Tensor(shape=(3,), dtype=np.float32),
                "size": tfds.features.Tensor(shape=(3,), dtype=np.int32),  # without the padding
            }
        )
        return self._described(
            info,
            f"{info.name}: volumes of {', '.join(info.channels)}; {', '.join(info.classes)}.",
            features,
            "mask",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        source = self._folder(dl_manager)
        # Reads and verifies all files before the first example is written.
        cases, sizes, _ = source.survey(keep=False)
        return {SPLIT: self._generate_examples(source, cases, *volumes.common(sizes))}

    def _generate_examples(
        self,
        source: volumes.VolumeFolder,
        cases: Sequence[volumes.Case],
        shape: tuple[int, ...],
        spacing: tuple[float, ...],
    ) -> Any:
        make = functools.partial(_example, source=source, shape=shape, spacing=spacing)
        items = list(zip(cases, volumes.positions(cases), strict=True))
        return common_builder.examples(items, make, self._beam)


def _example(
    item: tuple[volumes.Case, int],
    *,
    source: volumes.VolumeFolder,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
) -> dict[str, Any]:
    case, position = item
    loaded = volumes.read_case(source, case)
    image, mask = volumes.padded(loaded, shape)
    return {
        "image": image,
        "mask": mask,
        "patient": case.patient,
        "position": position,
        "spacing": np.array(spacing, np.float32),
        "size": np.array(loaded.size.shape, np.int32),
    }


class Brats(_Builder):
    """BraTS 2018 to 2021 or 2023."""

    SOURCE = brats.Brats
    name = volumes.prepared_name(brats.Brats.INFO)


class Brats2013(_Builder):
    """The two shared patients of BRATS 2013."""

    SOURCE = brats.Brats2013
    name = volumes.prepared_name(brats.Brats2013.INFO)


class NFBS(_Builder):
    """The 125 heads of NFBS."""

    SOURCE = nfbs.NFBS
    name = volumes.prepared_name(nfbs.NFBS.INFO)


class ImagePairs(_Builder):
    """Any folder of volumes with masks."""

    SOURCE = image_pairs.ImagePairs
    name = volumes.prepared_name(image_pairs.ImagePairs.INFO)


BUILDERS = {cls.__name__: cls for cls in (Brats, Brats2013, ImagePairs, NFBS)}


def prepare(
    dataset: str,
    source_dir: str,
    data_dir: str,
    *,
    beam: common_builder.Beam = common_builder.NO_BEAM,
    **options: Any,
) -> str:
    """Verifies, decodes and writes a data set; does nothing if the same files were prepared before.

    Args:
        dataset: one of `BUILDERS`.
        source_dir: the folder as downloaded.
        data_dir: where the prepared files go.
        beam: what shares the work out, and must reach the folders by these names.
        **options: of the data set's class: `spacing`, `skip_bad`, or the `labels` of `ImagePairs`.

    Returns:
        The folder of the prepared version, inside `data_dir`.

    Raises:
        ConfigError: no such data set, or no such Beam.
        DataError: there are bad files, which the message lists; or `data_dir` holds what was prepared from
            other files.
    """
    common_builder.hide_gpus()
    make = lookup(dataset, BUILDERS, "dataset")
    builder = make(
        source_dir=common_builder.absolute(source_dir),
        options=options,
        beam=beam,
        data_dir=common_builder.absolute(data_dir),
    )
    cases, problems = make.SOURCE(source_dir, **options).find()
    files = [(case.name, path) for case in cases for path in (*case.images, case.truth) if path]
    stamp = common_builder.stamp_of((sorted(options.items()), len(problems)), files)
    return common_builder.prepare(builder, source_dir, stamp, beam)


def data_source(dataset: str, data_dir: str) -> Sequence[dict[str, Any]]:
    """Random access to the prepared cases, decoded one at a time and without TensorFlow.

    Raises:
        ConfigError: no such data set.
        DataError: nothing was prepared there, or the preparation was interrupted.
    """
    return common_builder.data_source(data_dir, lookup(dataset, BUILDERS, "dataset"), SPLIT)


def fingerprint(dataset: str, data_dir: str) -> Fingerprint:
    """What a plan needs to know of a prepared data set; volumes themselves are not decoded.

    Raises:
        ConfigError, DataError: as `data_source`.
    """
    make = lookup(dataset, BUILDERS, "dataset")
    skip = {"image": tfds.decode.SkipDecoding(), "mask": tfds.decode.SkipDecoding()}
    records = common_builder.data_source(data_dir, make, SPLIT, decoders=skip)
    found = [records[row] for row in range(len(records))]
    mask = common_builder.data_source(data_dir, make, SPLIT)[0]["mask"]
    return Fingerprint(
        [one["size"].tolist() for one in found],
        [one["spacing"].tolist() for one in found],
        len(make.SOURCE.INFO.channels),
        mask.shape[-1],
    )
