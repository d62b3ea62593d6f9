"""Datasets read from disk behave as those in memory, and read no more than is asked for."""

import shutil

import numpy as np
import pytest
from PIL import Image

from brainjax.data import Order, Source, feeds, from_records
from brainjax.datasets.base import DatasetInfo
from brainjax.types import ConfigError, DataError

INFO = DatasetInfo("t", ("a", "b", "c"), ("z",), "-", "-")


class _Records(list):
    """Records that write down which of them were read."""

    def __init__(self, records):
        super().__init__(records)
        self.read = []

    def __getitem__(self, row):
        self.read.append(row)
        return super().__getitem__(row)


def _records(patients=("p", "p", "p", "q", "q")):
    rng = np.random.default_rng(0)
    return _Records(
        {
            "image": rng.integers(0, 256, (6, 4, 3), np.uint8),
            "mask": rng.integers(0, 2, (6, 4, 1), np.uint8),
            "patient": patient.encode(),
            "position": np.int32(row),
        }
        for row, patient in enumerate(patients)
    )


def test_dataset_is_that_of_the_records():
    records = _records()
    dataset = from_records(records, INFO)
    assert dataset.info == INFO and dataset.groups == ("p", "q") and len(dataset) == 5
    assert dataset.group.tolist() == [0, 0, 0, 1, 1] and dataset.position.tolist() == [*range(5)]
    assert dataset.image.shape == (5, 6, 4, 3) and dataset.image.dtype == np.uint8
    np.testing.assert_array_equal(dataset.mask, [r["mask"] for r in records])
    np.testing.assert_array_equal(np.asarray(dataset.image), [r["image"] for r in records])


@pytest.mark.parametrize(
    "index", [2, -1, slice(1, 4), np.array([3, 0, 3]), np.array([[0, 0, 1], [2, 3, 3]])]
)
def test_images_are_indexed_as_an_array_is(index):
    images = from_records(_records(), INFO).image
    whole = np.asarray(images)
    got = images[index]
    assert got.dtype == whole.dtype
    np.testing.assert_array_equal(got, whole[index])
    with pytest.raises(IndexError):
        images[5]


def test_a_batch_reads_its_own_rows_once():
    records = _records()
    source = Source(from_records(records, INFO), 3, "none")
    records.read.clear()
    source.gather(np.array([0, 1, 4]))  # with neighbours 0 0 1, 0 1 2, 3 4 4
    assert sorted(records.read) == [0, 1, 2, 3, 4]


def test_channels_are_picked_by_name():
    records = _records()
    dataset = from_records(records, INFO, channels=("c", "a"))
    assert dataset.info.channels == ("c", "a") and dataset.image.shape[-1] == 2
    np.testing.assert_array_equal(dataset.image[1], records[1]["image"][..., [2, 0]])
    for wrong in (("d",), ()):
        with pytest.raises(ConfigError, match="choose from a, b, c"):
            from_records(records, INFO, channels=wrong)


def test_unusable_records_name_the_fix():
    with pytest.raises(DataError, match="without shuffling"):
        from_records(_records(("p", "q", "p")), INFO)
    with pytest.raises(DataError, match="prepare"):
        from_records(_records(()), INFO)


def test_prepared_files_train_on_the_batches_of_the_folder(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    from brainjax.data import tfdata
    from brainjax.datasets import lgg, lgg_builder

    rng = np.random.default_rng(0)
    for patient in ("TCGA_AA_0001_19990101", "TCGA_BB_0002_19990202"):
        folder = tmp_path / "kaggle_3m" / patient
        folder.mkdir(parents=True)
        for number in range(1, 4):
            image = rng.integers(0, 256, (16, 16, 3), np.uint8)
            mask = np.zeros((16, 16), np.uint8)
            mask[:number] = 255 * (number > 1)
            Image.fromarray(image).save(folder / f"{patient}_{number}.tif")
            Image.fromarray(mask).save(folder / f"{patient}_{number}_mask.tif")
    lgg_builder.prepare(str(tmp_path / "kaggle_3m"), str(tmp_path / "prepared"))
    lgg_builder.prepare(str(tmp_path / "kaggle_3m"), str(tmp_path / "prepared"))  # once is enough
    other = tmp_path / "other"
    shutil.copytree(folder, other / folder.name)
    with pytest.raises(DataError, match="prepared from other files.*another --output"):
        lgg_builder.prepare(str(other), str(tmp_path / "prepared"))
    records = lgg_builder.data_source(str(tmp_path / "prepared"))
    disk = Source(from_records(records, lgg.INFO), 3, "zscore")
    held = Source(lgg.LGG(str(tmp_path / "kaggle_3m")).load(), 3, "zscore")
    rows = np.arange(6)
    order = Order(rows, held.foreground(rows), batch_size=4, fraction=0.5, seed=0)
    for feed in (tfdata.batches, feeds.memory, feeds.device):
        for step, batch in enumerate(feed(disk, order, 0, 5)):
            for key, value in held.gather(order(step)).items():
                assert np.asarray(batch[key]).tobytes() == value.tobytes(), (feed, key)
        assert step == 4
