"""Folders of volumes: every layout read alike, every fault named at once, results back on the file's own grid."""

import pathlib

import nibabel
import numpy as np
import pytest

from brainjax import datasets
from brainjax.datasets import volumes
from brainjax.datasets.half import storable
from brainjax.datasets.volumes import read_case
from brainjax.io import read_volume
from brainjax.preprocess.normalize import volume_stats
from brainjax.types import ConfigError, DataError

SHAPE = (20, 22, 18)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
LPS[:3, 3] = 19, 21, 0
REAL = pathlib.Path(__file__).parent.parent.parent / "shared" / "data"

NAMES = {  # of the files, by year: modality -> name
    2021: {m: f"{{}}_{m}.nii.gz" for m in ("t1", "t1ce", "t2", "flair", "seg")},
    2018: {m: f"{{}}_{m}.nii" for m in ("t1", "t1ce", "t2", "flair", "seg")},
    2023: {
        "t1": "{}-t1n.nii.gz",
        "t1ce": "{}-t1c.nii.gz",
        "t2": "{}-t2w.nii.gz",
        "flair": "{}-t2f.nii.gz",
        "seg": "{}-seg.nii.gz",
    },
}


def save(path, array, affine=LPS, dtype=np.int16):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.astype(dtype), affine), path)


def head(seed=0, channel=0):
    """A box of brain in exact zeros, [X Y Z] in RAS+ order."""
    rng = np.random.default_rng(seed)
    image = np.zeros(SHAPE)
    image[3:15, 4:19, 2:14] = rng.integers(100 * (channel + 1), 100 * (channel + 2), (12, 15, 12))
    return image


def labels(enhancing=4):
    """Nested boxes of oedema, enhancing rim and necrosis, off the middle, in RAS+ order."""
    label = np.zeros(SHAPE)
    label[4:10, 5:12, 3:9] = 2
    label[5:9, 6:11, 4:8] = enhancing
    label[6:8, 7:10, 5:7] = 1
    return label


def to_lps(array):
    return array[::-1, ::-1]


def brats(root, name, year=2021, enhancing=4, seed=0, leave_out=()):
    """A case as that year's challenge ships it."""
    for channel, (modality, pattern) in enumerate(NAMES[year].items()):
        if modality not in leave_out:
            array = labels(enhancing) if modality == "seg" else head(seed, channel)
            save(root / name / pattern.format(name), to_lps(array))


@pytest.mark.parametrize(
    "year, enhancing, name, patient",
    [
        (2018, 4, "HGG/Brats18_TCIA01_131_1", "Brats18_TCIA01_131"),
        (2021, 4, "BraTS2021_00495", "BraTS2021_00495"),
        (2021, 4, "MICCAI/BraTS20_Training_001", "BraTS20_Training_001"),
        (2023, 3, "BraTS-GLI-00012-001", "BraTS-GLI-00012"),
    ],
)
def test_every_year_is_read_alike(tmp_path, year, enhancing, name, patient):
    folder, _, case = name.rpartition("/")
    brats(tmp_path / folder, case, year, enhancing)
    data = datasets.Brats(str(tmp_path)).load()
    assert data.groups == (patient,) and data.info.spacing_mm == (1.0, 1.0, 1.0)
    # The brain's box of 12 x 15 x 12, in the middle of a grid of multiples of 8.
    assert data.image.shape == (1, 16, 16, 16, 4) and data.image.dtype == np.float16
    place = (0, slice(2, 14), slice(0, 15), slice(2, 14))
    for c in range(4):
        np.testing.assert_array_equal(data.image[place][..., c], head(0, c)[3:15, 4:19, 2:14])
    label = labels(enhancing)[3:15, 4:19, 2:14]
    for k, values in enumerate(((1, 2, enhancing), (1, enhancing), (enhancing,))):
        np.testing.assert_array_equal(data.mask[place][..., k], np.isin(label, values))
    assert data.image.astype(float).sum() == sum(head(0, c).sum() for c in range(4))
    assert data.mask.sum() == sum(np.isin(labels(), v).sum() for v in ((1, 2, 4), (1, 4), (4,)))


