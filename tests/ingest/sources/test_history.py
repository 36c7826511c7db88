"""Commits as documents."""

from pathlib import Path

import pytest

from ingest import gitio
from ingest.build import BuildReport, Seen, build_index
from ingest.config import IndexConfig, SourceConfig
from ingest.index import Index
from ingest.index.keys import find_ticket_keys
from ingest.model import Chunk, Document, Filters, Snapshot
from ingest.sources import history
from ingest.sources.history import format_time, fragment_key
from ingest.sources.links import find_paths
from tests.ingest.sources.support import commit, git, make_repository, open_all, remember, write


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repo", {"a.py": "A = 1\n"})


def open_history(repository: Path, **settings: object) -> Snapshot:
    return open_all(repository, repository.parent / "data", **settings)[1]


def documents(snapshot: Snapshot) -> list[Document]:
    return [d for entry in snapshot.entries for d in snapshot.documents(entry, snapshot.read(entry))]


@pytest.mark.req("I20")
def test_a_commit_is_a_document(repository: Path) -> None:
    head = commit(
        repository,
        "Fix token refresh (#12)\n\nSee PROJ-7 and ADR-3.\n\nCo-authored-by: Bob <bob@example.org>\n",
        {"auth/token.py": "T = 1\n", "auth/ümlaut.py": "U = 1\n"},
    )
    first = documents(open_history(repository))[0]
    assert (first.key, first.path, first.title) == (head[:12], None, "Fix token refresh (#12)")
    assert first.text == ("Fix token refresh (#12)\n\nSee PROJ-7 and ADR-3.\n\nFiles:\nauth/token.py\nauth/ümlaut.py\n")
    assert first.links == ("#12", "PROJ-7", "ADR-3", "auth/token.py", "auth/ümlaut.py")
    assert first.created_at == "2026-03-04T03:06:07Z"
    assert (first.revision, first.source.kind) == (head, "commit")


def test_nobody_is_named(repository: Path) -> None:
    commit(repository, "Change\n\nSigned-off-by: Eve <eve@example.org>\nReviewed-by: Dan <dan@example.org>", {"b": "b"})
    stored = repr(documents(open_history(repository)))
    for name in ("Ada", "ada@", "Eve", "eve@", "Dan", "dan@"):
        assert name not in stored


def test_merges_are_left_out_and_empty_commits_are_kept(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "topic")
    commit(repository, "On topic", {"t.py": "T = 1\n"})
    git(repository, "checkout", "-q", "main")
    commit(repository, "On main", {"m.py": "M = 1\n"})
    git(repository, "merge", "-q", "--no-ff", "-m", "Merge", "topic")
    commit(repository, "Empty")
    titles = [document.title for document in documents(open_history(repository))]
    assert sorted(titles) == ["Empty", "First", "On main", "On topic"]
    assert titles[0] == "Empty"


def test_both_sides_of_a_rename_are_touched(repository: Path) -> None:
    git(repository, "mv", "a.py", "b.py")
    commit(repository, "Move")
    assert documents(open_history(repository))[0].links == ("a.py", "b.py", "renamed:a.py")


def test_odd_messages_and_paths_are_parsed_by_position(repository: Path) -> None:
    write(repository, {"new\nline.py": "x", "tab\t.py": "x", "plain.py": "x"})
    head = commit(repository, "Subject\n\n\n\nBody\x01 with \x1b control")
    git(repository, "commit", "-q", "--allow-empty", "--allow-empty-message", "-m", "")
    parent_name = head  # a file that is called like the next commit
    commit(repository, "Trap", {parent_name: "x"})
    found = {document.title: document for document in documents(open_history(repository))}
    assert set(found) == {"Trap", "", "Subject", "First"}
    assert found["Trap"].links == (head,)
    assert found["Subject"].links == ("new\\nline.py", "plain.py", "tab\\t.py")
    assert "Body" in found["Subject"].text


