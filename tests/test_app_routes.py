"""The viewer's server, asked as a browser would and as it should not."""

import errno
import gzip
import json
import re

import numpy as np
import pytest
import viewing

from brainjax.app import uploads
from brainjax.app.jobs import Job, Jobs
from brainjax.app.options import Options
from brainjax.app.sessions import Sessions
from brainjax.io import read_volume
from brainjax.types import DataError

pytest.importorskip("dash", reason="the viewer's page needs dash: pip install 'brainjax[app]'")

from brainjax.app import guard  # noqa: E402
from brainjax.app.server import build  # noqa: E402

NOT = "requests from other sites"


@pytest.fixture(scope="module")
def offered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("offered") / "ann"
    folder.mkdir()
    viewing.files(folder)
    return folder


@pytest.fixture(scope="module")
def running(offered):
    sessions = Sessions(idle_s=100, most=50)
    jobs = Jobs(viewing.MadeUp)
    options = Options(scans=(offered,), upload_mib=0.5, unpacked_mib=1, names=("scans.example",))
    app = build(options, sessions, jobs)
    yield app, sessions, jobs
    jobs.close()
    sessions.close()


@pytest.fixture
def client(running):
    return running[0].server.test_client()


@pytest.fixture
def session(running):
    return running[1].create()


@pytest.fixture
def batch(client, session):
    """A batch of files that has begun."""
    return client.post(f"/api/{session.id}/batch").get_json()["batch"]


def upload(client, session, batch, path, name=None):
    return client.post(
        f"/api/{session.id}/upload/{batch}",
        data=path.read_bytes() if hasattr(path, "read_bytes") else path,
        headers={"X-Name": name or path.name},
    )


def opened(client, session, batch):
    return client.post(f"/api/{session.id}/open/{batch}")


def test_the_page_and_all_it_needs_come_from_here(client):
    page = client.get("/").get_data(as_text=True)
    assert "http://" not in page and "https://" not in page and "//cdn" not in page
    assets = [line.split('"')[1] for line in page.split("src=")[1:]]
    assert any("viewer.js" in src for src in assets)
    for src in assets:
        assert src.startswith("/") and client.get(src).status_code == 200
    assert "Research use only" in client.get("/_dash-layout").get_data(as_text=True)


def test_every_answer_forbids_other_hosts(client):
    policy = client.get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy and "http" not in policy


def test_nothing_of_a_scan_is_kept_by_the_browser(client, session):
    view = session.open(viewing.scan())
    for path in (f"/api/{session.id}", f"/api/{session.id}/slice/{view.token}/t1/axial/3"):
        answer = client.get(path)
        assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8050"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[x"},
        {"Origin": "http://localhost:9999"},  # another server on this machine
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("method, path", [("post", "/api/sessions"), ("get", "/_dash-layout")])
def test_other_sites_are_not_answered(client, headers, method, path):
    assert getattr(client, method)(path, headers=headers).status_code == 403


def test_a_link_from_elsewhere_may_open_the_page_and_nothing_else(client):
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/_dash-layout", headers=link).status_code == 403
    assert client.post("/api/sessions", headers=link).status_code == 403


@pytest.mark.parametrize(
    "host, fine",
    [
        ("localhost", True),
        ("LOCALHOST:8050", True),
        ("127.0.0.1:1", True),
        ("[::1]:8050", True),
        ("10.1.2.3", True),
        ("scans.example", True),
        ("", False),
        ("example.scans", False),
        ("[::1", False),
        ("127.0.0.1@evil.example", False),
    ],
)
def test_names_under_which_the_server_answers(host, fine):
    assert guard.known(host, {"localhost", "scans.example"}) == fine


def test_a_scan_is_uploaded_opened_and_cut(client, session, batch, tmp_path):
    for path in viewing.files(tmp_path):
        assert upload(client, session, batch, path).status_code == 200
    view = opened(client, session, batch).get_json()
    assert [v["label"] for v in view["volumes"]] == ["T1", "FLAIR"] and view["name"] == "patient"
    assert not list(session.folder.iterdir())  # what is open lies on no disk
    cut = client.get(f"/api/{session.id}/slice/{view['token']}/flair/coronal/5")
    assert cut.status_code == 200
    assert len(cut.data) == 2 * view["shape"][0] * view["shape"][2]
    assert client.get(f"/api/{session.id}").get_json()["view"] == view


@pytest.mark.parametrize(
    "path, code",
    [
        ("{0}/slice/{1}/t1/axial/9999", 404),
        ("{0}/slice/{1}/t9/axial/1", 404),
        ("{0}/slice/{1}/t1/oblique/1", 404),
        ("{0}/slice/{1}/t1/axial/-1", 404),
        ("{0}/slice/{1}/..%2F..%2Fetc/axial/1", 404),
        ("{0}/slice/old/t1/axial/1", 409),
        ("{0}/result/brain.nii.gz", 404),  # before the pipeline ran
        ("{0}/result/..%2F..%2Fetc%2Fpasswd", 404),
        ("nobody/slice/{1}/t1/axial/1", 404),
        ("nobody", 404),
    ],
)
def test_what_is_not_there_is_not_there(client, session, path, code):
    token = session.open(viewing.scan()).token
    assert client.get(f"/api/{path.format(session.id, token)}").status_code == code