def test_sessions_of_a_patient_stay_together_and_modalities_keep_their_order(tmp_path):
    for i, name in enumerate(("BraTS-GLI-00012-001", "BraTS-GLI-00007-000", "BraTS-GLI-00012-000")):
        brats(tmp_path, name, 2023, 3, seed=i)
    data = datasets.Brats(str(tmp_path), modalities=("flair", "t1")).load()
    assert data.groups == ("BraTS-GLI-00007", "BraTS-GLI-00012")
    assert data.group.tolist() == [0, 1, 1] and data.position.tolist() == [0, 0, 1]
    assert [data.name(row) for row in range(3)] == [
        "BraTS-GLI-00007",
        "BraTS-GLI-00012_0",
        "BraTS-GLI-00012_1",
    ]
    assert data.info.channels == ("flair", "t1")
    means = data.image.astype(np.float32).max((1, 2, 3))
    assert ((means[:, 0] >= 400) & (means[:, 1] < 200)).all()


def test_cases_of_different_size_share_a_grid_with_air_around(tmp_path):
    brats(tmp_path, "a")
    for channel, modality in enumerate(("t1", "t1ce", "t2", "flair", "seg")):
        big = np.pad(head(1, channel) if modality != "seg" else labels(), 3, mode="edge")
        big = np.where(big == 0, -5, big) if modality == "t2" else big
        save(tmp_path / "b" / f"b_{modality}.nii.gz", to_lps(big))
    data = datasets.Brats(str(tmp_path)).load()
    assert data.image.shape[:4] == (2, 16, 16, 16)
    assert (data.image[1, 0, 0, 0] == (0, 0, -5, 0)).all() and (data.image[0, 0, 0, 0] == 0).all()


def test_what_is_missing_or_broken_is_named_all_at_once(tmp_path):
    brats(tmp_path, "good")
    brats(tmp_path, "no_t2", leave_out=("t2",))
    brats(tmp_path, "BraTS-GLI-00001-000", 2023, 3, leave_out=("t1ce", "seg"))
    brats(tmp_path, "twice")
    save(tmp_path / "twice" / "twice_t1.nii", head())
    brats(tmp_path, "small", leave_out=("flair",))
    save(tmp_path / "small" / "small_flair.nii.gz", head()[:-1])
    brats(tmp_path, "flat", leave_out=("t1",))
    save(tmp_path / "flat" / "flat_t1.nii.gz", np.full(SHAPE, 7))
    brats(tmp_path, "odd", enhancing=9)
    brats(tmp_path, "cut")
    cut = tmp_path / "cut" / "cut_t2.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-200])
    both = tmp_path / "both" / "both_seg.nii.gz"
    brats(tmp_path, "both", leave_out=("seg",))
    save(both, np.where(labels() == 1, 3, labels()))
    with pytest.raises(DataError) as error:
        datasets.Brats(str(tmp_path)).load()
    message = str(error.value)
    for part in (
        "no_t2/no_t2_t2.nii.gz: the t2 modality is missing; add this file",
        "BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1c.nii.gz: the t1ce modality is missing",
        "BraTS-GLI-00001-000/BraTS-GLI-00001-000-seg.nii.gz: has no truth",
        "twice/twice_t1.nii.gz: is a second t1 beside twice_t1.nii; remove one",
        "small/small_flair.nii.gz: is 19 x 22 x 18, the first file of its case is 20 x 22 x 18",
        "flat/flat_t1.nii.gz: is constant (7)",
        "odd/odd_seg.nii.gz: holds values other than 0, 1, 2, 3, 4, such as 9",
        "cut/cut_t2.nii.gz: ",
        "both/both_seg.nii.gz: holds both 3 and 4",
        "the 1 good examples",
    ):
        assert part in message, f"{part!r} not in\n{message}"
    assert "10 problems" not in message and "9 problems" in message
    data = datasets.Brats(str(tmp_path), skip_bad=True).load()
    assert data.groups == ("good",)


