"""A folder as a source: what is taken up again, and a corpus made to break it (X7)."""

import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

import pytest

from ingest.config import name_product
from ingest.errors import SourceError
from ingest.model import SKIP_REASONS, KnownFile, Rename
from ingest.sources import folder, worktree
from ingest.sources.decode import decode_text
from tests.ingest.sources.support import contents, entry_of, open_all, open_files, reasons, remember, write


def open_folder(path: Path, **settings: object):
    return open_files(path, path.parent / "data", type="folder", **settings)


def age(root: Path) -> None:
    """Set all times back, so that stamps are trusted at once."""
    past = time.time() - 3600
    for path in root.rglob("*"):
        os.utime(path, (past, past), follow_symlinks=False)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock of the walk run an hour ahead: ctime cannot be set back."""
    plain = time.time_ns
    monkeypatch.setattr(worktree.time, "time_ns", lambda: plain() + 3600 * 10**9)


@pytest.fixture
def read_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are read, except rule files."""
    paths: list[str] = []
    plain = worktree.read_worktree_file

    def watch(root: Path, path: str, max_bytes: int) -> bytes:
        paths.append(path)
        return plain(root, path, max_bytes)

    monkeypatch.setattr(worktree, "read_worktree_file", watch)
    return paths


@pytest.mark.req("I3")
def test_only_changed_files_are_read_again(tmp_path: Path, settled: None, read_paths: list[str]) -> None:
    root = tmp_path / "root"
    write(root, {"a.py": "A = 1\n", "b.py": "B = 1\n", "c.py": "C = 1\n"})
    first = open_folder(root)
    known = {"s": remember(first)}
    assert sorted(read_paths) == ["a.py", "b.py", "c.py"]
    read_paths.clear()
    assert open_folder(root, known=known).revision == first.revision
    assert read_paths == []
    write(root, {"b.py": "B = 2\n"})  # same size
    (root / "c.py").unlink()
    second = open_folder(root, known=known)
    assert read_paths == ["b.py"]
    assert contents(second) == {"a.py": b"A = 1\n", "b.py": b"B = 2\n"}
    assert second.revision != first.revision


def test_a_file_changed_just_before_it_was_hashed_is_hashed_again(tmp_path: Path, read_paths: list[str]) -> None:
    root = tmp_path / "root"
    write(root, {"a.py": "A = 1\n"})
    first = open_folder(root)
    assert entry_of(first, "a.py").stamp == ""
    read_paths.clear()
    open_folder(root, known={"s": remember(first)})
    assert read_paths == ["a.py"]


def test_a_known_stamp_is_believed_and_a_changed_inode_is_not(tmp_path: Path, settled: None) -> None:
    root = tmp_path / "root"
    write(root, {"a.py": "A = 1\n"})
    stamp = entry_of(open_folder(root), "a.py").stamp
    known = {"s": {"a.py": KnownFile("known hash", 6, stamp, "")}}
    assert entry_of(open_folder(root, known=known), "a.py").content_hash == "known hash"
    times = os.stat(root / "a.py")
    write(root, {"new": "A = 2\n"})
    (root / "new").rename(root / "a.py")
    os.utime(root / "a.py", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert entry_of(open_folder(root, known=known), "a.py").content_hash != "known hash"


def test_reading_a_file_that_changed_since_is_an_error(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, {"a.py": "A = 1\n", "b.py": "B = 1\n"})
    snapshot = open_folder(root)
    write(root, {"a.py": "A = 2\n"})
    (root / "b.py").unlink()
    with pytest.raises(SourceError, match="changed while it was being indexed"):
        snapshot.read(entry_of(snapshot, "a.py"))
    with pytest.raises(SourceError, match="does not exist"):
        snapshot.read(entry_of(snapshot, "b.py"))


@pytest.mark.req("I13")
def test_a_moved_file_is_a_rename_when_its_content_is_unique(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, {"a.py": "A = 1\n", "same1.py": "S = 1\n", "same2.py": "S = 1\n"})
    known = {"s": remember(open_folder(root))}
    (root / "sub").mkdir()
    for name in ("a.py", "same1.py", "same2.py"):
        (root / name).rename(root / "sub" / name)
    assert open_folder(root, known=known).renames == (Rename("a.py", "sub/a.py"),)


def test_documents_of_a_file(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, {"tests/test_a.py": "def test_a():\n    pass\n"})
    snapshot = open_folder(root, product="shop")
    entry = snapshot.entries[0]
    (document,) = snapshot.documents(entry, snapshot.read(entry))
    assert (document.path, document.title, document.key) == ("tests/test_a.py", "tests/test_a.py", None)
    assert (document.language, document.role, document.source.product) == ("python", "test", "shop")
    assert document.content_hash == entry.content_hash


def test_a_folder_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"does not exist or is no folder\. Correct `path`"):
        open_folder(tmp_path / "gone")