def test_undecodable_messages_do_not_stop_the_history(repository: Path) -> None:
    tree = git(repository, "rev-parse", "HEAD^{tree}")
    raw = repository / ".git" / "raw"
    who = b"A <a> 99999999999999 +0000"
    raw.write_bytes(b"tree %s\nauthor %s\ncommitter %s\n\n\xff\xfe caf\xe9\n" % (tree.encode(), who, who))
    head = git(repository, "hash-object", "-t", "commit", "-w", "--literally", str(raw))
    git(repository, "update-ref", "refs/heads/main", head)
    (document,) = documents(open_history(repository))
    assert "caf" in document.title


@pytest.mark.req("I3")
def test_only_new_commits_are_read_and_a_force_push_removes_old_ones(repository: Path, monkeypatch) -> None:
    commit(repository, "Second", {"b.py": "B = 1\n"})
    known = {"s.history": remember(open_history(repository))}
    git(repository, "commit", "-q", "--amend", "-m", "Rewritten")
    commit(repository, "Third", {"c.py": "C = 1\n"})
    snapshot = open_history(repository, known=known)
    new = [entry for entry in snapshot.entries if entry.path not in known["s.history"]]
    assert len(new) == 2
    assert len(known["s.history"].keys() - {entry.path for entry in snapshot.entries}) == 1
    asked: list[str] = []
    plain = gitio.read_commits
    monkeypatch.setattr(gitio, "read_commits", lambda mirror, ids: asked.extend(ids) or plain(mirror, ids))
    for entry in new:
        snapshot.read(entry)
    assert asked == [entry.path for entry in new]