def test_a_modality_left_out_is_not_missed(tmp_path):
    brats(tmp_path, "case", leave_out=("t2", "t1"))
    data = datasets.Brats(str(tmp_path), modalities=("t1ce", "flair")).load()
    assert data.image.shape[-1] == 2
    for wrong, message in ((("t3",), "unknown modality 't3'"), (("t1", "t1"), "each once")):
        with pytest.raises(ConfigError, match=message):
            datasets.Brats(str(tmp_path), modalities=wrong).load()


def test_the_layout_of_2013(tmp_path):
    folder = tmp_path / "brats_2013_pat0001_1"
    for name, array in (
        ("Flair_subtrMeanDivStd", head(0) - 3.5),
        ("T1c_subtrMeanDivStd", head(1) - 3.5),
        ("brainmask", head() > 0),
    ):
        save(folder / f"{name}.nii.gz", to_lps(array), dtype=np.float32)
    label = np.where(labels() == 1, 3, labels())  # not enhancing
    label[6, 7, 5] = 1
    save(folder / "OTMultiClass.nii.gz", to_lps(label), dtype=np.float32)
    data = datasets.Brats2013(str(tmp_path)).load()
    assert data.info.channels == ("flair", "t1ce")
    assert data.mask.sum((0, 1, 2, 3)).tolist() == [6 * 7 * 6, 4 * 5 * 4, 4 * 5 * 4 - 2 * 3 * 2]
    with pytest.raises(DataError, match="T1_subtrMeanDivStd.nii.gz: the t1 modality is missing"):
        datasets.Brats2013(str(tmp_path), modalities=("t1", "flair")).load()


def test_without_truth_only_for_prediction(tmp_path):
    brats(tmp_path, "case", leave_out=("seg",))
    with pytest.raises(DataError, match="case_seg.nii.gz: has no truth"):
        datasets.Brats(str(tmp_path)).load()
    data = datasets.Brats(str(tmp_path), labelled=False).load()
    assert data.mask.shape == (1, 16, 16, 16, 3) and not data.mask.any()


def test_intensities_beyond_float16_are_halved_until_they_fit(tmp_path):
    save(tmp_path / "a.nii", head() * 1000, dtype=np.float32)
    save(tmp_path / "a_mask.nii", labels() > 0)
    data = datasets.ImagePairs(str(tmp_path)).load()
    assert np.isfinite(data.image).all()
    ratio = data.image.astype(np.float64).max() / (head().max() * 1000)
    assert np.log2(ratio) == pytest.approx(round(np.log2(ratio)), abs=1e-3) and ratio < 1


@pytest.mark.parametrize("spacing", [0.0, 1.5])
@pytest.mark.parametrize("low, step", [(0, 1e-9), (1e5, 1), (-1e5, 1e-1), (3e37, 1e35)])
def test_a_scan_that_float16_is_too_coarse_for_is_given_another_unit(tmp_path, low, step, spacing):
    grey = head() - 100.0  # 0 to 99 in the brain, -100 around it
    save(tmp_path / "usual" / "a.nii", grey, dtype=np.float32)
    save(tmp_path / "odd" / "a.nii", low + grey * step, dtype=np.float32)
    images = []
    for name in ("usual", "odd"):
        save(tmp_path / name / "a_mask.nii", labels() > 0)
        data = datasets.ImagePairs(str(tmp_path / name), spacing=spacing).load()
        images.append([volume_stats(data.image, method) for method in ("zscore", "percentile")])
        images[-1] = [(data.image.astype(np.float64) - m) * s for m, s in images[-1]]
    for usual, odd in zip(*images, strict=True):
        assert np.isfinite(odd).all()
        np.testing.assert_allclose(odd, usual, atol=0.02)
    assert len(np.unique(odd)) >= 100


def test_a_brain_far_from_0_in_zeros_keeps_its_greys():
    data = np.zeros((12, 12, 12))
    data[2:-2, 2:-2, 2:-2] = 1e5 + np.arange(512).reshape(8, 8, 8) % 151
    stored = storable(data).astype(np.float16).astype(np.float64)
    assert len(np.unique(stored)) == 152 and stored.min() == stored[0, 0, 0]
    assert (
        np.corrcoef(stored[2:-2, 2:-2, 2:-2].ravel(), data[2:-2, 2:-2, 2:-2].ravel())[0, 1] > 0.9999
    )