def test_the_data_folder_below_the_root_is_not_content(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "A = 1\n", "state/control.txt": "x"})
    snapshot = open_files(tmp_path, tmp_path / "state", type="folder")
    assert [entry.path for entry in snapshot.entries] == ["a.py"]


def test_a_product_is_named_after_the_folder(tmp_path: Path) -> None:
    assert name_product(tmp_path / "shop.git") == "shop"
    assert name_product(tmp_path / "shop" / ".git") == "shop"


# a hostile corpus -----------------------------------------------------------------------------------------------------


def build_hostile_corpus(root: Path) -> dict[str, str]:
    """Make every kind of awkward file; return path -> expected reason ("" = indexed)."""
    write(root.parent, {"outside.py": "SECRET = 1\n", "outside/inner.py": "SECRET = 2\n"})
    write(
        root,
        {
            "plain.py": "A = 1\n",
            "one_line.js": b"x" * 900_000,
            "nul.py": b"A = 1\x00\n",
            "late_nul.py": b"A = 1\n" * 5_000 + b"\x00",
            "utf16.py": "B = 'ü'\n".encode("utf-16"),
            "utf16_odd.txt": b"\xff\xfea",
            "latin.py": "C = 'ü'\n".encode("latin-1"),
            "windows.txt": "“quoted”\n".encode("cp1252"),
            "invalid.txt": b"\x80\x81\xfe\xff\x9d" * 100,
            "bom.py": b"\xef\xbb\xbfD = 1\n",
            "empty.py": b"",
            "pointer.csv": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
            "Case.py": "E = 1\n",
            "case.py": "E = 2\n",
            'quote".py': "F = 1\n",
            "apostrophe'.py": "F = 2\n",
            "new\nline.py": "G = 1\n",
            "esc\x1b[2J.py": "G = 2\n",
            "right\u202eto-left.py": "G = 3\n",
            "bad\nfolder/x.py": "G = 4\n",
            "deep/" * 60 + "x.py": "H = 1\n",
        },
    )
    (root / os.fsdecode(b"not-utf8-\xff.py")).write_text("I = 1\n")
    with (root / "huge.py").open("wb") as file:
        file.truncate(200_000_000)
    (root / "to_file.py").symlink_to(root.parent / "outside.py")
    (root / "to_folder").symlink_to(root.parent / "outside")
    (root / "loop").symlink_to("loop")
    (root / "self").symlink_to(".")
    os.mkfifo(root / "fifo.py")
    return {
        "plain.py": "",
        "one_line.js": "long_lines",
        "nul.py": "binary",
        "late_nul.py": "binary",
        "utf16.py": "",
        "utf16_odd.txt": "encoding",
        "latin.py": "",
        "windows.txt": "",
        "invalid.txt": "encoding",
        "bom.py": "",
        "empty.py": "empty",
        "pointer.csv": "lfs_pointer",
        "Case.py": "",
        "case.py": "",
        'quote".py': "",
        "apostrophe'.py": "",
        "new\\nline.py": "bad_name",
        "esc\\x1b[2J.py": "bad_name",
        "right\\u202eto-left.py": "bad_name",
        "bad\\nfolder/": "bad_name",
        "deep/" * 60 + "x.py": "",
        "not-utf8-\\udcff.py": "bad_name",
        "huge.py": "oversized",
        "to_file.py": "symlink",
        "to_folder": "symlink",
        "loop": "symlink",
        "self": "symlink",
        "fifo.py": "special",
    }


@pytest.mark.req("X7")
def test_a_hostile_corpus_is_read_or_left_out_with_a_reason(tmp_path: Path) -> None:
    root = tmp_path / "root"
    expected = build_hostile_corpus(root)
    snapshot = open_folder(root)
    for path, data in contents(snapshot).items():
        list(snapshot.documents(entry_of(snapshot, path), data))
        assert b"SECRET" not in data
    found = dict.fromkeys((entry.path for entry in snapshot.entries), "") | reasons(snapshot)
    assert found == expected
    assert set(found.values()) <= {"", *SKIP_REASONS}
    for path in found:
        path.encode()  # fit for a database


