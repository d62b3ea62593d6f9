"""The benchmark's own arithmetic, its rounds, and that every suite runs, at a tiny size."""

import json
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import ROOT, clean_environment

from brainjax import models
from brainjax.types import BrainjaxError, ConfigError
from experiments.benchmarks import networks, rounds, sweep, table
from experiments.benchmarks.cases import CASES
from experiments.benchmarks.rounds import Contestant, Options


def run(*flags):
    return subprocess.run(
        [sys.executable, "-m", "experiments.benchmark", "--small", "--rounds=1", *flags],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=900,
    )


def replies(*seconds, **facts):
    return [{"seconds": s, **facts} for s in seconds]


def test_ratios_are_of_medians_and_their_spread_is_of_rounds():
    runs = {"net": {"ours": replies(1.0, 2.0, 3.0), "peer": replies(4.0, 4.0, 2.0, unit="x")}}
    found = table.summarise(runs)["net"]
    assert "ratio" not in found["ours"] and found["ours"]["seconds"] == 2.0
    peer = found["peer"]
    assert (peer["ratio"], peer["low"], peer["high"], peer["unit"]) == (0.5, 0.25, 1.5, "x")


def test_who_failed_is_in_no_column():
    runs = {"net": {"ours": replies(1.0), "peer": []}}
    summary = table.summarise(runs)
    assert list(summary["net"]) == ["ours"]
    text = table.markdown(summary, {"net peer": "failed: out of memory"})
    assert text.endswith("- net peer: failed: out of memory\n")


def test_the_table_is_markdown_with_equal_columns():
    facts = {"units": 2, "unit": "scans", "peak_bytes": 1.5e9, "first_seconds": 7.0}
    runs = {"net": {"ours": replies(0.5, **facts), "peer": replies(2.0, **facts)}}
    lines = table.markdown(table.summarise(runs), {}).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [c.strip() for c in lines[3].strip("|").split("|")]
    assert cells == ["net", "peer", "2", "7", "1.50", "1 scans", "0.25 (0.25-0.25)"]


@given(st.floats(-3, 3), st.floats(0.01, 100))
def test_a_power_law_has_its_power_as_slope(power, factor):
    x = (1.0, 2.0, 5.0, 8.0)
    assert table.slope(x, [factor * v**power for v in x]) == pytest.approx(power, abs=1e-6)


def test_the_sweep_s_figures_are_those_of_the_times():
    times = {"packed": 2.0, "alone": 6.0}
    runs = {"sweep": {n: replies(s, cpu_seconds=2 * s, units=8) for n, s in times.items()}}
    found = sweep.metrics(runs, table.summarise(runs))
    assert found["packed_over_alone"] == 3.0 and found["alone_cpu_seconds"] == 12.0
    assert found["packed_trials_per_minute"] == 240.0


def test_cases_are_chosen_by_name_part_or_pattern():
    groups = {"a_1/train": {}, "a_1/infer": {}, "a_2/train": {}, "b": {}}

    def names(*patterns):
        return list(rounds.chosen(groups, Options(cases=patterns)))

    assert names() == list(groups)
    assert names("b", "a_1") == ["a_1/train", "a_1/infer", "b"]
    assert names("a_*/train") == ["a_1/train", "a_2/train"]
    with pytest.raises(ConfigError, match="--cases=c is none of a_1/train"):
        names("c")


def test_networks_of_different_size_are_not_compared():
    same = {"ours": replies(1.0, parameters=7), "peer": replies(2.0, parameters=7)}
    rounds.check_equal("net", same)
    with pytest.raises(BrainjaxError, match="net: not one network.*ours 7, peer 8"):
        rounds.check_equal("net", {**same, "peer": replies(2.0, parameters=8)})


def test_rounds_go_on_without_who_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)

    def writes(text):
        return Contestant("pipeline:command", {"words": [sys.executable, "-c", text]})

    groups = {"g": {"good": writes("open('{brain}', 'w')"), "bad": writes("exit('no luck')")}}
    runs, failures = rounds.measure(groups, Options(rounds=2))
    assert [len(runs["g"][n]) for n in ("good", "bad")] == [2, 0]
    assert all(r["seconds"] > 0 and r["peak_bytes"] > 1e6 for r in runs["g"]["good"])
    assert list(failures) == ["g bad"] and failures["g bad"].endswith("no luck")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("]")[1].split(":")[0] for line in lines] == [
        *(" g good", " g bad"),  # first round
        *(" g bad", " g good"),  # the order has turned
    ]