@pytest.mark.parametrize("scale", [1, 30, 0.01])
def test_numbers_that_float16_holds_stay(scale):
    np.testing.assert_array_equal(storable(head() * scale), (head() * scale).astype(np.float32))
    mask = (head() > 0).astype(np.uint8)
    np.testing.assert_array_equal(storable(mask), mask)


def nfbs(root, name, leave_out=()):
    for end, array in (("", head()), ("_brainmask", head() > 0), ("_brain", head())):
        if end not in leave_out:
            path = root / "NFBS_Dataset" / name / f"sub-{name}_ses-NFB3_T1w{end}.nii.gz"
            save(path, to_lps(array), dtype=np.float32)


def test_nfbs_as_distributed(tmp_path):
    for name in ("A00028185", "A00028352"):
        nfbs(tmp_path, name)
    for directory in (tmp_path, tmp_path / "NFBS_Dataset"):
        data = datasets.NFBS(str(directory)).load()
        assert data.groups == ("A00028185", "A00028352")
        assert data.info.classes == ("brain",) and data.mask.sum() == 2 * 12 * 15 * 12
    nfbs(tmp_path, "A1", leave_out=("_brainmask",))
    nfbs(tmp_path, "A2", leave_out=("",))
    with pytest.raises(DataError) as error:
        datasets.NFBS(str(tmp_path)).load()
    assert "has no brain mask; add sub-A1_ses-NFB3_T1w_brainmask.nii.gz" in str(error.value)
    assert "is a mask without an image" in str(error.value)


def test_pairs_in_two_folders_or_side_by_side(tmp_path):
    for name in ("anna", "site/berta"):
        save(tmp_path / "one" / "images" / f"{name}.nii.gz", head())
        save(tmp_path / "one" / "masks" / f"{name}.nii.gz", labels() > 0)
        save(tmp_path / "two" / f"{name}.nii", head())
        save(tmp_path / "two" / f"{name}_mask.nii", labels() > 0)
        save(tmp_path / "three" / "imagesTr" / f"{name}_0000.nii.gz", head())
        save(tmp_path / "three" / "labelsTr" / f"{name}.nii.gz", labels() > 0)
    loaded = [datasets.ImagePairs(str(tmp_path / n)).load() for n in ("one", "two", "three")]
    for data in loaded:
        assert data.groups == ("anna", "site/berta")
        np.testing.assert_array_equal(data.mask, loaded[0].mask)
        np.testing.assert_array_equal(data.image, loaded[0].image)
    save(tmp_path / "one" / "images" / "carla.nii.gz", head())
    with pytest.raises(DataError, match=r"carla.nii.gz: has no mask; add .*masks/carla.nii.gz"):
        datasets.ImagePairs(str(tmp_path / "one")).load()


@pytest.mark.parametrize("second", ["anna.nii", "anna_0000.nii.gz", "anna_seg.nii.gz"])
def test_two_files_of_one_name_make_no_case(tmp_path, second):
    for name in ("anna", "berta"):
        save(tmp_path / f"{name}.nii.gz", head())
        save(tmp_path / f"{name}_mask.nii.gz", labels() > 0)
    save(tmp_path / second, labels() > 0)
    with pytest.raises(DataError, match="is a second (image|mask) of anna; keep one of the two"):
        datasets.ImagePairs(str(tmp_path)).load()
    assert datasets.ImagePairs(str(tmp_path), skip_bad=True).load().groups == ("berta",)


@pytest.mark.parametrize("kind", ["Brats", "NFBS", "ImagePairs"])
def test_links_to_folders_are_followed(tmp_path, kind):
    real = tmp_path / "real"
    if kind == "Brats":
        brats(real, "case")
    elif kind == "NFBS":
        nfbs(real, "A1")
    else:
        save(real / "a.nii", head())
        save(real / "a_mask.nii", labels() > 0)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "there").symlink_to(real, target_is_directory=True)
    cases, problems = datasets.get(kind)(str(tmp_path / "linked")).find()
    assert len(cases) == 1 and not problems


