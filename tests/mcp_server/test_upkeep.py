"""What is late, failing or damaged is said: in the status, in the results, and only to those who may know."""

import os
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ingest.access import Principal
from ingest.config import SmokeQuestion, UpkeepConfig
from ingest.errors import PublishRefused, SourceError
from ingest.index import control, jobs, roll_back
from ingest.index.beacon import WorkerLock, WorkerState, write_state
from ingest.sources import worktree
from mcp_server import upkeep
from mcp_server.access import local_principal
from mcp_server.errors import NotReady, Unavailable
from mcp_server.render import answer_to_dict, render_search, render_status, search_to_dict, status_to_dict
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from mcp_server.smoke import smoke_checks
from mcp_server.upkeep import failure_alarms, file_system_of
from tests.mcp_server.conftest import reindex

LOCAL = Principal("local", frozenset({"local"}))
STRANGER = Principal("x", frozenset({"other"}))
LATER = datetime(2026, 11, 21, 1, tzinfo=UTC)


@pytest.fixture
def later(service, setup):
    """The same index, an hour later."""
    other = Service(setup, now=lambda: LATER)
    yield other
    other.close()


def fail(data, source, times, reason="The tracker said no."):
    with jobs.connect_jobs(data) as db:
        jobs.want(db, source, "poll", "2026-11-21T00:00:10Z")
        for _ in range(times):
            jobs.fail(db, {source}, reason, "2026-11-21T00:00:20Z")


@pytest.mark.req("F11", "M11")
def test_a_stalled_source_is_named_in_every_answer_and_in_the_status(later, setup):
    fail(setup.data_dir, "shop-repo", 4)
    found = later.search(SearchRequest("SessionSigner"), LOCAL)
    assert "ingest_stalled:shop-repo" in found.degraded
    assert found.index_age_s == 3600
    nothing = later.search(SearchRequest("SessionSigner", path_glob="nowhere/*"), LOCAL)
    assert (nothing.hits, nothing.degraded) == ((), ("ingest_stalled:shop-repo",))
    answered = later.answer(AnswerRequest("Where are sessions signed?"), LOCAL)
    assert "ingest_stalled:shop-repo" in answered.degraded
    status = later.status(LOCAL)
    assert any("The tracker said no." in alarm for alarm in status.alarms)
    source = next(source for source in status.sources if source["name"] == "shop-repo")
    assert (source["failures"], source["waiting_events"], source["parse_failure_ratio"]) == (4, 1, 0.0)
    assert source["last_success"] == "2026-11-21T00:00:00Z"
    with pytest.raises(Unavailable, match="ingest_stalled"):
        later.search(SearchRequest("SessionSigner"), LOCAL, strict=True)


@pytest.mark.req("F11")
def test_one_failure_or_a_short_wait_is_no_alarm(service, setup):
    fail(setup.data_dir, "shop-repo", 1)
    now = Service(setup, now=lambda: datetime(2026, 11, 21, 0, 1, tzinfo=UTC))
    assert now.search(SearchRequest("SessionSigner"), LOCAL).degraded == ()
    now.close()


@pytest.mark.req("M11", "S9")
def test_how_many_files_wait_is_in_each_result_for_those_who_see_everything(later, setup):
    lock = WorkerLock(setup.data_dir)
    assert lock.acquire()
    write_state(setup.data_dir, WorkerState(1, "polling", behind=3, problems=("The system cannot watch all files.",)))
    result = later.search(SearchRequest("SessionSigner"), LOCAL)
    assert "files_behind=3" in render_search(result, "SessionSigner")
    status = later.status(LOCAL)
    assert (status.files_behind, status.watching) == (3, "polling")
    assert "3 changed files are not indexed yet" in render_status(status)
    assert "The system cannot watch all files." in status.alarms
    hidden = later.status(STRANGER)
    assert (hidden.files_behind, hidden.alarms, hidden.sources) == (None, (), ())
    assert "sources are polled\n" in render_status(hidden)
    lock.release()