def test_offered_scans_are_named_by_number_alone(client, session):
    view = client.post(f"/api/{session.id}/offered/0").get_json()
    assert view["name"] == "ann" and len(view["volumes"]) == 2
    for index in ("1", "-1", "..", "0x0"):
        assert client.post(f"/api/{session.id}/offered/{index}").status_code == 404


def test_pictures_are_not_offered(running, tmp_path):
    (tmp_path / "x.png").write_bytes(b"a picture")
    with pytest.raises(DataError, match="x.png: .* brainjax analyze"):
        build(Options(scans=(tmp_path / "x.png",)), *running[1:])


def test_sessions_see_their_own_alone(client, running):
    one, two = running[1].create(), running[1].create()
    token = one.open(viewing.scan()).token
    two.open(viewing.scan(name="other"))
    assert client.get(f"/api/{two.id}").get_json()["view"]["name"] == "other"
    assert client.get(f"/api/{two.id}/slice/{token}/t1/axial/1").status_code == 409


@pytest.mark.parametrize(
    "data, code, words",
    [  # no time in the archives: tests are named by these bytes, and every worker must find the same names
        (bytes(700_000), 413, "larger than 0.5 MiB"),
        (gzip.compress(bytes(4 * 2**20), mtime=0), 413, "unpacks to more"),
        (gzip.compress(b"a scan" * 99, mtime=0)[:-9], 422, "bad.nii.gz: truncated"),
        (b"", 422, "empty"),
    ],
)
def test_bad_uploads_are_refused_in_one_line(client, session, batch, data, code, words):
    answer = upload(client, session, batch, data, "bad.nii.gz")
    said = answer.get_json()["error"]
    assert answer.status_code == code and words in said and "\n" not in said
    assert not list(session.folder.iterdir())
    assert opened(client, session, batch).status_code == 422


def test_what_is_no_scan_is_told_by_the_users_name(client, session, batch):
    assert upload(client, session, batch, b"hello" * 200, "notes%20%3Cb%3E.nii").status_code == 200
    said = opened(client, session, batch).get_json()["error"]
    assert said.startswith("notes <b>.nii: ") and "/tmp" not in said
    assert not list(session.folder.iterdir())


def test_a_bad_file_leaves_the_scan_before_it_open(client, session, batch):
    token = session.open(viewing.scan()).token
    upload(client, session, batch, b"hello" * 200, "notes.nii")
    assert opened(client, session, batch).status_code == 422
    assert session.view.token == token


def test_no_more_files_than_contrasts(client, session, batch, tmp_path):
    path = viewing.files(tmp_path)[0]
    codes = [upload(client, session, batch, path).status_code for _ in range(5)]
    assert codes == [200] * 4 + [413] and not list(session.folder.iterdir())


def test_one_file_at_a_time_comes_in(client, session, batch, tmp_path):
    path = viewing.files(tmp_path)[0]
    with session.receiving:
        assert upload(client, session, batch, path).status_code == 422
    assert upload(client, session, batch, path).status_code == 200


def test_requests_that_are_no_uploads_stay_small(client, session):
    answer = client.post(
        "/_dash-update-component", data=b"x" * 2**21, content_type="application/json"
    )
    assert answer.status_code == 413


def test_results_are_on_the_grid_of_the_scan(client, session, tmp_path):
    scan = viewing.scan()
    session.open(scan)
    session.found(session.scan, viewing.analysis(session.scan))
    for name in ("brain", "tumour"):
        answer = client.get(f"/api/{session.id}/result/{name}.nii.gz")
        assert (
            f"attachment; filename=made_up_{name}.nii.gz" in answer.headers["Content-Disposition"]
        )
        path = tmp_path / f"{name}.nii.gz"
        path.write_bytes(answer.data)
        mask = read_volume(path)
        assert np.array_equal(mask.data, getattr(session.analysis, name).data)
        assert mask.grid.matches(scan.grid)
    facts = json.loads(client.get(f"/api/{session.id}/result/measurements.json").data)
    assert facts["scan"]["name"] == "made_up" and facts["use"] == "research use only"
    assert not list(session.folder.iterdir())


def test_a_page_that_leaves_says_so(client, session):
    before = session.deadline
    assert client.post(f"/api/{session.id}/leave").status_code == 200
    assert session.deadline < before


OUTPUTS = (
    *(("overlays", "children"), ("results", "children")),
    *(("run", "disabled"), ("tick", "disabled"), ("stop", "disabled")),
)


