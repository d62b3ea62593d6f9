"""The benchmark's own arithmetic, its rounds, and that every suite runs, at a tiny size."""

import dataclasses
import json
import math
import pathlib
import subprocess
import sys
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import ROOT, clean_environment

from brainjax import models
from brainjax.types import BrainjaxError, ConfigError
from experiments.benchmarks import child, networks, ours, rounds, sweep, table
from experiments.benchmarks.cases import CASES, Case
from experiments.benchmarks.rounds import Contestant, Options
from experiments.benchmarks.store import Store, read


def run(*flags):
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "experiments.benchmark",
            "--small",
            "--rounds=1",
            "--peers=",
            *flags,
        ],
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
    assert cells == ["net", "peer", "2", "", "7", "", "1.50", "1 scans", "0.25 (0.25-0.25)"]


def test_device_memory_stands_beside_the_process_s_and_compiling_beside_the_first_step():
    facts = {"first_seconds": 7.0, "compile_seconds": 5.0, "device_bytes": 3e9, "peak_bytes": 1e9}
    text = table.markdown(table.summarise({"net": {"ours": replies(1.0, **facts)}}), {})
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()]
    told = dict(zip(cells[0], cells[2], strict=True))
    assert told["compile s"] == "5" and told["first s"] == "7"
    assert told["device GB"] == "3.00" and told["RSS GB"] == "1.00"


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
    nobody = {"sweep": dict.fromkeys(times, [])}
    assert sweep.metrics(nobody, table.summarise(nobody)) == {}


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


def script(text):
    """A contestant that is this program."""
    return Contestant("pipeline:command", {"words": [sys.executable, "-c", text]})


def measured(groups, options, **others):
    store = Store(groups, options, others)
    left = {group: who for group, who in groups.items() if group not in store.runs}
    rounds.measure(left, options, store.put)
    return store


@pytest.fixture
def at_root(monkeypatch):
    """Children find the benchmarks, and use the CPU of this machine as it is."""
    monkeypatch.chdir(ROOT)


def test_rounds_go_on_without_who_fails(at_root, capsys):
    groups = {"g": {"good": script("open('{brain}', 'w')"), "bad": script("exit('no luck')")}}
    store = measured(groups, Options(rounds=2))
    runs, failures = store.runs, store.failures
    assert [len(runs["g"][n]) for n in ("good", "bad")] == [2, 0]
    assert all(r["seconds"] > 0 and r["peak_bytes"] > 1e6 for r in runs["g"]["good"])
    assert list(failures) == ["g bad"] and failures["g bad"].endswith("no luck")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("]")[1].split(":")[0] for line in lines] == [
        *(" g good", " g bad"),  # first round
        *(" g bad", " g good"),  # the order has turned
    ]


def test_a_command_is_charged_for_its_last_run_alone(at_root, tmp_path):
    """What an earlier one took, which filled the cache, is not counted again."""
    text = (
        f"import pathlib, time; seen = pathlib.Path({str(tmp_path / 'seen')!r})\n"
        "if not seen.exists():\n"
        "    seen.touch(); held = bytearray(300_000_000); begun = time.process_time()\n"
        "    while time.process_time() - begun < 1: pass\n"
        "open('{brain}', 'w')"
    )
    who = script(text)
    found = rounds.call(
        dataclasses.replace(who, arguments={**who.arguments, "again": True}), Options()
    )
    assert found["peak_bytes"] < 200e6 and found["cpu_seconds"] < 0.9


def runs(pid):
    """Whether the process is neither gone nor a zombie, which nobody has waited for yet."""
    try:
        return "zombie" not in pathlib.Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the latter: gone while being read
        return False


def test_a_contestant_has_so_long_and_leaves_nobody_behind(at_root, tmp_path):
    """The grandchild holds the pipe open: waiting for its end would be for ever."""
    pid = tmp_path / "pid"
    text = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    begun = time.perf_counter()
    with pytest.raises(BrainjaxError, match="no reply after 5 s; raise --timeout"):
        rounds.call(script(text), Options(timeout=5))
    assert time.perf_counter() - begun < 60
    # It was sent its end with its parent, but is not ours to wait for: give it time to go.
    until = time.perf_counter() + 30
    while runs(pid.read_text()) and time.perf_counter() < until:
        time.sleep(0.05)
    assert not runs(pid.read_text())


