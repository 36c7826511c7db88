"""A git repository as a source: HEAD overlaid by the work tree, one ref, bare, shallow, unborn, submodules."""

import os
from pathlib import Path

import pytest

from ingest import gitio
from ingest.errors import GitError, SourceError
from ingest.model import KnownFile, Rename
from ingest.sources import git as git_source
from ingest.sources.ignore import root_scope
from ingest.sources.opening import source_infos
from tests.ingest.sources.support import (
    commit,
    contents,
    entry_of,
    git,
    make_repository,
    open_all,
    open_files,
    reasons,
    remember,
    write,
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(
        tmp_path / "shop",
        {"a.py": "A = 1\n", "b.py": "B = 1\n", "sub/c.py": "C = 1\n", ".gitignore": "*.log\nout/\n"},
    )


def open_git(repository: Path, **settings: object):
    return open_files(repository, repository.parent / "data", exclude=(".gitignore",), **settings)


@pytest.mark.req("I20")
def test_a_clean_checkout_is_its_commit(repository: Path) -> None:
    snapshot = open_git(repository)
    assert contents(snapshot) == {"a.py": b"A = 1\n", "b.py": b"B = 1\n", "sub/c.py": b"C = 1\n"}
    assert snapshot.revision == git(repository, "rev-parse", "HEAD")
    assert entry_of(snapshot, "a.py").blob == git(repository, "rev-parse", "HEAD:a.py")
    assert not any(entry.uncommitted for entry in snapshot.entries)
    assert snapshot.info.product == "shop"


def test_the_work_tree_overlays_the_commit(repository: Path) -> None:
    write(repository, {"a.py": "A = 2\n", "new.py": "N = 1\n", "trace.log": "x", "out/x.py": "X = 1\n"})
    (repository / "b.py").unlink()
    snapshot = open_git(repository)
    assert contents(snapshot) == {"a.py": b"A = 2\n", "new.py": b"N = 1\n", "sub/c.py": b"C = 1\n"}
    assert [entry.path for entry in snapshot.entries if entry.uncommitted] == ["a.py", "new.py"]
    assert {path: reason for path, reason in reasons(snapshot).items() if path != ".gitignore"} == {
        "out/": "ignored",
        "trace.log": "ignored",
    }
    head = git(repository, "rev-parse", "HEAD")
    assert snapshot.revision.startswith(f"{head}+")
    document = next(iter(snapshot.documents(entry_of(snapshot, "sub/c.py"), b"C = 1\n")))
    edited = next(iter(snapshot.documents(entry_of(snapshot, "a.py"), b"A = 2\n")))
    assert (document.revision, edited.revision) == (head, snapshot.revision)


def test_each_edit_changes_the_revision_and_undoing_it_restores_it(repository: Path) -> None:
    clean = open_git(repository).revision
    seen = {clean}
    for files in ({"a.py": "A = 2\n"}, {"a.py": "A = 3\n"}, {"b.py": "B = 2\n"}):
        write(repository, files)
        seen.add(open_git(repository).revision)
    (repository / "sub" / "c.py").unlink()
    seen.add(open_git(repository).revision)
    assert len(seen) == 5
    git(repository, "checkout", "-q", ".")
    assert open_git(repository).revision == clean


def test_a_tracked_file_stays_although_it_is_ignored(repository: Path) -> None:
    commit(repository, "Forced", {"kept.log": "text\n", "out/kept.py": "K = 1\n", "out/deep/also.py": "L = 1\n"})
    write(repository, {"out/untracked.py": "U = 1\n"})
    snapshot = open_git(repository)
    assert {"kept.log", "out/kept.py", "out/deep/also.py"} <= set(contents(snapshot))
    assert "out/untracked.py" not in contents(snapshot)
    assert not any(entry.uncommitted for entry in snapshot.entries)
    (repository / "out" / "kept.py").unlink()
    assert "out/kept.py" not in contents(open_git(repository))


def test_info_exclude_is_respected(repository: Path) -> None:
    write(repository, {".git/info/exclude": "local.py\n", "local.py": "L = 1\n"})
    assert reasons(open_git(repository))["local.py"] == "ignored"


def test_a_known_unchanged_checkout_is_not_read_again(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ingest.sources import worktree

    plain = worktree.time.time_ns
    monkeypatch.setattr(worktree.time, "time_ns", lambda: plain() + 3600 * 10**9)
    known = {"s": remember(open_git(repository))}
    monkeypatch.setattr(worktree, "judge_content", None)
    monkeypatch.setattr(worktree, "hash_bytes", None)
    snapshot = open_git(repository, known=known)
    assert not any(entry.uncommitted for entry in snapshot.entries)
    assert snapshot.revision == git(repository, "rev-parse", "HEAD")


def test_committing_an_edit_changes_no_content(repository: Path) -> None:
    write(repository, {"a.py": "A = 2\n"})
    dirty = open_git(repository)
    commit(repository, "Edit")
    clean = open_git(repository, known={"s": remember(dirty)})
    assert [(e.path, e.content_hash, e.blob) for e in dirty.entries] == [
        (e.path, e.content_hash, e.blob) for e in clean.entries
    ]
    assert [entry.uncommitted for entry in clean.entries] == [False] * 3


def test_a_checkout_with_other_line_ends_is_not_uncommitted(repository: Path) -> None:
    write(repository, {"a.py": "A = 1\r\n"})
    snapshot = open_git(repository)
    assert not entry_of(snapshot, "a.py").uncommitted
    assert contents(snapshot)["a.py"] == b"A = 1\r\n"


def test_overlay_can_be_switched_off(repository: Path) -> None:
    write(repository, {"a.py": "A = 2\n", "new.py": "N = 1\n"})
    snapshot = open_git(repository, overlay=False)
    assert contents(snapshot) == {"a.py": b"A = 1\n", "b.py": b"B = 1\n", "sub/c.py": b"C = 1\n"}


# refs and bare repositories -------------------------------------------------------------------------------------------


def test_a_ref_is_read_from_objects_alone(repository: Path) -> None:
    git(repository, "tag", "v1")
    git(repository, "branch", "feature/x")
    commit(repository, "Second", {"a.py": "A = 2\n"})
    write(repository, {"a.py": "A = 3\n"})
    for ref in ("v1", "feature/x", git(repository, "rev-parse", "v1")[:10]):
        assert contents(open_git(repository, ref=ref))["a.py"] == b"A = 1\n"
    assert contents(open_git(repository, ref="main"))["a.py"] == b"A = 2\n"
    with pytest.raises(GitError, match="no branch, tag or commit 'none'"):
        open_git(repository, ref="none")


def test_a_moved_branch_is_followed(repository: Path) -> None:
    open_git(repository, ref="main")
    newer = commit(repository, "Second", {"a.py": "A = 2\n"})
    assert open_git(repository, ref="main").revision == newer


def test_a_bare_repository_is_a_source(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(repository), "shop.git")
    snapshot = open_files(tmp_path / "shop.git", tmp_path / "data")
    assert contents(snapshot)["a.py"] == b"A = 1\n"
    assert snapshot.info.product == "shop"


def test_overlay_and_objects_agree_on_what_is_left_out(repository: Path) -> None:
    files = {
        "node_modules/x/index.js": "x",
        "lib/vendor/y.go": "y",
        "gen/z.py": "# @generated\n",
        "marked.py": "m",
        ".gitattributes": "marked.py linguist-generated\n",
        "private/p.py": "p",
        ".codecairnignore": "/private/\n",
        "sub/.codecairnignore": "c.py\n",
        "empty.py": "",
        "big.py": "x = 1\n" * 1000,
        "logo.png": b"\x89PNG\x00",
        "data.bin0": b"\x00\x01",
        "forced.log": "text",
        "CVS/Entries": "text",
    }
    commit(repository, "Awkward", files)
    (repository / "link.py").symlink_to("a.py")
    commit(repository, "Link")
    overlay = open_git(repository, max_file_bytes=5_000)
    objects = open_git(repository, max_file_bytes=5_000, overlay=False)
    assert reasons(overlay) == reasons(objects)
    assert contents(overlay) == contents(objects)
    assert [(e.path, e.content_hash, e.blob) for e in overlay.entries] == [
        (e.path, e.content_hash, e.blob) for e in objects.entries
    ]
    assert reasons(objects) == {
        ".gitignore": "codecairnignore",
        "node_modules/": "vendored",
        "lib/vendor/": "vendored",
        "gen/z.py": "generated",
        "marked.py": "generated",
        "private/": "codecairnignore",
        "sub/c.py": "codecairnignore",
        "empty.py": "empty",
        "big.py": "oversized",
        "logo.png": "binary",
        "data.bin0": "binary",
        "link.py": "symlink",
        "CVS/": "special",
    }


def test_only_new_blobs_are_read(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"s": remember(open_git(repository, ref="main"))}
    commit(repository, "Second", {"a.py": "A = 2\n"})
    asked: list[str] = []
    plain = gitio.read_blobs

    def watch(mirror: Path, blobs: list[str]):
        asked.extend(blobs)
        return plain(mirror, blobs)

    monkeypatch.setattr(gitio, "read_blobs", watch)
    snapshot = open_git(repository, ref="main", known=known)
    rules = git(repository, "rev-parse", "HEAD:.gitignore")
    assert [blob for blob in asked if blob != rules] == [git(repository, "rev-parse", "HEAD:a.py")]
    assert contents(snapshot)["a.py"] == b"A = 2\n"


def test_a_blob_that_is_to_be_read_again_is_no_known_one(repository: Path) -> None:
    known = remember(open_git(repository, ref="main"))
    again = {path: KnownFile("", file.size, "", file.blob) for path, file in known.items()}
    assert remember(open_git(repository, ref="main", known={"s": again})) == known


def test_blobs_are_read_ahead_in_few_processes(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(repository, "Many", {f"n{number}.py": f"N = {number}\n" for number in range(50)})
    snapshot = open_git(repository, ref="main")
    calls = []
    plain = gitio.read_blobs
    monkeypatch.setattr(gitio, "read_blobs", lambda *arguments: calls.append(1) or plain(*arguments))
    assert len(contents(snapshot)) == 53
    assert len(calls) == 1
    monkeypatch.setattr(git_source, "READ_AHEAD_BYTES", 40)
    assert len(contents(open_git(repository, ref="main"))) == 53


# awkward repositories -------------------------------------------------------------------------------------------------


def test_an_empty_repository_and_an_unborn_head(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "new")
    files, history = open_all(repository, tmp_path / "data")
    assert (files.entries, history.entries) == ((), ())
    write(repository, {"a.py": "A = 1\n"})
    files, _ = open_all(repository, tmp_path / "data")
    assert contents(files) == {"a.py": b"A = 1\n"}
    assert entry_of(files, "a.py").uncommitted
    git(tmp_path, "init", "-q", "--bare", "bare.git")
    files, history = open_all(tmp_path / "bare.git", tmp_path / "data")
    assert (files.entries, history.entries) == ((), ())


def test_a_shallow_clone_and_a_linked_work_tree(repository: Path, tmp_path: Path) -> None:
    commit(repository, "Second", {"a.py": "A = 2\n"})
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", "shallow")
    files, history = open_all(tmp_path / "shallow", tmp_path / "data")
    assert contents(files)["a.py"] == b"A = 2\n"
    assert len(history.entries) == 1
    git(repository, "worktree", "add", "-q", "--detach", str(tmp_path / "linked"), "HEAD~1")
    assert contents(open_files(tmp_path / "linked", tmp_path / "data"))["a.py"] == b"A = 1\n"


def test_submodules_are_left_out_with_a_reason(repository: Path, tmp_path: Path) -> None:
    inner = make_repository(tmp_path / "inner", {"i.py": "I = 1\n"})
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "modules/inner")
    commit(repository, "Submodule")
    make_repository(repository / "embedded", {"e.py": "E = 1\n"})
    overlay = open_git(repository)
    assert reasons(overlay)["modules/inner/"] == reasons(overlay)["embedded/"] == "submodule"
    assert not [path for path in contents(overlay) if path.startswith(("modules/inner", "embedded"))]
    assert reasons(open_git(repository, overlay=False))["modules/inner/"] == "submodule"
    assert contents(open_files(repository / "modules" / "inner", tmp_path / "data")) == {"i.py": b"I = 1\n"}


def test_an_lfs_pointer_has_a_reason(repository: Path) -> None:
    commit(repository, "Pointer", {"data.csv": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"})
    assert reasons(open_git(repository))["data.csv"] == "lfs_pointer"
    assert reasons(open_git(repository, overlay=False))["data.csv"] == "lfs_pointer"


def forge_tree(repository: Path, *entries: tuple[str, str, str]) -> str:
    """Commit a tree that git itself would refuse to make: (mode, name, blob or tree id)."""
    raw = b"".join(
        f"{mode} ".encode() + os.fsencode(name) + b"\x00" + bytes.fromhex(object_id)
        for mode, name, object_id in sorted(entries, key=lambda entry: entry[1])
    )
    forged = repository / ".git" / "forged"
    forged.write_bytes(raw)
    tree = git(repository, "hash-object", "-t", "tree", "-w", "--literally", str(forged))
    head = git(repository, "commit-tree", tree, "-m", "Forged")
    git(repository, "update-ref", "refs/heads/forged", head)
    return tree


def test_names_in_a_tree_that_no_folder_could_hold_are_left_out(repository: Path) -> None:
    blob = git(repository, "rev-parse", "HEAD:a.py")
    inner = git(repository, "rev-parse", "HEAD:sub")
    write(repository.parent, {"a.py": "OUTSIDE = 1\n"})
    bad = os.fsdecode(b"\xff.py")
    forge_tree(
        repository,
        ("40000", "..", inner),
        ("40000", ".git", inner),
        ("100644", "new\nline.py", blob),
        ("100644", "\x1b[2J", blob),
        ("100644", bad, blob),
        ("100644", "good.py", blob),
    )
    snapshot = open_git(repository, ref="forged")
    assert contents(snapshot) == {"good.py": b"A = 1\n"}
    assert reasons(snapshot) == {
        "../": "bad_name",
        ".git/": "bad_name",
        "new\\nline.py": "bad_name",
        "\\x1b[2J": "bad_name",
        "\\udcff.py": "bad_name",
    }
    git(repository, "symbolic-ref", "HEAD", "refs/heads/forged")
    overlay = open_git(repository)  # the same commit, now with a work tree that has none of these
    assert "OUTSIDE" not in str(contents(overlay))
    assert set(contents(overlay)) == {"a.py", "b.py", "sub/c.py"}


def test_a_very_deep_tree_does_not_exhaust_the_stack() -> None:
    scopes = git_source.TreeScopes(root_scope(), lambda folder: {})
    assert scopes.judge("d/" * 5_000 + "x.py") is None


def test_files_that_differ_in_case_only_are_two_files(repository: Path) -> None:
    commit(repository, "Case", {"Case.py": "A = 1\n", "case.py": "A = 2\n"})
    assert {"Case.py", "case.py"} <= set(contents(open_git(repository)))


def test_a_folder_that_became_a_link_is_not_followed(repository: Path, tmp_path: Path) -> None:
    write(tmp_path / "outside", {"c.py": "SECRET = 1\n"})
    (repository / "sub" / "c.py").unlink()
    (repository / "sub").rmdir()
    (repository / "sub").symlink_to(tmp_path / "outside")
    snapshot = open_git(repository)
    assert set(contents(snapshot)) == {"a.py", "b.py"}
    assert reasons(snapshot)["sub"] == "symlink"


def test_a_folder_without_repository_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(SourceError, match='set type = "folder"'):
        open_files(tmp_path / "plain", tmp_path / "data")


# renames --------------------------------------------------------------------------------------------------------------


@pytest.mark.req("I13")
def test_a_move_with_an_edit_is_found_through_the_commits(repository: Path) -> None:
    text = "".join(f"LINE_{number} = {number}\n" for number in range(40))
    commit(repository, "Long", {"long.py": text})
    before = open_git(repository)
    git(repository, "mv", "long.py", "sub/renamed.py")
    commit(repository, "Move", {"sub/renamed.py": text + "LAST = 1\n"})
    after = open_git(repository, known={"s": remember(before)}, previous=before.revision)
    assert after.renames == (Rename("long.py", "sub/renamed.py"),)


def test_an_uncommitted_move_is_found_by_content(repository: Path) -> None:
    before = open_git(repository)
    (repository / "a.py").rename(repository / "moved.py")
    after = open_git(repository, known={"s": remember(before)}, previous=before.revision)
    assert after.renames == (Rename("a.py", "moved.py"),)


def test_an_unknown_previous_revision_is_no_error(repository: Path) -> None:
    before = open_git(repository)
    git(repository, "mv", "a.py", "moved.py")
    commit(repository, "Move")
    after = open_git(repository, known={"s": remember(before)}, previous="0" * 40)
    assert after.renames == (Rename("a.py", "moved.py"),)


def test_what_a_git_source_registers(repository: Path) -> None:
    from ingest.config import SourceConfig

    config = SourceConfig(name="s", type="git", path=repository, groups=("team",), trust="low")
    code, history = source_infos(config)
    assert (code.name, code.kind, history.name, history.kind) == ("s", "code", "s.history", "commit")
    assert history.groups == code.groups == ("team",)
    assert history.trust == "low"
    assert len(source_infos(config.model_copy(update={"history": False}))) == 1