def test_labels_as_classes(tmp_path):
    save(tmp_path / "a.nii", head())
    save(tmp_path / "a_seg.nii", labels())
    data = datasets.ImagePairs(str(tmp_path), labels=(1, 4)).read
    with pytest.raises(DataError, match=r"other than 0, 1, 4, such as 2; name all"):
        data()
    data = datasets.ImagePairs(str(tmp_path), labels=(2, 1, 4)).load()
    assert data.info.classes == ("label 2", "label 1", "label 4")
    assert data.mask.sum((0, 1, 2, 3)).tolist() == [(labels() == v).sum() for v in (2, 1, 4)]


def test_voxel_sizes_must_agree_or_be_resampled(tmp_path):
    save(tmp_path / "a.nii", head(), np.diag([1.0, 1, 1, 1]))
    save(tmp_path / "a_mask.nii", labels() > 0, np.diag([1.0, 1, 1, 1]))
    for name in ("b", "c"):
        save(tmp_path / f"{name}.nii", head(), np.diag([2.0, 2, 3, 1]))
        save(tmp_path / f"{name}_mask.nii", labels() > 0, np.diag([2.0, 2, 3, 1]))
    with pytest.raises(
        DataError, match=r"a.nii: has voxels of 1 x 1 x 1 mm, the others of 2 x 2 x 3"
    ):
        datasets.ImagePairs(str(tmp_path)).load()
    data = datasets.ImagePairs(str(tmp_path), spacing=2.0).load()
    assert data.info.spacing_mm == (2.0, 2.0, 2.0)
    volume = data.mask.sum((1, 2, 3, 4)) * 8.0
    assert volume[0] == pytest.approx((labels() > 0).sum(), rel=0.25)
    assert volume[1] == pytest.approx((labels() > 0).sum() * 12, rel=0.15)
    thick = datasets.ImagePairs(str(tmp_path), spacing=(2.0, 2.0, 3.0)).load()
    assert thick.info.spacing_mm == (2.0, 2.0, 3.0)
    np.testing.assert_array_equal(thick.mask[1].sum(), (labels() > 0).sum())  # as in the file
    with pytest.raises(ConfigError, match="one number of mm, or three"):
        datasets.ImagePairs(str(tmp_path), spacing=(2.0, 2.0)).load()


@pytest.mark.parametrize("spacing", [0.0, 1.5, (1.5, 0.8, 1.2)])
def test_a_prediction_goes_back_to_the_grid_of_the_file(tmp_path, spacing):
    brats(tmp_path, "case")
    reader = datasets.Brats(str(tmp_path), spacing=spacing)
    (case,), _ = reader.find()
    loaded = read_case(reader, case)
    back = loaded.native(loaded.mask[..., 0].astype(bool))
    original = read_volume(case.truth)
    np.testing.assert_allclose(back.affine, original.affine)
    assert back.data.dtype == np.uint8 and back.header is not None
    truth = original.data > 0
    dice = 2 * (back.data & truth).sum() / (back.data.sum() + truth.sum())
    assert dice == 1.0 if not spacing else dice > 0.85