def test_a_reply_is_found_among_what_libraries_print():
    reply = '{"peak_bytes": 1, "seconds": 2.0}'
    assert rounds._reply(f"hello\n{reply}\n[1]\nbye\n") == {"peak_bytes": 1, "seconds": 2.0}
    with pytest.raises(BrainjaxError, match="gave no reply, but ended with 'bye'"):
        rounds._reply("hello\nbye\n")
    with pytest.raises(BrainjaxError, match="gave no reply"):
        rounds._reply("")


def test_a_group_of_different_networks_is_a_failure_and_not_the_end(monkeypatch):
    monkeypatch.setattr(
        rounds, "call", lambda who, options: replies(1.0, parameters=int(who.call))[0]
    )
    groups = {
        "a": {"ours": Contestant("7"), "peer": Contestant("8")},
        "b": {"ours": Contestant("7")},
    }
    store = measured(groups, Options(rounds=2))
    assert list(store.failures) == ["a"] and "ours 7, peer 8" in store.failures["a"]
    assert store.runs["a"] == {"ours": [], "peer": []} and len(store.runs["b"]["ours"]) == 2


def test_what_is_measured_is_kept_until_something_about_it_changes(monkeypatch):
    called = []

    def call(who, options):
        called.append(who.call)
        if who.call == "bad":
            raise BrainjaxError("no luck")
        return replies(float(len(called)))[0]

    monkeypatch.setattr(rounds, "call", call)
    groups = {"a": {"x": Contestant("x"), "y": Contestant("bad")}, "b": {"x": Contestant("z")}}
    options = Options(rounds=1)
    first = measured({"b": groups["b"]}, options)
    assert called == ["z"]

    def kept(store):
        return json.loads(json.dumps({k: getattr(store, k) for k in ("runs", "failures", "keys")}))

    both = measured(groups, options, **kept(first))
    assert called == ["z", "x", "bad"] and list(both.runs) == ["a", "b"]
    assert both.runs["b"] == first.runs["b"]
    assert measured(groups, options, **kept(both)).failures == {"a y": "no luck"}
    assert len(called) == 3
    other = {**groups, "a": {"x": Contestant("x", {"steps": 2})}}
    changed = measured(other, options, **kept(both))
    assert called[3:] == ["x"] and not changed.failures
    measured(groups, Options(rounds=2), **kept(both))
    assert len(called) == 4 + 5  # two rounds of all but who fails, which has one


def test_a_benchmark_goes_on_where_it_was_stopped(tmp_path):
    """Its files are there after every group, and a second run measures what is left."""
    flags = ("--suite=cost", "--cases=scans", f"--workdir={tmp_path}")
    first = run(*flags)
    assert first.returncode == 0, first.stderr
    again = run(*flags)
    assert again.returncode == 0 and "1 of 1 groups" in again.stderr and "[1/" not in again.stderr
    before, after = (json.loads(d.stdout.splitlines()[-1]) for d in (first, again))
    assert after["runs"] == before["runs"] and after["table"] == before["table"]


def test_a_result_that_is_none_is_nothing(tmp_path):
    path = tmp_path / "result.json"
    assert read(path) == {}
    for text in ("{", "[]", '{"task": "sweep", "runs": {}}'):
        path.write_text(text)
        assert read(path) == {}


def test_a_peer_is_known_and_installed_or_told_about(monkeypatch):
    with pytest.raises(ConfigError, match="(?i)peer 'torhc'.*torch"):
        rounds.check_peers(Options(peers=("torhc",)), networks.PEERS)
    monkeypatch.setitem(rounds.PEERS, "absent", (("no_such_module",), "absent"))
    monkeypatch.setitem(rounds.PEERS, "present", (("json",), "python"))
    with pytest.raises(ConfigError, match="absent is not installed.*pip install absent"):
        rounds.check_peers(Options(peers=("absent",)), ("absent",))
    assert rounds.installed(Options(), ("absent", "present")) == ("present",)
    # Keras is nothing without the library that computes for it.
    monkeypatch.setitem(rounds.PEERS, "keras", (("json",), "keras"))
    for backend, there in (("json", ("keras",)), ("no_such_module", ())):
        assert rounds.installed(Options(other={"keras_backend": backend}), ("keras",)) == there


def test_a_peer_that_is_not_there_is_one_line(tmp_path):
    """It is looked for first, so that nothing is measured in vain."""
    done = run(f"--workdir={tmp_path}", "--peers=keras", "--peer_python=/nowhere/python")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("error: ") and "--peer_python" in line


