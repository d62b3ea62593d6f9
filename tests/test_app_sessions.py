"""Sessions of the viewer: who has one, and that nothing outlives it."""

import dataclasses
import threading

import pytest
import viewing

from brainjax.app.sessions import LEAVING_S, Crowded, NoSession, Sessions
from brainjax.types import DataError


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sessions(clock):
    made = Sessions(idle_s=100, most=3, clock=clock)
    yield made
    made.close()


def test_ids_are_long_and_all_different(sessions):
    ids = {sessions.create().id for _ in range(3)}
    assert len(ids) == 3 and min(map(len, ids)) >= 32


@pytest.mark.parametrize("name", ["", None, "x", "../x"])
def test_what_is_no_id_is_no_session(sessions, name):
    sessions.create()
    with pytest.raises(NoSession, match="reload"):
        sessions.get(name)


def test_a_session_unheard_of_is_deleted_from_memory_and_disk(sessions, clock):
    idle, busy = sessions.create(), sessions.create()
    (idle.folder / "left.nii").write_bytes(b"a patient")
    idle.open(viewing.scan())
    clock.now = 60
    assert sessions.get(busy.id) is busy
    clock.now = 120
    sessions.sweep()
    assert not idle.folder.exists() and idle.scan is None and idle.view is None
    with pytest.raises(NoSession):
        sessions.get(idle.id)
    assert sessions.get(busy.id) is busy


def test_a_page_that_goes_away_is_forgotten_soon_unless_it_comes_back(sessions, clock):
    gone, reloaded = sessions.create(), sessions.create()
    for session in (gone, reloaded):
        sessions.leave(session.id)
    clock.now = LEAVING_S / 2
    sessions.get(reloaded.id)
    clock.now = LEAVING_S + 1
    sessions.sweep()
    assert len(sessions) == 1 and sessions.get(reloaded.id) is reloaded


def test_there_is_an_end_to_how_many(sessions, clock):
    for _ in range(3):
        sessions.create()
    with pytest.raises(Crowded, match="3 pages"):
        sessions.create()
    clock.now = 101
    sessions.create()  # the others' time was up


def test_nothing_is_added_to_a_session_that_ended(sessions):
    session = sessions.create()
    session.clear()
    with pytest.raises(NoSession):
        session.open(viewing.scan())
    with pytest.raises(NoSession):
        session.begin()
    with pytest.raises(NoSession):
        session.add("", "a.nii", session.folder / "a.nii")
    session.scan = scan = viewing.scan()
    session.found(scan, viewing.analysis(scan))
    assert session.analysis is None


def test_results_of_a_scan_no_longer_open_are_dropped(sessions):
    session, first = sessions.create(), viewing.scan()
    session.open(first)
    token = session.open(viewing.scan()).token
    session.found(first, viewing.analysis(first))
    assert session.analysis is None and session.view.token == token
    # The pipeline may call the contrast by another name.
    renamed = dataclasses.replace(session.scan, volumes={"t2": session.scan.first})
    found = viewing.analysis(renamed)
    session.found(session.scan, found)
    assert session.analysis is found and session.view.token != token
    assert [v["name"] for v in session.view.describe()["volumes"]] == ["t1", "flair"]


def test_what_is_found_is_of_the_same_opening(sessions):
    """By that alone a page knows whether what it shows is still what is open."""
    session, scan = sessions.create(), viewing.scan()
    before = session.open(scan)
    session.found(scan, viewing.analysis(scan))
    found = session.view
    assert found.opened == before.opened and found.token != before.token
    assert session.open(scan).opened != before.opened


def test_files_of_two_patients_are_never_one_batch(sessions):
    session = sessions.create()
    anna, left = session.begin()
    assert not left and session.add(anna, "anna_t1.nii", session.folder) == 1
    bert, left = session.begin()
    assert [name for name, _ in left] == ["anna_t1.nii"]
    assert session.add(bert, "bert_t1.nii", session.folder) == 1
    for late in (
        session.check,
        session.take,
        lambda b: session.add(b, "anna_t2.nii", session.folder),
    ):
        with pytest.raises(DataError, match="chosen meanwhile"):
            late(anna)
    assert [name for name, _ in session.take(bert)] == ["bert_t1.nii"]


def test_closing_deletes_everything(clock):
    sessions = Sessions(idle_s=100, most=3, clock=clock)
    folder = sessions.create().folder
    assert folder.parent.stat().st_mode & 0o077 == 0  # nobody else may look in
    sessions.close()
    assert not folder.exists() and not folder.parent.exists()


def test_many_at_once_get_no_more_than_there_are(clock):
    sessions = Sessions(idle_s=100, most=5, clock=clock)
    got = []

    def ask():
        try:
            got.append(sessions.create().id)
        except Crowded:
            got.append(None)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sessions.close()
    assert len(set(got) - {None}) == 5 and got.count(None) == 15