def shown(client, session, view):
    """What the page gets to show beside the planes: Dash's own route."""
    dependencies = client.get("/_dash-dependencies").get_json()
    show = next(d for d in dependencies if "overlays.children" in d["output"])
    body = {
        "output": show["output"],
        "outputs": [{"id": i, "property": p} for i, p in OUTPUTS],
        "inputs": [{"id": "view", "property": "data", "value": view}],
        "state": [{"id": "session", "property": "data", "value": session}],
        "changedPropIds": ["view.data"],
    }
    return client.post("/_dash-update-component", json=body).get_json()["response"]


NOTHING = {
    "overlays": {"children": []},
    "results": {"children": []},
    "run": {"disabled": True},
    "stop": {"disabled": True},
}


def test_callbacks_of_strangers_get_nothing(client):
    assert shown(client, "nobody", {"token": "x", "opened": "x"}) == NOTHING


def test_what_was_found_is_never_told_beside_another_scan(client, session):
    before = session.open(viewing.scan()).describe()
    session.open(viewing.scan())
    session.found(session.scan, viewing.analysis(session.scan))
    for view in (before, None):
        assert shown(client, session.id, view) == NOTHING
    found = shown(client, session.id, session.view.describe())
    assert "believe nothing" in str(found["results"]) and found["run"] == {"disabled": False}


def test_a_page_that_was_reloaded_finds_its_run(client, session, running):
    """Or nothing would ever tell it that the run ended."""
    view = session.open(viewing.scan()).describe()
    assert "tick" not in shown(client, session.id, view)
    session.running(lambda scan: Job(session, scan))
    now = shown(client, session.id, view)
    assert now["run"] == {"disabled": True}
    assert now["tick"] == now["stop"] == {"disabled": False}


def test_files_of_two_patients_are_never_one_scan(client, session, batch, tmp_path):
    t1, flair = viewing.files(tmp_path)
    assert upload(client, session, batch, t1, "anna_t1.nii.gz").status_code == 200
    other = client.post(f"/api/{session.id}/batch").get_json()["batch"]
    assert not list(session.folder.iterdir())
    assert upload(client, session, other, t1, "bert_t1.nii.gz").status_code == 200
    late = upload(client, session, batch, flair, "anna_flair.nii.gz")
    assert late.status_code == 422 and "chosen meanwhile" in late.get_json()["error"]
    assert opened(client, session, batch).status_code == 422
    view = opened(client, session, other).get_json()
    assert view["name"] == "bert_t1" and len(view["volumes"]) == 1
    assert not list(session.folder.iterdir())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_session_that_ends_while_a_file_comes_in_keeps_nothing(
    client, session, batch, monkeypatch, when
):
    def receive(stream, folder, *rest, **options):
        if when == "before":
            session.clear()
        path = receiving(stream, folder, *rest, **options)
        session.ended = True  # and its folder was deleted but for what has come since
        return path

    receiving = uploads.receive
    monkeypatch.setattr(uploads, "receive", receive)
    answer = upload(client, session, batch, b"x" * 500, "a.nii")
    assert answer.status_code == 404 and "reload" in answer.get_json()["error"]
    assert not session.folder.exists() or not list(session.folder.iterdir())


def test_a_full_disk_is_told(client, session, batch, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/secret")

    monkeypatch.setattr(uploads, "receive", full)
    said = upload(client, session, batch, b"x" * 500, "a.nii")
    assert said.status_code == 500 and "No space left" in said.get_json()["error"]
    assert "secret" not in said.get_json()["error"]


def test_a_fault_of_ours_tells_nobody_whose_it_was(client, session, batch, monkeypatch, caplog):
    monkeypatch.setattr(uploads, "receive", lambda *rest, **options: 1 / 0)
    answer = upload(client, session, batch, b"x", "a.nii")
    assert answer.status_code == 500 and "ZeroDivisionError" in answer.get_json()["error"]
    assert "ZeroDivisionError" in caplog.text and session.id not in caplog.text


@pytest.mark.parametrize("name", ["caf\udce9", "日本", 'a"b\nc', "../x", "ann"])
def test_results_can_be_taken_home_whatever_the_scan_is_called(client, session, name):
    session.open(viewing.scan(name=name))
    session.found(session.scan, viewing.analysis(session.scan))
    answer = client.get(f"/api/{session.id}/result/measurements.json")
    given = answer.headers["Content-Disposition"]
    assert answer.status_code == 200
    assert re.fullmatch(r"attachment; filename=[A-Za-z0-9][\w.-]*_measurements\.json", given)


def test_an_offered_scan_that_went_away_is_told_without_its_path(tmp_path):
    (path,) = viewing.files(tmp_path, contrasts=("t1",))
    sessions, jobs = Sessions(idle_s=100, most=2), Jobs(viewing.MadeUp)
    client = build(Options(scans=(path,)), sessions, jobs).server.test_client()
    path.unlink()
    answer = client.post(f"/api/{sessions.create().id}/offered/0")
    assert answer.status_code == 422 and str(tmp_path) not in answer.get_json()["error"]
    assert path.name in answer.get_json()["error"]
    jobs.close()
    sessions.close()