def test_figures_of_a_cpu_are_in_no_table_of_gpus(monkeypatch, capsys):
    sees = {"ours:platform": {"platform": "cpu"}, "peer_torch:gpu": {"gpu": True}}
    sees["peer_keras:gpu"] = {"gpu": False}
    monkeypatch.setattr(rounds, "call", lambda who, options: sees[who.call])
    options = Options(peers=("torch", "keras"), other={"keras_backend": "tensorflow"})
    with pytest.raises(ConfigError, match=r"JAX runs on cpu here; install jax\[cuda\]"):
        networks.gpu(options)
    assert networks.gpu(dataclasses.replace(options, small=True))
    sees["ours:platform"] = {"platform": "gpu"}
    found = networks.gpu(options)["unet2d_4/train/float32"]
    assert "torch" in found and "keras" not in found
    assert "keras on tensorflow sees no GPU" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="--peers: keras on tensorflow sees no GPU"):
        networks.gpu(dataclasses.replace(options, named=True))


@pytest.mark.slow
def test_the_suites_groups_are_made_without_opening_a_device(tmp_path):
    """A parent that held a GPU would take its memory from every contestant."""
    text = (
        "from experiments.benchmarks import networks, pipeline; from jax._src import xla_bridge\n"
        "from experiments.benchmarks.rounds import Options\n"
        f"pipeline.groups(Options(small=True, other={{'head': '', 'workdir': {str(tmp_path)!r}}}))\n"
        "assert 'portable' in networks.cpu(Options())['vgg16/infer']\n"
        "assert not xla_bridge.backends_are_initialized()"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, env=clean_environment(), capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "head.nii.gz").stat().st_size > 1000


def test_memory_is_told_where_the_system_does_not_tell_its_peak(tmp_path, monkeypatch):
    status = tmp_path / "status"
    status.write_text("Name: python\n")
    monkeypatch.setattr(child.pathlib, "Path", lambda path: status)
    assert child.peak_bytes() > 1e6


class Shapeless(nn.Module):
    """A network of one product, that counts how often it is traced."""

    num_classes: int = 1
    dtype: str = "float32"

    traced = []

    @nn.compact
    def __call__(self, x, *, train):
        self.traced.append(train)
        return nn.Dense(self.num_classes)(x)


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_the_first_step_is_charged_for_tracing_and_compiling(mode, monkeypatch):
    case = Case("Shapeless", {"num_classes": 1}, (2, 4, 4, 3), (), (2, 4, 4, 3))
    monkeypatch.setitem(CASES, "tiny", case)
    monkeypatch.setattr(models, "Shapeless", Shapeless, raising=False)
    timed, seen = child.timed, []

    def watched(*arguments):
        seen.append(len(Shapeless.traced))
        found = timed(*arguments)
        seen.append(len(Shapeless.traced))
        return found

    monkeypatch.setattr(ours.child, "timed", watched)
    Shapeless.traced.clear()
    found = ours.network("tiny", mode, 1)
    assert seen == [1, 2]  # for the shapes of its parameters, and once in what is timed
    assert 0 < found["compile_seconds"] < found["first_seconds"]
    assert found["flops"] > 2 * 2 * 16 * 3


def test_a_plugin_that_counts_nothing_leaves_operations_to_the_cpu_or_out(monkeypatch):
    x = jnp.ones((4, 4))
    double = jax.jit(lambda x: x @ x)
    (flops,) = ours.operations(double, x).values()
    assert flops == pytest.approx(2 * 4**3)
    places = []

    def plugin(backend=None):
        places.append(jax.config.jax_default_device)
        return True

    monkeypatch.setattr(jax._src.xla_bridge, "using_pjrt_c_api", plugin)
    assert ours.operations(double, x) == {}
    assert places[0].platform == "cpu"  # where it was asked for, and would have been given
    facts = {"vgg16/infer/float32": {"brainjax": replies(1.0, units=1)}}
    assert networks.metrics(facts, table.summarise(facts)) == {}
    monkeypatch.setattr(jax, "local_devices", lambda backend: (_ for _ in ()).throw(RuntimeError))
    assert ours.operations(double, x) == {}


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
    bf16 = networks.gpu(Options(peers=("torch",), small=True))["res3d_96/train/bfloat16"]
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
