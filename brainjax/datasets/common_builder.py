"""What the TFDS builders share: prepared once, stamped with their source, never finished when interrupted."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from brainjax.datasets.base import DatasetInfo
from brainjax.types import ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class Beam:
    """Apache Beam (https://beam.apache.org), which divides the decoding and writing among processes or machines.

    Attributes:
        runner: 'DirectRunner', 'FlinkRunner', 'DataflowRunner', ..; empty for no Beam: one process writes.
        options: of the runner, 'name=value' or 'name', such as 'direct_num_workers=4'.
    """

    runner: str = ""
    options: tuple[str, ...] = ()

    def download_options(self) -> dict[str, Any]:
        """What TFDS is told of it.

        Raises:
            ConfigError: Beam is not installed, or knows no such runner or option.
        """
        if not self.runner:
            return {}
        try:
            import apache_beam
            from apache_beam.options.pipeline_options import PipelineOptions
        except ModuleNotFoundError as error:
            raise ConfigError(
                "--beam_runner needs Apache Beam: pip install 'brainjax[beam]'"
            ) from error
        try:
            apache_beam.runners.create_runner(self.runner)
        except (ValueError, ImportError, AttributeError) as error:
            raise ConfigError(
                f"--beam_runner={self.runner}: Apache Beam has no such runner here; try DirectRunner"
            ) from error
        flags = [f"--{option.lstrip('-')}" for option in self.options]
        return {"beam_runner": self.runner, "beam_options": PipelineOptions(flags)}


NO_BEAM = Beam()


def examples(items: Sequence[Any], make: Callable[[Any], dict[str, Any]], beam: Beam) -> Any:
    """Examples as TFDS takes them from a builder: (row, make(item)) one by one, or as a step of a Beam pipeline.

    Args:
        items: one a row; small, for Beam sends them to its workers.
        make: a function of a module, or a partial one: it is sent to the workers too.
        beam: whether there are any.
    """
    if not beam.runner:
        return ((row, make(item)) for row, item in enumerate(items))
    import apache_beam

    # A reshuffle, or all items would stay with the worker that listed them.
    return (
        apache_beam.Create(list(enumerate(items)))
        | apache_beam.Reshuffle()
        | apache_beam.MapTuple(_Keyed(make))
    )


@dataclasses.dataclass(frozen=True)
class _Keyed:
    """(row, item) -> (row, make(item))."""

    make: Callable[[Any], dict[str, Any]]

    def __call__(self, row: int, item: Any) -> tuple[int, dict[str, Any]]:
        return row, self.make(item)


class FolderBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A TFDS builder for a folder that was downloaded by hand; stored as ArrayRecord.

    Attributes:
        SOURCE: the class that reads the folder; its first field is `dir`.
    """

    SOURCE: ClassVar[type]

    def __init__(
        self,
        *,
        source_dir: str = "",
        options: Mapping[str, Any] = MappingProxyType({}),
        beam: Beam = NO_BEAM,
        **kwargs: Any,
    ):
        """Makes the builder; nothing is read yet.

        Args:
            source_dir: the folder as downloaded; the manual directory of TFDS if empty.
            options: of `SOURCE`, such as `skip_bad`.
            beam: what shares the work out.
            **kwargs: of the TFDS builder; `data_dir` is where the prepared files go.
        """
        self._source, self._beam = self.SOURCE(source_dir, **options), beam
        super().__init__(**{"file_format": "array_record"} | kwargs)

    def _described(
        self, info: DatasetInfo, description: str, features: tfds.features.FeaturesDict, target: str
    ) -> tfds.core.DatasetInfo:
        """What TFDS keeps about the data; `target` is the feature to be predicted from the image."""
        return self.dataset_info_from_configs(
            description=description,
            features=features,
            citation=info.citation,
            license=info.licence,
            supervised_keys=("image", target),
            disable_shuffling=True,
        )

    def _folder(self, dl_manager: tfds.download.DownloadManager) -> Any:
        """The reader of the folder that was named, or else of TFDS's own place for it."""
        if self._source.dir:
            return self._source
        return dataclasses.replace(self._source, dir=str(dl_manager.manual_dir))


def prepare(
    builder: tfds.core.GeneratorBasedBuilder, source_dir: str, stamp: str, beam: Beam = NO_BEAM
) -> str:
    """Verifies, decodes and writes a data set; does nothing if the same files were prepared before.

    TFDS writes into a directory marked incomplete and renames it at the very end, so that an
    interrupted preparation is never found by `data_source`; calling this again starts afresh.

    Args:
        builder: with the folder where the prepared files go as its `data_dir`.
        source_dir: the folder as downloaded.
        stamp: of the files in it, by `stamp_of`.
        beam: as the builder has it.

    Returns:
        The folder of the prepared version.

    Raises:
        DataError: there are bad files, which the message lists; or that folder holds what was prepared from
            other files.
        ConfigError: see `Beam.download_options`.
    """
    # TFDS takes whatever was finished in that place for this data set. Written first, so that
    # there is no finished preparation without it.
    finished = pathlib.Path(builder.data_path)
    path = finished.parent / f"{finished.name}.source"
    if (finished / "dataset_info.json").is_file() and path.is_file() and path.read_text() != stamp:
        raise DataError(
            f"{finished} was prepared from other files, or they have changed since; choose another "
            f"--output, or delete that folder"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(stamp)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            register_checksums=False,
            try_download_gcs=False,
            manual_dir=absolute(source_dir),
            **beam.download_options(),
        )
    )
    return str(builder.data_path)


def data_source(
    data_dir: str, builder: type[tfds.core.GeneratorBasedBuilder], split: str, **options: Any
) -> Sequence[dict[str, Any]]:
    """Random access to prepared examples, decoded one at a time and without TensorFlow.

    Args:
        data_dir: where the prepared files are.
        builder: what prepared them.
        split: its TFDS split.
        **options: of `as_data_source` of TFDS.

    Raises:
        DataError: nothing was prepared there, or the preparation was interrupted.
    """
    folder = pathlib.Path(absolute(data_dir), builder.name, str(builder.VERSION))
    if not (folder / "dataset_info.json").is_file():
        begun = list(folder.parent.glob("*incomplete*"))
        state = "only an interrupted preparation" if begun else "nothing prepared"
        raise DataError(f"{data_dir}: {state}; run the preparation (again)")
    return tfds.builder_from_directory(folder).as_data_source(split=split, **options)


def stamp_of(options: Iterable[Any], files: Iterable[tuple[Any, str]]) -> str:
    """A hash of what is to be prepared.

    Args:
        options: whatever else the result depends on.
        files: what each file is, and its path, in order.
    """
    digest = hashlib.sha256(repr(tuple(options)).encode())
    for what, path in files:
        digest.update(repr(what).encode())
        digest.update(hashlib.sha256(pathlib.Path(path).read_bytes()).digest())
    return digest.hexdigest()


def hide_gpus() -> None:
    """Keeps TensorFlow, which only encodes PNGs here, from reserving the memory of the GPUs."""
    import tensorflow as tf  # slow to import, and reading needs none of it

    tf.config.set_visible_devices([], "GPU")


def absolute(path: str) -> str:
    """The path without `~` and independent of the working directory."""
    return os.path.abspath(os.path.expanduser(path))