@pytest.mark.req("I7", "M11")
def test_a_rolled_back_index_says_so_and_not_that_it_is_up_to_date(service, setup, repository):
    (repository / "shop" / "coupon.py").write_text("def redeem_coupon(): ...\n")
    reindex(service)
    lock = WorkerLock(setup.data_dir)
    assert lock.acquire()
    write_state(setup.data_dir, WorkerState(1, "events"))
    said = []
    for to in (1, 2):
        roll_back(setup.data_dir, to)
        answer = service.answer(AnswerRequest("What does `redeem_coupon` do?"), LOCAL)
        found = service.search(SearchRequest("redeem_coupon"), LOCAL)
        said.append(
            [(one.generation, one.degraded, one.files_behind) for one in (answer, found, service.status(LOCAL))]
        )
    assert said == [[(1, ("rolled_back",), None)] * 3, [(2, (), 0)] * 3]
    lock.release()


@pytest.mark.req("F11", "S9")
@pytest.mark.parametrize(
    ("stage", "silent_s", "alarms"), [("", 60, 1), ("", 2, 0), ("reading", 60, 0), ("reading", 1800, 1)]
)
def test_a_worker_that_says_nothing_for_too_long_is_an_alarm(later, setup, stage, silent_s, alarms):
    lock = WorkerLock(setup.data_dir)
    assert lock.acquire()
    write_state(setup.data_dir, WorkerState(7, "events", stage))
    moment = time.time() - silent_s
    os.utime(setup.data_dir / "worker.json", (moment, moment))
    status = later.status(LOCAL)
    assert sum("The worker (pid 7) has said nothing for " in alarm for alarm in status.alarms) == alarms
    assert status.files_behind == (None if alarms else 0)
    lock.release()


@pytest.mark.req("F8", "S9")
def test_a_first_build_that_failed_is_the_reason_why_the_index_is_empty(setup, repository):
    service = Service(setup)
    with pytest.raises(PublishRefused):
        reindex(service, smoke=smoke_checks([SmokeQuestion(query="SessionSigner", finds="nowhere.py")]))
    assert "does not find 'nowhere.py'" in service.status(LOCAL).building
    with pytest.raises(NotReady, match=r"index_empty: The last build failed \(.*does not find 'nowhere.py'"):
        service.search(SearchRequest("SessionSigner"), LOCAL)
    assert "nowhere.py" not in str(service.status(STRANGER))
    service.close()


@pytest.mark.req("S9")
def test_without_a_worker_it_is_not_known_how_many_files_changed(later, repository):
    (repository / "shop" / "session.py").write_text("def edited():\n    return 1\n")
    status = later.status(LOCAL)
    assert status_to_dict(status)["files_behind"] is None
    shown = render_status(status)
    assert "not watched (no worker runs), so it is not known whether files changed since; `codecairn index`" in shown
    assert "not indexed yet" not in shown
    result = later.search(SearchRequest("SessionSigner"), LOCAL)
    assert search_to_dict(result)["files_behind"] is None
    assert "files_behind" not in render_search(result, "SessionSigner")
    assert answer_to_dict(later.answer(AnswerRequest("Where are sessions signed?"), LOCAL))["files_behind"] is None


@pytest.mark.req("I16", "S9")
def test_files_that_were_given_up_are_listed_with_the_reason(later, setup):
    letter = jobs.Letter("shop-repo", "a.py", "h", "parse_killed", "took longer than 10 s", 6, "2026", "2026")
    with jobs.connect_jobs(setup.data_dir) as db:
        jobs.replace_letters(db, "shop-repo", [letter])
    status = later.status(LOCAL)
    assert status.failed_files[0]["given_up"] is True
    assert any("took longer than 10 s" in alarm and "--retry" in alarm for alarm in status.alarms)
    assert later.status(STRANGER).failed_files == ()


@pytest.mark.req("I5", "F11")
def test_what_a_sweep_found_changed_unseen_is_an_alarm(later, setup):
    with jobs.connect_jobs(setup.data_dir) as db:
        found = {"drift": {"shop-repo": 2}, "files": {"shop-repo": 4}}
        control.write_check(db, "sweep", "2026-11-21T00:30:00Z", found)
    (alarm,) = [alarm for alarm in later.status(LOCAL).alarms if "sweep" in alarm]
    assert "2 files (50%)" in alarm