def test_a_peer_is_known_and_installed_or_told_about():
    with pytest.raises(ConfigError, match="(?i)peer 'torhc'.*torch"):
        rounds.check_peers(Options(peers=("torhc",)), networks.PEERS)
    rounds.PEERS["absent"] = (("no_such_module",), "absent")
    try:
        with pytest.raises(ConfigError, match="absent is not installed.*pip install absent"):
            rounds.check_peers(Options(peers=("absent",)), ("absent",))
    finally:
        del rounds.PEERS["absent"]


def test_a_peer_that_is_not_there_is_one_line(tmp_path):
    """It is looked for first, so that nothing is measured in vain."""
    done = run(f"--workdir={tmp_path}", "--peers=keras", "--peer_python=/nowhere/python")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("error: ") and "--peer_python" in line


def test_every_case_has_ours_first_and_the_peers_that_can_build_it(monkeypatch):
    monkeypatch.setattr(networks, "native", lambda: True)
    groups = networks.cpu(Options(peers=("torch", "keras")))
    assert len(groups) == 2 * len(CASES)
    assert list(groups["unet2d_4/train"]) == [
        *("native", "portable", "torch", "torch channels_last", "torch tuned"),
        *("torch large pages", "keras", "keras large pages"),
    ]
    assert not [n for n in groups["res3d_64/infer"] if "keras" in n]
    everyone = [c for who in groups.values() for c in who.values()]
    assert all(c.env["JAX_PLATFORMS"] == "cpu" for c in everyone)
    assert groups["vgg16/infer"]["portable"].env["BRAINJAX_NATIVE"] == "0"
    bf16 = networks.gpu(Options(peers=("torch",)))["res3d_96/train/bfloat16"]
    assert {c.arguments["dtype"] for c in bf16.values()} == {"bfloat16"} and len(bf16) == 5


def parameters(case):
    model = getattr(models, case.model)(**case.fields)
    x = jax.ShapeDtypeStruct(case.shape, jnp.float32)
    made = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(made["params"]))


@pytest.mark.parametrize("name", CASES)
def test_twins_in_torch_have_as_many_parameters(name):
    pytest.importorskip("torch", reason="pip install torch torchvision: extra `bench`")
    from experiments.benchmarks import peer_torch

    case = CASES[name]
    for library in sorted({"torch", "monai"} & set(case.peers)):
        pytest.importorskip(library)
        twin = peer_torch.build(case, library, case.shape)
        assert sum(p.numel() for p in twin.parameters()) == parameters(case), library


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, c in CASES.items() if "keras" in c.peers])
def test_twins_in_keras_have_as_many_parameters(name):
    pytest.importorskip("keras", reason="pip install keras: extra `bench`")
    from experiments.benchmarks import peer_keras

    case = CASES[name]
    twin = peer_keras.build(case, case.shape[1:])
    count = sum(math.prod(v.shape) for v in twin.trainable_variables)
    assert count == parameters(case)


@pytest.mark.slow
@pytest.mark.parametrize(
    "suite, cases",
    [
        ("sweep", "sweep"),
        ("cpu", "vgg16/infer"),
        ("gpu", "vgg16/train/bfloat16"),
        ("pipeline", "strip"),
        ("input", "volumes"),
        ("augment", "slices"),
        ("synthesis", "head_synthesis"),
        ("cost", "classes,scans"),
    ],
)
def test_every_suite_runs(suite, cases, tmp_path):
    done = run(f"--suite={suite}", f"--cases={cases}", f"--workdir={tmp_path}", "--steps=1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == json.loads((tmp_path / "result.json").read_text())
    assert list(result["runs"]) == cases.split(",") and not result["failures"]
    assert (tmp_path / "table.md").read_text().splitlines()[0] in done.stdout
    for group, contestants in result["runs"].items():
        for name, (found,) in contestants.items():
            assert found["seconds"] > 0 and f"{group} {name}: " in done.stderr
            assert result["table"][group][name]["seconds"] == found["seconds"]
