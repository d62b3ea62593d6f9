"""The commands as a user types them, on whole volumes: train, resume, prepare, plan, evaluate, predict, export."""

import json

import nibabel
import numpy as np
import pytest
from test_train_cli import result_of, run
from test_volume_folders import brats

# A run on the embedded heads that takes seconds.
TINY = [
    *("--config=configs/brats.py", "--quiet", "--config.data.subjects=4", "--config.data.size=32"),
    *("--config.data.slices=32", "--config.split.test=1", "--config.split.val=1"),
    *(
        "--config.augment.patch=(16,16,16)",
        "--config.augment.p_affine=0",
        "--config.infer.lesions=0",
    ),
    *("--config.augment.p_intensity=0", "--config.augment.p_degrade=0"),
    *("--config.model.features=(4,8)", "--config.train.steps=4", "--config.train.eval_every=2"),
    "--config.train.log_every=2",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    done = run("train", *TINY, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_a_run_leaves_everything_and_a_finished_one_is_not_run_again(trained):
    workdir, done = trained
    result = result_of(done)
    assert result["dataset"] == "synthetic3d" and result["steps"] == 4
    for region in ("WT", "TC", "ET"):
        assert 0 <= result["metrics"][f"dice_{region}_volume_mean"] <= 1
    for name in ("batch", "curves", "samples", "volumes"):
        assert (workdir / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name
    again = run("train", *TINY, f"--workdir={workdir}")
    assert result_of(again)["metrics"] == result["metrics"]


def test_cases_are_segmented_on_their_own_grid_and_bad_ones_named(trained, tmp_path):
    workdir, _ = trained
    brats(tmp_path / "in", "good", leave_out=("seg",))
    brats(tmp_path / "in", "bad", leave_out=("t2",))
    done = run("predict", f"--checkpoint={workdir}", f"--workdir={tmp_path}", str(tmp_path / "in"))
    assert done.returncode == 1 and "bad_t2.nii.gz: the t2 modality is missing" in done.stderr
    assert result_of(done)["metrics"] == {"n_volumes": 1}
    found = nibabel.load(tmp_path / "good.nii.gz")
    original = nibabel.load(tmp_path / "in" / "good" / "good_t1.nii.gz")
    np.testing.assert_allclose(found.affine, original.affine)
    assert found.shape == original.shape and found.get_data_dtype() == np.uint8
    assert set(np.unique(found.dataobj)) <= {0, 1, 2, 4}
    assert (tmp_path / "good.png").is_file()


def test_prepared_planned_trained_averaged_and_exported(tmp_path):
    for i in range(4):
        brats(tmp_path / "raw", f"BraTS-GLI-0000{i}-000", 2023, 3, seed=i)
    prepared = tmp_path / "prepared"
    flags = [f"--data_dir={tmp_path / 'raw'}", f"--output={prepared}", "--plan", "--memory_gb=1"]
    done = run("prepare", "--dataset=Brats", *flags, "--spacing=1,1")
    assert done.returncode and "three along RAS+" in done.stderr
    done = run("prepare", "--dataset=Brats", *flags, "--spacing=1,1,1.25")
    assert done.returncode == 0, done.stderr
    plan = json.loads((prepared / "plan.json").read_text())
    assert plan["shape"] == [12, 15, 11] and plan["spacing"] == [1.0, 1.0, 1.25]
    gone = ("data.", "patch", "configs", "split", "features")  # the plan has its own
    flags = [f for f in TINY if not any(x in f for x in gone)]
    flags += ["--config=configs/brats.py:brats", f"--plan={prepared}"]
    flags += ["--config.train.batch_size=1", "--config.split.test=0.25", "--config.split.val=0.0"]
    done = run("train", *flags, f"--config.data.dir={prepared}", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["augment"]["patch"] == plan["patch"]
    assert config["data"]["spacing"] == plan["spacing"]
    pair = f"{tmp_path / 'run'},{tmp_path / 'run'}"
    done = run("evaluate", f"--checkpoint={pair}", "--split=test", "--lesions=panoptica")
    assert done.returncode == 0, done.stderr
    assert "lesion_rule=panoptica" in result_of(done)["protocol"]
    assert any(k.startswith("lesion_f1") for k in result_of(done)["metrics"])
    assert not any(
        k.startswith("lesion")
        for k in json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    )
    metrics = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    assert result_of(done)["metrics"]["dice_volume_mean"] == pytest.approx(
        metrics["dice_volume_mean"], abs=1e-3
    )
    done = run("export", f"--run={tmp_path / 'run'}", f"--output={tmp_path / 'released'}")
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "released" / "MODEL_CARD.md").read_text()
    assert "WT, TC, ET" in card and "patient split" in card
