"""LGG: the folder is read in order, bad files are reported at once, TFDS gives the same rows."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from brainjax import datasets
from brainjax.datasets import lgg, verify
from brainjax.datasets.lgg import LGG
from brainjax.types import ConfigError, DataError

A, B, C = "TCGA_AA_0001_19990101", "TCGA_BB_0002_19990202", "TCGA_CC_0003_19990303"
NUMBERS = {A: (1, 2, 10), B: (1, 2, 3, 4), C: (1, 2, 4)}  # C lacks its third slice


def _image(patient, number, size=16):
    """A picture that no other slice has."""
    seed = int.from_bytes(f"{patient}{number}".encode()) % 2**32
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    if patient == B:
        pixels[..., 2] = pixels[..., 1]  # post-contrast not acquired
    return pixels


def _mask(number, size=16):
    mask = np.zeros((size, size), np.uint8)
    mask[:number, :3] = 255
    return mask


def _path(root, patient, number, mask=False):
    return root / patient / f"{patient}_{number}{'_mask' if mask else ''}.tif"


@pytest.fixture
def download(tmp_path):
    return _write(tmp_path / "download" / "kaggle_3m")


def _write(root):
    for patient, numbers in NUMBERS.items():
        (root / patient).mkdir(parents=True)
        for number in numbers:
            Image.fromarray(_image(patient, number)).save(_path(root, patient, number))
            Image.fromarray(_mask(number)).save(_path(root, patient, number, mask=True))
    (root / "data.csv").write_text("Patient\n")
    (root / A / ".DS_Store").write_bytes(b"\0")
    (root / A / f"._{A}_1.tif").write_bytes(b"\0")
    return root


def _assert_same(one, other):
    for field in ("image", "mask", "group", "position"):
        a, b = getattr(one, field), getattr(other, field)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert one.groups == other.groups and one.info == other.info


def test_slices_come_in_numeric_order_with_their_own_masks(download):
    dataset = LGG(str(download)).load()
    assert dataset.groups == (A, B, C)
    rows = [(patient, number) for patient in NUMBERS for number in NUMBERS[patient]]
    assert [dataset.groups[g] for g in dataset.group] == [patient for patient, _ in rows]
    assert dataset.position.tolist() == [number for _, number in rows]
    assert dataset.image.dtype == dataset.mask.dtype == np.uint8
    for row, (patient, number) in enumerate(rows):
        np.testing.assert_array_equal(dataset.image[row], _image(patient, number))
        np.testing.assert_array_equal(dataset.mask[row, ..., 0], _mask(number) // 255)


def test_any_level_of_the_folder_will_do(download):
    whole = LGG(str(download)).load()
    _assert_same(LGG(str(download.parent)).load(), whole)
    one = LGG(str(download / B)).load()
    assert one.groups == (B,)
    np.testing.assert_array_equal(one.image, whole.image[whole.group == 1])


def test_flair_alone_is_the_second_channel(download):
    whole, flair = LGG(str(download)).load(), LGG(str(download), sequences="flair").load()
    np.testing.assert_array_equal(flair.image, whole.image[..., 1:2])
    assert flair.info.channels == ("flair",)
    with pytest.raises(ConfigError, match="'all', 'flair', 't1'"):
        LGG(str(download), sequences="t2").load()


def test_t1_leaves_flair_out_wherever_it_stands(download):
    whole = LGG(str(download)).load()
    t1 = LGG(str(download), sequences="t1").load()
    assert t1.info.channels == ("pre_contrast", "post_contrast") and t1.groups == whole.groups
    np.testing.assert_array_equal(t1.image[..., 0], whole.image[..., 0])
    copied = whole.group == whole.groups.index(B)
    np.testing.assert_array_equal(t1.image[~copied, ..., 1], whole.image[~copied, ..., 2])
    assert not t1.image[copied, ..., 1].any()
    missing = {A: ("pre_contrast", "post_contrast"), B: ("post_contrast",)}
    fewer = lgg.t1_weighted(whole, missing)
    assert fewer.groups == (B, C) and set(fewer.group) == {0, 1}
    np.testing.assert_array_equal(fewer.mask, whole.mask[whole.group != whole.groups.index(A)])
    np.testing.assert_array_equal(
        fewer.position, whole.position[whole.group != whole.groups.index(A)]
    )
    with pytest.raises(DataError, match="FLAIR alone"):
        lgg.t1_weighted(whole, dict.fromkeys(whole.groups, ("pre_contrast", "post_contrast")))


def test_a_sequence_can_be_blacked_out(download):
    whole = LGG(str(download)).load()
    dark = whole.without(["pre_contrast"])
    assert not dark.image[..., 0].any() and whole.image[..., 0].any()
    np.testing.assert_array_equal(dark.image[..., 1:], whole.image[..., 1:])
    for wrong in (["t2"], list(whole.info.channels)):
        with pytest.raises(ConfigError, match="leave out some of pre_contrast, flair"):
            whole.without(wrong)


def test_report_names_absent_slices_and_sequences(download):
    dataset, report = LGG(str(download)).read()
    assert report.problems == ()
    assert report.missing_slices == {A: tuple(range(3, 10)), C: (3,)}
    assert report.missing_sequences == {B: ("post_contrast",)}
    # Lossy compression makes a repeated channel differ a little from the original.
    noisy = dataset.image.astype(int)
    noisy[..., 2] += np.random.default_rng(0).integers(-1, 2, noisy.shape[:-1])
    noisy = dataclasses.replace(dataset, image=noisy.clip(0, 255).astype(np.uint8))
    assert lgg.missing_sequences(noisy) == {B: ("post_contrast",)}


def _missing_mask(root):
    path = _path(root, A, 1, mask=True)
    path.unlink()
    return _path(root, A, 1), "has no mask", "add its _mask.tif"


def _missing_image(root):
    _path(root, A, 2).unlink()
    return _path(root, A, 2, mask=True), "mask without an image", "add the image"


def _small_mask(root):
    path = _path(root, A, 10, mask=True)
    Image.fromarray(_mask(1, size=12)).save(path)
    return path, "mask is 12 x 12, the images are 16 x 16", "export it"


def _small_image(root):
    path = _path(root, B, 1)
    Image.fromarray(_image(B, 1, size=8)).save(path)
    return path, "image is 8 x 8, the others are 16 x 16", "resize it"


def _truncated_image(root):
    path = _path(root, B, 2)
    path.write_bytes(path.read_bytes()[:300])
    return path, "", "copy or download it again"


def _empty_mask_file(root):
    path = _path(root, B, 3, mask=True)
    path.write_bytes(b"")
    return path, "the file is empty", "copy or download it again"


def _grey_image(root):
    path = _path(root, B, 4)
    Image.fromarray(_image(B, 4)[..., 0]).save(path)
    return path, "image has 1 channel, expected 3", "export it again"


def _grey_mask(root):
    path = _path(root, C, 1, mask=True)
    Image.fromarray(_mask(5) // 255).save(path)  # 0 and 1 would silently become an empty mask
    return path, "mask is not binary: 15 values are neither 0 nor 255, such as 1", "threshold it"


def _unnumbered(root):
    path = root / C / "scan.tif"
    path.write_bytes(b"")
    return path, "has no slice number", "name it"


def _empty_folder(root):
    path = root / "TCGA_DD_0004_19990404"
    path.mkdir()
    return path, "holds no slices", "remove the folder"


def _same_patient_again(root):
    path = root / f"{A[:12]}_20200101"
    path.mkdir()
    Image.fromarray(_image(A, 1)).save(path / f"{path.name}_1.tif")
    return path, f"is the same patient as {A}", "keep one"


FAULTS = (
    _missing_mask,
    _missing_image,
    _small_mask,
    _small_image,
    _truncated_image,
    _empty_mask_file,
    _grey_image,
    _grey_mask,
    _unnumbered,
    _empty_folder,
    _same_patient_again,
)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged headers
def test_each_fault_is_refused_with_its_fix(download, fault):
    path, what, fix = fault(download)
    with pytest.raises(DataError) as error:
        LGG(str(download)).load()
    message = str(error.value)
    assert "1 problem\n" in message and f"1. {path}: " in message
    assert what in message and fix in message and verify.SKIP_FLAG in message


@pytest.mark.filterwarnings("ignore")
def test_all_faults_are_listed_at_once_and_can_be_skipped(download):
    faults = [fault(download) for fault in FAULTS]
    with pytest.raises(DataError, match=f"{len(FAULTS)} problems") as error:
        LGG(str(download)).load()
    for path, what, fix in faults:
        assert str(path) in str(error.value) and what in str(error.value)
        assert fix in str(error.value)

    dataset, report = LGG(str(download), skip_bad=True).read()
    assert {p.path for p in report.problems} == {str(path) for path, _, _ in faults}
    assert dataset.groups == (C,) and dataset.position.tolist() == [2, 4]
    np.testing.assert_array_equal(dataset.image[0], _image(C, 2))
    assert sum(line.startswith("left out") for line in report.lines()) == len(FAULTS)


@pytest.mark.filterwarnings("ignore")
def test_both_files_of_a_pair_are_checked(download):
    for mask in (False, True):
        _path(download, A, 1, mask).write_bytes(b"not a tiff")
    with pytest.raises(DataError, match="2 problems"):
        LGG(str(download)).load()


def test_what_was_skipped_is_logged(download, caplog):
    path, what, _ = _missing_mask(download)
    LGG(str(download), skip_bad=True).load()
    assert any(str(path) in text and what in text for text in caplog.messages)


def test_folders_without_patients_are_refused(tmp_path, download):
    with pytest.raises(DataError, match="no such folder"):
        LGG(str(tmp_path / "nowhere")).load()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no patients' folders and no slices"):
        LGG(str(tmp_path / "empty"), skip_bad=True).load()
    for path in download.glob("*/*_mask.tif"):
        path.unlink()
    with pytest.raises(DataError, match="Nothing usable is left"):
        LGG(str(download), skip_bad=True).load()


def test_every_problem_is_listed_however_many():
    problems = [verify.Problem(f"file{i}", "is bad", "fix it") for i in range(50)]
    lines = verify.listing(problems).splitlines()
    assert len(lines) == 50 and lines[49] == "  50. file49: is bad; fix it"


def test_a_patient_s_folder_may_have_any_name_and_other_folders_are_passed_over(download):
    folder = sorted(download.glob("TCGA_*"))[0]
    before = len(LGG(str(download)).load().groups)
    folder.rename(download / "patient_65")
    (download / "notes").mkdir()
    (download / "notes" / "readme.txt").write_text("no slices")
    groups = LGG(str(download)).load().groups
    assert "patient_65" in groups and len(groups) == before


def test_lookup_names_the_nearest():
    assert datasets.get("LGG") is LGG is datasets.LGG
    with pytest.raises(ConfigError, match="did you mean 'LGG'.*LGG, .*Synthetic"):
        datasets.get("lggs")


def test_real_folder_reads_completely():
    root = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    root = pathlib.Path(os.environ.get("BRAINJAX_DATA", root)) / "lgg_mri_segmentation"
    folder = root / "kaggle_3m" / "TCGA_DU_7301_19911112"
    if not folder.is_dir():
        pytest.skip(f"no LGG download at {root}; name its parent folder in BRAINJAX_DATA")
    _, problems = lgg.find_slices(root)
    assert not problems
    dataset, report = LGG(str(folder)).read()
    assert dataset.image.shape == (35, 256, 256, 3) and dataset.mask.shape == (35, 256, 256, 1)
    assert dataset.position.tolist() == list(range(1, 36))
    assert 0.001 < dataset.mask.mean() < 0.1
    # The drawn abnormality is brighter on FLAIR than the same place of the other hemisphere.
    flair, mask = dataset.image[..., 1], dataset.mask[..., 0] > 0
    assert flair[mask].mean() > 1.1 * flair[mask[:, :, ::-1]].mean()
    assert report.missing_sequences == {folder.name: ("post_contrast",)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The tiny folder and its prepared copy, after a first attempt that died half-way."""
    pytest.importorskip("tensorflow_datasets", reason="preparing needs tensorflow_datasets")
    from brainjax.datasets import lgg_builder

    root = tmp_path_factory.mktemp("lgg")
    source, target = str(_write(root / "kaggle_3m")), str(root / "prepared")
    complete = lgg_builder.LggMri._generate_examples

    def dies(self, dataset):
        for row, example in complete(self, dataset):
            if row == 4:
                raise KeyboardInterrupt
            yield row, example

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lgg_builder.LggMri, "_generate_examples", dies)
        with pytest.raises(KeyboardInterrupt):
            lgg_builder.prepare(source, target)
    with pytest.raises(DataError, match="run the preparation"):
        lgg_builder.load_prepared(target)
    # A killed process cannot even clean up: its unfinished folder stays behind.
    left = pathlib.Path(target) / "lgg_mri" / "incomplete.ABC123_1.0.0"
    left.mkdir(parents=True)
    (left / "dataset_info.json").write_text("{}")
    with pytest.raises(DataError, match="interrupted"):
        lgg_builder.load_prepared(target)

    lgg_builder.prepare(source, target)
    return lgg_builder, source, target