def test_prepared_rows_are_those_of_the_folder(tmp_path):
    builder = pytest.importorskip("brainjax.datasets.volumes_builder")
    source, output = tmp_path / "source", tmp_path / "prepared"
    for i, name in enumerate(("BraTS-GLI-00012-001", "BraTS-GLI-00007-000", "BraTS-GLI-00012-000")):
        brats(source, name, 2023, 3, seed=i)
    brats(source, "BraTS-GLI-00099-000", 2023, 3, leave_out=("t1",))
    with pytest.raises(DataError, match="the t1 modality is missing"):
        builder.prepare("Brats", str(source), str(output))
    with pytest.raises(DataError, match="only an interrupted|nothing prepared"):
        builder.data_source("Brats", str(output))
    builder.prepare("Brats", str(source), str(output), skip_bad=True)
    expected = datasets.Brats(str(source), skip_bad=True).load()
    for in_memory in (True, False):
        found = datasets.Brats(str(output), in_memory=in_memory).load()
        assert found.info == expected.info and found.groups == expected.groups
        for field in ("mask", "group", "position"):
            np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
        np.testing.assert_array_equal(np.asarray(found.image), expected.image)
        assert isinstance(found.image, np.ndarray) == in_memory
    picked = datasets.Brats(str(output), modalities=("flair", "t1"), in_memory=False).load()
    np.testing.assert_array_equal(
        picked.image[np.array([2, 0])], expected.image[[2, 0]][..., [3, 0]]
    )
    with pytest.raises(ConfigError, match="prepare it again with --spacing=2$"):
        datasets.Brats(str(output), spacing=2.0).load()
    with pytest.raises(ConfigError, match="prepare it again with --spacing=1,1,5$"):
        datasets.Brats(str(output), spacing=(1.0, 1.0, 5.0)).load()
    with pytest.raises(ConfigError, match="read from disk only once prepared"):
        datasets.Brats(str(source), in_memory=False).load()


def test_pairs_with_labels_are_prepared_too(tmp_path):
    builder = pytest.importorskip("brainjax.datasets.volumes_builder")
    for name in ("a", "b"):
        save(tmp_path / "in" / f"{name}.nii", head())
        save(tmp_path / "in" / f"{name}_seg.nii", labels())
    source, output, values = str(tmp_path / "in"), str(tmp_path / "out"), (1, 2, 4)
    builder.prepare("ImagePairs", source, output, labels=values, spacing=2.0)
    found = datasets.ImagePairs(output, labels=values).load()
    expected = datasets.ImagePairs(source, labels=values, spacing=2.0).load()
    np.testing.assert_array_equal(found.mask, expected.mask)
    assert found.info == expected.info
    seen = builder.fingerprint("ImagePairs", output)
    assert seen.classes == 3 and len(seen.shapes) == 2 and seen.spacings[0] == [2.0, 2.0, 2.0]
    with pytest.raises(ConfigError, match="prepared with 3 classes, the options ask for mask"):
        datasets.ImagePairs(output).load()
    with pytest.raises(DataError, match="prepared from other files"):
        builder.prepare("ImagePairs", source, output, labels=(1, 2, 4), spacing=1.0)


@pytest.mark.parametrize("name", ["Brats", "NFBS", "ImagePairs"])
def test_a_folder_of_something_else_says_what_is_expected(tmp_path, name):
    make = datasets.get(name)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match="--config.data.dir or --data_dir|put them into images/"):
        make(str(tmp_path)).load()
    with pytest.raises(DataError, match="no such folder"):
        make(str(tmp_path / "nowhere")).load()


def test_labels_stored_as_floats_a_little_off_are_labels():
    label = np.array([[[0.0, 0.99999997, 2.0]]])
    assert volumes.whole_labels(label, (0, 1, 2), "").tolist() == [[[0, 1, 2]]]
    for odd in (0.5, -1.0, 300.0, np.float32(3)):
        with pytest.raises(DataError, match="values other than 0, 1, 2"):
            volumes.whole_labels(np.array([[[odd]]]), (0, 1, 2), "")


def test_the_two_real_patients_of_2013():
    if not (REAL / "brats_2013").is_dir():
        pytest.skip("../shared/data/brats_2013 is not there")
    data = datasets.Brats2013(str(REAL / "brats_2013")).load()
    assert len(data) == 2 and data.info.spacing_mm == (1.0, 1.0, 1.0)
    counts = data.mask.sum((1, 2, 3), dtype=np.int64)
    assert (np.diff(counts, axis=1) < 0).all() and (counts[:, 2] > 10_000).all()
    flair = data.image[0, ..., 0].astype(np.float32)
    assert flair[data.mask[0, ..., 0] > 0].mean() > flair[flair > flair.min()].mean() + 0.5
