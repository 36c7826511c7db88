"""A build that was told what changed looks at nothing else, and ends where a walk ends."""

import pytest

from ingest.build import Seen, build_index
from ingest.config import IndexConfig, SourceConfig
from ingest.index import Index
from ingest.index.control import connect, known_files, list_skips
from ingest.sources.changes import MAX_CHANGES

NOW = "2026-11-21T00:00:00Z"


@pytest.fixture(params=["folder", "git"])
def source(request, tmp_path, git):
    root = tmp_path / "code"
    (root / "sub").mkdir(parents=True)
    for name in ("a.py", "b.py", "sub/c.py"):
        (root / name).write_text(f"def {name[-4]}():\n    return 1\n")
    (root / "image.png").write_bytes(b"\x89PNG\x00")
    (root / "nothing.txt").write_text("")
    (root / ".codecairnignore").write_text("none.py\n")
    if request.param == "git":
        git(root, "init", "-q", "-b", "main")
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", "first")
    return SourceConfig(name="code", type=request.param, path=root, history=False)


@pytest.fixture
def build(source, tmp_path):
    def build(*changed, since=None, data="data"):
        paths = frozenset(str(source.path / path) for path in changed)
        seen = Seen({source.name: paths}, since) if since is not None else None
        return build_index([source], IndexConfig(workers=1), None, tmp_path / data, now=NOW, seen=seen).manifest

    return build


def text_of(data, path):
    connection = connect(data)
    with Index.open_current(data) as index:
        known = known_files(connection, "code", index.generation)
        skips = list_skips(connection, index.generation)
    connection.close()
    return known[path].content_hash if path in known else "", [(skip.path, skip.reason) for skip in skips]


@pytest.mark.req("I4")
def test_only_what_changed_is_looked_at(build, source, tmp_path):
    first = build()
    (source.path / "a.py").write_text("def changed(): ...\n")
    (source.path / "b.py").write_text("def not_announced(): ...\n")
    before = text_of(tmp_path / "data", "b.py")
    second = build("a.py", since=first.generation)
    assert text_of(tmp_path / "data", "b.py") == before
    assert second.content_hash != first.content_hash
    third = build()
    assert text_of(tmp_path / "data", "b.py")[0] != before[0]
    assert third.content_hash == build(data="from_nothing").content_hash


def change(root, what):
    if what == "a new file":
        (root / "new.py").write_text("def new(): ...\n")
        return ["new.py"]
    if what == "a deleted file":
        (root / "a.py").unlink()
        return ["a.py"]
    if what == "a deleted folder":
        (root / "sub" / "c.py").unlink()
        (root / "sub").rmdir()
        return ["sub"]
    if what == "a rule":
        (root / ".codecairnignore").write_text("b.py\n")
        return [".codecairnignore"]
    if what == "a file that is no text any more":
        (root / "a.py").write_bytes(b"\x00\x01")
        return ["a.py"]
    if what == "a file that became text":
        (root / "nothing.txt").write_text("now there is text")
        return ["nothing.txt"]
    if what == "a file beside an editor's own":
        (root / "a.py").write_text("def edited(): ...\n")
        return ["a.py", "4913", "sub/.c.py.swp"]
    (root / "sub" / "c.py").write_text("def many(): ...\n")
    return ["sub/c.py", *(f"file{n}" for n in range(MAX_CHANGES))]


@pytest.mark.req("I4", "I19")
@pytest.mark.parametrize(
    "what",
    [
        "a new file",
        "a deleted file",
        "a deleted folder",
        "a rule",
        "a file that is no text any more",
        "a file that became text",
        "a file beside an editor's own",
        "many files",
    ],
)
def test_the_end_is_that_of_a_walk(build, source, tmp_path, what):
    first = build()
    changed = change(source.path, what)
    told = build(*changed, since=first.generation)
    walked = build(data="from_nothing")
    assert told.content_hash == walked.content_hash
    assert [state.skipped for state in told.sources] == [state.skipped for state in walked.sources]
    assert [state.revision for state in told.sources] == [state.revision for state in walked.sources]


@pytest.mark.req("I4")
def test_what_changed_since_another_generation_is_not_enough(build, source):
    first = build()
    (source.path / "b.py").write_text("def announced_to_another_build(): ...\n")
    second = build()
    (source.path / "a.py").write_text("def a2(): ...\n")
    (source.path / "b.py").write_text("def b2(): ...\n")
    told = build("a.py", since=first.generation)
    assert told.generation == second.generation + 1
    assert told.content_hash == build(data="from_nothing").content_hash