@pytest.mark.req("F11", "I16")
def test_what_may_not_be_read_is_named_to_those_who_may_know(service, setup, monkeypatch):
    """It is no format that changed, however much of a source it is."""
    closed = setup.root / "shop" / "session.py"
    plain = worktree.read_worktree_file

    def refuse(root, path, max_bytes):
        if root / path == closed:
            raise SourceError(f"{path!r} below {root} may not be read: give the user permission to read it.")
        return plain(root, path, max_bytes)

    monkeypatch.setattr(worktree, "read_worktree_file", refuse)
    os.utime(closed, (1, 1))  # a permission that changes shows like that
    reindex(service)
    (alarm,) = service.status(LOCAL).alarms
    assert alarm.startswith("Source shop-repo: shop/session.py cannot be read; what was indexed of it before stays.")
    assert "permission" in alarm and "format" not in alarm
    assert service.search(SearchRequest("SessionSigner"), LOCAL).hits[0].path == "shop/session.py"
    assert service.status(STRANGER).alarms == ()


@pytest.mark.req("F11")
def test_too_many_files_that_cannot_be_parsed_are_an_alarm(service):
    with service.reading() as index:
        code = index.manifest.sources[0]
    broken = replace(index.manifest, sources=(replace(code, skipped={"parse_killed": 1, "binary": 90}),))
    (alarm,) = failure_alarms(broken, UpkeepConfig(), lambda name: True)
    assert "20% of its files could not be parsed" in alarm  # four files could
    assert not list(failure_alarms(broken, UpkeepConfig(failure_ratio=0.3), lambda name: True))
    assert not list(failure_alarms(broken, UpkeepConfig(), lambda name: False))


def test_the_disk_that_the_data_lies_on_is_known(tmp_path):
    assert file_system_of(tmp_path) not in ("", "nfs")


@pytest.mark.req("F14")
@pytest.mark.parametrize(("kind", "alarms"), [("nfs4", 1), ("ext4", 0)])
def test_data_on_a_network_disk_is_an_alarm_in_the_status(service, monkeypatch, kind, alarms):
    monkeypatch.setattr(upkeep, "file_system_of", lambda path: kind)
    found = service.status(local_principal(service.setup.settings)).alarms
    assert sum(f"lies on a network disk ({kind})" in alarm and "--data DIR" in alarm for alarm in found) == alarms


@pytest.mark.req("I10")
def test_a_generation_that_does_not_answer_a_smoke_question_is_refused(service, setup, repository):
    questions = [SmokeQuestion(query="SessionSigner", finds="shop/*.py")]
    assert reindex(service, smoke=smoke_checks(questions)).manifest.generation == 1
    (repository / "shop" / "session.py").unlink()
    sentence = r"'SessionSigner' does not find 'shop/session.py'.*Correct that question in \[\[index.smoke\]\]"
    with pytest.raises(PublishRefused, match=sentence):
        reindex(service, smoke=smoke_checks([SmokeQuestion(query="SessionSigner", finds="shop/session.py")]))
    assert service.search(SearchRequest("SessionSigner"), LOCAL).generation == 1


@pytest.mark.req("F11", "I8", "S9")
def test_a_build_that_failed_is_an_alarm_until_one_succeeds(later, setup, repository):
    (repository / "shop" / "session.py").unlink()
    with pytest.raises(PublishRefused):
        reindex(later, smoke=smoke_checks([SmokeQuestion(query="SessionSigner", finds="shop/session.py")]))
    [alarm] = later.status(LOCAL).alarms
    assert alarm.startswith("The last build failed (2026-11-21T00:00:00Z): The new generation does not answer a smoke")
    assert later.status(STRANGER).alarms == ()
    fail(setup.data_dir, "shop-repo", 3, reason=alarm.partition("): ")[2])
    assert [one.partition(" ")[0] for one in later.status(LOCAL).alarms] == ["Source"]  # it is told once
    reindex(later)
    assert later.status(LOCAL).alarms == ()