def test_prepared_rows_are_those_of_the_folder(prepared):
    lgg_builder, source, target = prepared
    _assert_same(lgg_builder.load_prepared(target), LGG(source).load())
    _assert_same(LGG(target).load(), LGG(source).load())
    on_disk = LGG(target, in_memory=False).load()
    _assert_same(dataclasses.replace(on_disk, image=on_disk.image[:]), LGG(source).load())
    with pytest.raises(ConfigError, match="experiments.prepare"):
        LGG(source, in_memory=False).load()
    _assert_same(
        lgg_builder.load_prepared(target, sequences="flair"), LGG(source, sequences="flair").load()
    )
    _assert_same(LGG(target, sequences="t1").load(), LGG(source, sequences="t1").load())
    with pytest.raises(ConfigError, match="in_memory"):
        LGG(target, sequences="t1", in_memory=False).load()


def test_prepared_rows_are_read_at_random(prepared):
    lgg_builder, source, target = prepared
    slices, dataset = lgg_builder.data_source(target), LGG(source).load()
    for row in (7, 2, len(dataset) - 1):
        np.testing.assert_array_equal(slices[row]["image"], dataset.image[row])
        np.testing.assert_array_equal(slices[row]["mask"], dataset.mask[row])
        assert slices[row]["patient"].decode() == dataset.groups[dataset.group[row]]


def test_bad_files_stop_the_preparation_before_it_writes(prepared, download, tmp_path):
    lgg_builder, _, _ = prepared
    path, _, _ = _small_mask(download)
    with pytest.raises(DataError) as error:
        lgg_builder.prepare(str(download), str(tmp_path / "prepared"))
    assert str(path) in str(error.value)
    assert not list(tmp_path.glob("prepared/**/*.array_record*"))
    lgg_builder.prepare(str(download), str(tmp_path / "prepared"), skip_bad=True)
    assert len(lgg_builder.load_prepared(str(tmp_path / "prepared"))) == 9
