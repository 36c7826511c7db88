"""W9: kill -9 keeps the page cache, so power loss is shown by the order of system calls instead."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.index import control, files
from ingest.index.files import FILE_MANIFEST, generation_folder, list_files, read_file_manifest
from tests.ingest.index.kill_run import ROOT
from tests.ingest.index.support import NOW, SOURCE, make_entry, open_publication, prepare_text, publish

TEXT = "def login():\n    return token"


def fresh_files(data_dir: Path, generation: int, parent: int | None) -> set[str]:
    """Return the files of a generation that do not share their inode with the parent, and the manifest."""
    folder = generation_folder(data_dir, generation)
    names = read_file_manifest(folder, None).files.keys()
    older = {stat.st_ino for stat in list_files(generation_folder(data_dir, parent)).values()} if parent else set()
    return {name for name in names if (folder / name).stat().st_ino not in older} | {FILE_MANIFEST}


class Recorder(sqlite3.Connection):
    """A connection that writes its commits into the same record as the fsync calls."""

    events: list[str] = []

    def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
        if sql == "COMMIT":
            Recorder.events.append("COMMIT")
        return super().execute(sql, *args)


@pytest.mark.req("W9")
@pytest.mark.parametrize("delta", [False, True])
def test_W9_every_new_file_and_directory_is_synced_before_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delta: bool
) -> None:
    if delta:
        publish(tmp_path, {"a.py": TEXT, "b.py": TEXT + " b"})
    Recorder.events = []
    real_fsync, real_connect = os.fsync, sqlite3.connect

    def record_fsync(descriptor: int) -> None:
        Recorder.events.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(control.sqlite3, "connect", lambda *a, **k: real_connect(*a, **{**k, "factory": Recorder}))
    manifest = publish(tmp_path, {"a.py": TEXT + " changed"})
    synced = Recorder.events[: Recorder.events.index("COMMIT")]
    folder = generation_folder(tmp_path, manifest.generation)
    missing = {
        name for name in fresh_files(tmp_path, manifest.generation, manifest.parent) if str(folder / name) not in synced
    }
    assert missing == set()
    directories = {folder, folder.parent, tmp_path, *(path for path in folder.rglob("*") if path.is_dir())}
    assert {str(path) for path in directories} <= set(synced)
    assert len([name for name in fresh_files(tmp_path, manifest.generation, manifest.parent)]) > 8


@pytest.mark.req("W9")
def test_order_check_notices_a_file_that_was_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "sync_file", lambda path: None)
    with pytest.raises(ValueError, match="COMMIT|not in list"):
        Recorder.events = []
        publish(tmp_path, {"a.py": TEXT})
        Recorder.events.index("COMMIT")


@pytest.mark.req("W9")
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_W9_the_kernel_sees_every_fsync_before_the_pointer_reaches_the_log(tmp_path: Path) -> None:
    data_dir, log = tmp_path / "data", tmp_path / "strace"
    publish(data_dir, {"a.py": TEXT, "b.py": TEXT + " b"})
    program = (
        "import sys; from pathlib import Path; from tests.ingest.index.support import publish\n"
        f"publish(Path(sys.argv[1]), {{'a.py': {TEXT + ' changed'!r}}})\n"
    )
    command = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,pwrite64", "-s", "0", "-o", str(log)]
    run = subprocess.run(
        [*command, sys.executable, "-W", "ignore", "-c", program, str(data_dir)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if "ptrace" in run.stderr.lower() and run.returncode:
        pytest.skip("ptrace is not permitted here")
    assert run.returncode == 0, run.stderr
    calls = re.findall(r"(fsync|fdatasync|pwrite64)\(\d+<([^>]+)>", log.read_text())
    wal = f"{data_dir / control.CONTROL}-wal"
    last_sync_of_generation = max(i for i, (call, path) in enumerate(calls) if call != "pwrite64" and "/gens" in path)
    synced = {path for call, path in calls[: last_sync_of_generation + 1] if call != "pwrite64"}
    folder = generation_folder(data_dir, 2)
    assert {str(folder / name) for name in fresh_files(data_dir, 2, 1)} <= synced
    after = calls[last_sync_of_generation + 1 :]
    first_write = next(i for i, (call, path) in enumerate(after) if call == "pwrite64" and path == wal)
    assert any(call != "pwrite64" and path == wal for call, path in after[first_write:])  # the commit itself is durable


@pytest.mark.req("W9")
def test_files_that_were_synced_rebuild_the_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X3: copy only what was forced to the disk; the copy must hold the whole published generation."""
    publish(tmp_path / "data", {"a.py": TEXT})
    synced: set[str] = {str(path) for path in generation_folder(tmp_path / "data", 1).rglob("*") if path.is_file()}
    real_fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    with open_publication(tmp_path / "data") as publication:
        publication.begin_source(SOURCE, "r2", "/src")
        publication.add_file("app", make_entry("b.py", TEXT), prepare_text(SOURCE, "b.py", TEXT))
        publication.commit(NOW)
    folder = generation_folder(tmp_path / "data", 2)
    parent = {stat.st_ino for stat in list_files(generation_folder(tmp_path / "data", 1)).values()}
    target = tmp_path / "after_power_loss"
    for path in (path for path in folder.rglob("*") if path.is_file()):
        if str(path) in synced or path.stat().st_ino in parent:
            copy = target / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    manifest = read_file_manifest(target, None)
    files.verify_files(target, manifest, "full")
    assert json.loads((target / FILE_MANIFEST).read_text())["generation"] == 2