def test_a_socket_is_no_file() -> None:
    root = Path(tempfile.mkdtemp(prefix="s"))  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(root / "s"))
            assert reasons(open_files(root, root / "d", type="folder")) == {"s": "special"}
    finally:
        shutil.rmtree(root)


def test_a_device_is_no_file(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "zero.py", 0o20644, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root can make a device")
    assert reasons(open_files(tmp_path, tmp_path / "data", type="folder")) == {"zero.py": "special"}


def test_what_may_not_be_read_is_reported_and_the_rest_is_indexed(tmp_path: Path) -> None:
    root = Path(tempfile.mkdtemp(prefix="p"))
    root.chmod(0o755)
    write(root, {"a.py": "A = 1\n", "secret.py": "S = 1\n", "closed/x.py": "X = 1\n"})
    (root / "secret.py").chmod(0)
    (root / "closed").chmod(0)
    effective = os.geteuid()
    try:
        if not effective:
            os.seteuid(65534)
        snapshot = open_files(root, tmp_path / "data", type="folder")
        assert reasons(snapshot) == {"secret.py": "unreadable", "closed/": "unreadable"}
        assert [entry.path for entry in snapshot.entries] == ["a.py"]
    finally:
        os.seteuid(effective)
        (root / "closed").chmod(0o755)
        shutil.rmtree(root)


def test_a_large_flat_folder_is_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, {f"f{number:05}.py": f"N = {number}\n" for number in range(3_000)})
    assert len(open_folder(root).entries) == 3_000


def test_a_nested_repository_in_a_folder_source_is_indexed_without_its_git_folder(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, {"one/.git/HEAD": "ref: refs/heads/main\n", "one/a.py": "A = 1\n"})
    assert [entry.path for entry in open_folder(root).entries] == ["one/a.py"]


def test_a_folder_swapped_for_a_link_during_the_walk_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    write(root, {"sub/x.py": "X = 1\n", "a.py": "A = 1\n"})
    write(tmp_path, {"outside/x.py": "SECRET = 1\n"})
    plain = worktree.Scope.judge_folder

    def swap(scope, name, **named):
        (root / "sub").rename(tmp_path / "moved")
        (root / "sub").symlink_to(tmp_path / "outside")
        return plain(scope, name, **named)

    monkeypatch.setattr(worktree.Scope, "judge_folder", swap)
    snapshot = open_folder(root)
    assert [entry.path for entry in snapshot.entries] == ["a.py"]
    assert reasons(snapshot) == {"sub/": "changing"}


def test_a_file_swapped_for_a_link_after_the_walk_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, {"x.py": "X = 1\n"})
    write(tmp_path, {"outside.py": "X = 1\n"})
    snapshot = open_folder(root)
    (root / "x.py").unlink()
    (root / "x.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(SourceError, match="not followed"):
        snapshot.read(snapshot.entries[0])


def test_the_reader_checks_the_hash(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "A = 1\n"})
    entry = open_files(tmp_path, tmp_path / "data", type="folder").entries[0]
    assert folder.read_unchanged(tmp_path, entry) == b"A = 1\n"


# decoding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (b"plain", "plain", "utf-8"),
        ("ü".encode(), "ü", "utf-8"),
        (b"\xef\xbb\xbfx", "x", "utf-8-sig"),
        ("ü".encode("utf-16-le"), None, ""),
        (b"\xff\xfe" + "ü".encode("utf-16-le"), "ü", "utf-16"),
        (b"\xfe\xff" + "ü".encode("utf-16-be"), "ü", "utf-16"),
        ("größer als".encode("latin-1"), "größer als", "latin-1"),
        ("“so-called”".encode("cp1252"), "“so-called”", "cp1252"),
        (b"\xe4\x01binary", None, ""),
        ("日本語テキスト".encode("shift-jis"), None, ""),
    ],
)
def test_decoding(data: bytes, text: str | None, encoding: str) -> None:
    assert decode_text(data) == (text, encoding)


def test_all_types_open_through_one_function(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "# A\n", "t.json": '[{"number": 1, "title": "T"}]'})
    for kind in ("folder", "designs", "tickets"):
        (snapshot,) = open_all(tmp_path, tmp_path / "data", type=kind)
        assert snapshot.entries
