"""The folders of labelled pictures as TensorFlow Datasets builders, stored as ArrayRecord for random access.

    prepare('TumorImages', '~/brain_tumor', '~/prepared')   # once: verifies, decodes, writes
    dataset = TumorImages('~/prepared').load()              # the same rows as from the folder, in order

Pictures are stored grey and at their own size, so that size, crop and groups are chosen when they are read. Everything
is one TFDS split, `pictures`, in order of names; who trains on what is decided at run time.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow_datasets as tfds

from brainjax.datasets import common_builder, images
from brainjax.datasets.folders import Found, Picture
from brainjax.lookup import lookup

SPLIT = "pictures"  # TFDS reserves the name 'all'


class _Builder(common_builder.FolderBuilder, skip_registration=True):
    """A folder of labelled pictures, one example a picture."""

    VERSION = tfds.core.Version(images.PREPARED_VERSION)
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Unpack Kaggle's archive and pass its folder as source_dir."

    def _info(self) -> tfds.core.DatasetInfo:
        info = self.SOURCE.info
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=list(info.classes)),
                "name": tfds.features.Text(),
                "part": tfds.features.Text(),
            }
        )
        return self._described(
            info,
            f"{info.name}: grey pictures of heads; {', '.join(info.classes)}.",
            features,
            "label",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        source = self._folder(dl_manager)
        # Decodes and verifies all files before the first example is written.
        return {SPLIT: self._generate_examples(source.good())}

    def _generate_examples(self, pictures: Sequence[Picture]) -> Any:
        return common_builder.examples(pictures, _example, self._beam)


def _example(picture: Picture) -> dict[str, Any]:
    return {
        "image": images.read_grey(picture.path)[..., None],
        "label": picture.label,
        "name": picture.name,
        "part": picture.part,
    }


class TumorImages(_Builder):
    """The 4-class set of 3,264 pictures."""

    SOURCE = images.TumorImages
    name = images.TumorImages.info.name


class TumorImages7023(_Builder):
    """The 4-class set of 7,023 pictures."""

    SOURCE = images.TumorImages7023
    name = images.TumorImages7023.info.name


class YesNoImages(_Builder):
    """The yes/no set."""

    SOURCE = images.YesNoImages
    name = images.YesNoImages.info.name


BUILDERS = {cls.__name__: cls for cls in (TumorImages, TumorImages7023, YesNoImages)}


def prepare(
    dataset: str,
    source_dir: str,
    data_dir: str,
    *,
    skip_bad: bool = False,
    beam: common_builder.Beam = common_builder.NO_BEAM,
) -> str:
    """Verifies, decodes and writes a data set; does nothing if the same files were prepared before.

    Args:
        dataset: one of `BUILDERS`.
        source_dir: as `ImageFolder.dir`.
        data_dir: where the prepared files go.
        skip_bad: leave bad files out instead of refusing.
        beam: what shares the work out, and must reach the folders by these names.

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
        options={"skip_bad": skip_bad},
        beam=beam,
        data_dir=common_builder.absolute(data_dir),
    )
    found = make.SOURCE(source_dir).find()
    stamp = common_builder.stamp_of(
        (skip_bad, len(found.problems)), ((p.name, p.path) for p in found.pictures)
    )
    return common_builder.prepare(builder, source_dir, stamp, beam)


class Prepared(Sequence):
    """Grey pictures [H W] uint8 by row, in order of names.

    Attributes:
        found: what was prepared; its paths say only where it is.
    """

    def __init__(self, data_dir: str, dataset: str):
        """Opens what `prepare` wrote.

        Raises:
            DataError: nothing was prepared there, or the preparation was interrupted.
        """
        make = BUILDERS[dataset]
        self._records = common_builder.data_source(data_dir, make, SPLIT)
        skip = {"image": tfds.decode.SkipDecoding()}  # names alone are read at once
        classes = make.SOURCE.info.classes
        pictures = []
        for record in common_builder.data_source(data_dir, make, SPLIT, decoders=skip):
            name, part = record["name"].decode(), record["part"].decode()
            path = f"{data_dir}/{name}"
            pictures.append(Picture(name, part, classes[record["label"]], path))
        self.found = Found(classes, tuple(pictures), ())

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, row: int):
        return self._records[row]["image"][..., 0]