def test_the_history_is_limited_to_the_newest(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        commit(repository, f"Commit {number}")
    monkeypatch.setattr(gitio, "HISTORY_COMMITS", 2)
    assert [document.title for document in documents(open_history(repository))] == ["Commit 3", "Commit 2"]


def test_batches_join_without_a_seam(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        commit(repository, f"Commit {number}", {"n.py": f"N = {number}\n"})
    monkeypatch.setattr(gitio, "COMMIT_BATCH", 2)
    monkeypatch.setattr(history, "READ_AHEAD", 3)
    titles = [document.title for document in documents(open_history(repository))]
    assert titles == [f"Commit {number}" for number in range(6, -1, -1)] + ["First"]


def build(repository: Path, place: str = "data", chunk_chars: int = 1500, **options: object) -> BuildReport:
    source = SourceConfig(name="s", type="git", path=repository)
    index = IndexConfig(workers=1, chunk_chars=chunk_chars)
    return build_index([source], index, None, repository.parent / place, now="2026-03-04T05:06:07Z", **options)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    asked: list[int] = []
    plain = gitio.read_commits
    monkeypatch.setattr(gitio, "read_commits", lambda mirror, ids: asked.append(len(ids)) or plain(mirror, ids))
    return asked


def chunks_of_commits(repository: Path, place: str) -> list[Chunk]:
    with Index.open_current(repository.parent / place) as index:
        return list(index.every_chunk(Filters(groups=frozenset({"local"}), sources=frozenset({"s.history"}))))


@pytest.mark.req("I15")
def test_other_chunking_reads_the_commits_again(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(24):
        commit(repository, "\n\n".join([f"Commit {number}", *(f"Reason {n} of it. " * 9 for n in range(9))]))
    monkeypatch.setattr(history, "READ_AHEAD", 10)
    build(repository)
    for size in (400, 1500):
        asked = count_reads(monkeypatch)
        build(repository, chunk_chars=size)
        assert asked == [10, 10, 5]
        build(repository, f"fresh-{size}", chunk_chars=size)
        assert chunks_of_commits(repository, "data") == chunks_of_commits(repository, f"fresh-{size}")


@pytest.mark.req("I20")
def test_an_index_asks_for_many_commits_at_once(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(24):
        commit(repository, f"Commit {number}", {"n.py": f"N = {number}\n"})
    monkeypatch.setattr(history, "READ_AHEAD", 10)
    asked = count_reads(monkeypatch)
    build(repository)
    assert asked == [10, 10, 5]


@pytest.mark.req("I3", "I20")
def test_a_saved_file_does_not_have_the_commits_compared_again(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(repository)
    listed: list[str] = []
    plain = gitio.list_commits
    monkeypatch.setattr(gitio, "list_commits", lambda *given: listed.append(given[1]) or plain(*given))
    write(repository, {"a.py": "A = 2\n"})
    saved = build(
        repository, only={"s"}, seen=Seen({"s": frozenset({str(repository / "a.py")})}, first.manifest.generation)
    )
    assert [(change.name, change.changed) for change in saved.sources] == [("s", 1)]
    assert listed == []
    assert {source.name: source.chunks for source in saved.manifest.sources} == {"s": 1, "s.history": 1}
    new = commit(repository, "Second")
    seen = Seen({"s": frozenset()}, saved.manifest.generation)
    assert [change.new for change in build(repository, only={"s"}, seen=seen).sources] == [0, 1]
    assert set(listed) == {new}  # to index them, and to read which names they took away


def test_a_commit_that_touches_very_much_is_cut(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_PATHS", 3)
    commit(repository, "Reformat", {f"f{number}.py": "x" for number in range(5)})
    document = documents(open_history(repository))[0]
    assert document.links == ("f0.py", "f1.py", "f2.py")
    assert document.text.endswith("f2.py\nand 2 more\n")


def test_times_outside_the_calendar_are_empty() -> None:
    assert format_time(0) == "1970-01-01T00:00:00Z"
    assert format_time(10**17) == ""


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Fixes #12, closes #3.", ["#12", "#3"]),
        ("PROJ-7: see AB-12 (and PROJ-7)", ["PROJ-7", "AB-12"]),
        ("GH-45 and org/repo#9", ["#45"]),
        ("https://host.example/o/r/issues/77#issuecomment-1 o/r/pull/8", ["#77", "#8"]),
        ("UTF-8 SHA-256 ISO-8859-1 CVE-2024-1234 HTTP-2 X-1", []),
        ("color #123456789012 &#39; a#1 #0", []),
        ("ADR-0007 RFC-12", ["ADR-7", "RFC-12"]),
    ],
)
def test_ticket_keys(text: str, keys: list[str]) -> None:
    assert find_ticket_keys(text) == keys


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("in src/auth/token.py:12-40, and `token.py`", ["src/auth/token.py", "token.py"]),
        ("see https://x.example/a/b.html", []),
        ("and/or either/both 1/2.5", []),
        ("./tools/run.sh a/b", ["tools/run.sh"]),
        ("token.py without marks", []),
    ],
)
def test_paths(text: str, paths: list[str]) -> None:
    assert find_paths(text) == paths


@pytest.mark.req("I20")
@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("news/12.bugfix.rst", "#12"),
        ("docs/newsfragments/0007.feature", "#7"),
        ("changelog.d/9.misc.md", "#9"),
        ("news/+orphan.misc.rst", ""),
        ("src/12.bugfix.rst", ""),
        ("news/README.rst", ""),
    ],
)
def test_a_commit_that_adds_a_changelog_fragment_names_its_ticket(path, key):
    assert fragment_key(path) == key


@pytest.mark.req("I20")
def test_the_commit_of_one_fragment_links_its_ticket_and_a_release_none(repository: Path) -> None:
    commit(repository, "Fix", {"a.py": "A = 2\n", "news/12.bugfix.rst": "Fixed.\n"})
    commit(repository, "Release", {"news/13.bugfix.rst": "Fixed.\n", "news/14.bugfix.rst": "Fixed.\n"})
    links = {document.title: document.links for document in documents(open_history(repository))}
    assert "#12" in links["Fix"]
    assert not [link for link in links["Release"] if link.startswith("#")]
