"""X4 and X2: damaged files and full disks."""

import gc
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ingest.errors import DiskFull, IndexCorrupt, IndexEmpty, IndexStateError, VectorUnavailable
from ingest.index import Index, control, generations, status
from ingest.index.files import FILE_MANIFEST, read_file_manifest
from ingest.index.generation import quarantine
from ingest.index.invariants import check_invariants
from ingest.index.jobs import Work, read_work
from ingest.index.schema import SourceState
from ingest.index.stored import decode_chunk, decode_passage
from tests.ingest.index.support import EMBEDDER, publish, see

FLIPS_PER_FILE = int(os.environ.get("FLIPS", "3"))
WEIGHTS = {"content": 1.0}


def version(number: int) -> dict[str, str]:
    return {f"m{i}.py": f"def f{i}():\n    return token v{number} {i}" for i in range(8)}


def flip_bit(path: Path, rng: random.Random) -> None:
    """Flip one bit in a copy: published files share inodes with other generations."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.unlink()
    path.write_bytes(data)


def file_class(path: Path) -> str:
    return path.name if path.suffix == ".json" else path.suffix or path.name


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("damage")
    publish(data_dir, version(1))
    publish(data_dir, version(2))
    publish(data_dir, {"m0.py": "last one token"})
    return data_dir


@pytest.mark.req("F18", "W1")
def test_one_flipped_bit_in_any_file_is_detected_and_an_older_generation_answers(intact: Path, tmp_path: Path) -> None:
    rng = random.Random(11)
    files = sorted(path for path in (intact / "gens" / "3").rglob("*") if path.is_file() and path.stat().st_size)
    classes = {file_class(path) for path in files}
    assert {
        ".store",
        ".idx",
        ".term",
        ".fast",
        ".fieldnorm",
        ".lance",
        ".manifest",
        "meta.json",
        FILE_MANIFEST,
    } <= classes
    for number, path in enumerate(path for path in files for _ in range(FLIPS_PER_FILE)):
        copy = tmp_path / str(number)
        shutil.copytree(intact, copy)
        flip_bit(copy / path.relative_to(intact), rng)
        with Index.open_current(copy, EMBEDDER, verify="full") as index:
            assert (index.generation, index.degraded) == (2, ("rolled_back_generation",)), path.name
            assert len(index.search_text([("token", 1.0)], see(), 20, WEIGHTS)) == 8
        assert [violation.rule for violation in check_invariants(copy)] == ["W1"]
        shutil.rmtree(copy)


@pytest.mark.req("F18")
def test_fast_verification_notices_what_steers_the_engines_and_every_missing_or_truncated_file(
    intact: Path, tmp_path: Path
) -> None:
    folder = intact / "gens" / "3"
    files = [folder / name for name in (*read_file_manifest(folder, None).files, FILE_MANIFEST)]
    for number, path in enumerate(files):
        copy = tmp_path / str(number)
        shutil.copytree(intact, copy)
        target = copy / path.relative_to(intact)
        data = target.read_bytes()
        target.unlink()
        if number % 2:
            target.write_bytes(data[:-1])
        with Index.open_current(copy, EMBEDDER) as index:
            assert index.degraded == ("rolled_back_generation",), path.name
        shutil.rmtree(copy)


@pytest.mark.req("F18", "W6")
def test_writer_repairs_a_damaged_generation_by_publishing_from_the_intact_one(intact: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(intact, copy)
    flip_bit(next((copy / "gens" / "3").glob("tantivy/meta.json")), random.Random(1))
    assert any("does not match its hash" in alarm for alarm in status(copy).alarms)
    index = Index.open_current(copy, EMBEDDER)
    assert index.degraded == ("rolled_back_generation",)
    assert index.refreshed(copy) is index  # the pointer stands still: no opening again and again
    manifest = publish(copy, {"m0.py": "last one token"})
    assert (manifest.generation, manifest.parent) == (4, 2)
    newer = index.refreshed(copy)
    index.close()
    assert (newer.generation, newer.degraded) == (4, ())
    newer.close()
    assert check_invariants(copy) == []


def test_no_intact_generation_is_an_error_and_the_next_build_starts_anew(tmp_path: Path) -> None:
    publish(tmp_path, version(1))
    flip_bit(tmp_path / "gens" / "1" / FILE_MANIFEST, random.Random(2))
    with pytest.raises(IndexCorrupt, match=r"No generation in .* is intact.*codecairn index"):
        Index.open_current(tmp_path)
    manifest = publish(tmp_path, version(1))
    assert (manifest.generation, manifest.parent) == (2, None)
    assert check_invariants(tmp_path) == []


@pytest.mark.parametrize("data", [b"", b"\xff", b"{}", b"[1]", b'[1, "gone"]', b'[1, "app", "a.py"]'])
def test_a_stored_chunk_that_cannot_be_read_is_a_sentence(data: bytes) -> None:
    state = SourceState("app", "code", "shop", (), "internal", "", "", 0, 0, {}, "")
    for decode in (lambda: decode_chunk(data, {"app": state}), lambda: decode_passage(data, {"app": "code"})):
        with pytest.raises(IndexCorrupt, match=r"stored chunk .*codecairn doctor --deep"):
            decode()


@pytest.mark.req("F18")
def test_all_generations_that_are_kept_are_looked_at_but_those_out_of_use(intact: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(intact, copy)
    for number, suffix in ((1, ".store"), (2, ".fast")):
        flip_bit(next((copy / "gens" / str(number)).glob(f"tantivy/*{suffix}")), random.Random(3))
    assert check_invariants(copy) == []
    found = "; ".join(map(str, check_invariants(copy, older=True)))
    assert "gens/1/" in found and "gens/2/" in found and "gens/3/" not in found
    assert quarantine(copy) == [2, 1]
    assert check_invariants(copy, older=True) == []


@pytest.mark.req("F3", "K1")
def test_missing_vectors_leave_text_search_working_and_say_so(tmp_path: Path) -> None:
    publish(tmp_path, version(1))
    with Index.open_current(tmp_path, EMBEDDER) as index:
        shutil.rmtree(tmp_path / "gens" / "1" / "lance")
        with pytest.raises(VectorUnavailable, match="vector index in"):
            index.search_vector("token", see(), 5)
        assert len(index.search_text([("token", 1.0)], see(), 20, WEIGHTS)) == 8


@pytest.mark.parametrize("seed", range(8))
def test_damaged_control_db_never_answers_wrongly(intact: Path, tmp_path: Path, seed: int) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(intact, copy)
    connection = sqlite3.connect(copy / control.CONTROL)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    rng = random.Random(seed)
    data = bytearray((copy / control.CONTROL).read_bytes())
    start = rng.randrange(len(data) - 512)
    data[start : start + 512] = rng.randbytes(512)
    (copy / control.CONTROL).write_bytes(data)
    try:
        with Index.open_current(copy, EMBEDDER, verify="full") as index:
            expected = 3 if not index.degraded else 2
            assert index.generation == expected
    except IndexStateError as error:
        assert "codecairn index" in str(error)
    check_invariants(copy)  # reports, never raises


def test_pointer_that_was_altered_is_not_followed(tmp_path: Path) -> None:
    publish(tmp_path, version(1))
    publish(tmp_path, version(2))
    connection = sqlite3.connect(tmp_path / control.CONTROL)
    connection.execute("UPDATE pointer SET gen = 1")
    connection.commit()
    connection.close()
    with pytest.raises(IndexCorrupt, match="pointer row"):
        Index.open_current(tmp_path)
    assert [violation.rule for violation in check_invariants(tmp_path)] == ["W1"]


@pytest.mark.req("F18", "W6")
@pytest.mark.parametrize(
    ("statement", "served", "parent"),
    [
        ("UPDATE generation SET manifest = 'x' WHERE id = 1", 3, 3),
        ('UPDATE generation SET manifest = \'{"sums": {}, "manifest": []}\' WHERE id = 3', 2, 2),
        ("UPDATE generation SET manifest = '[]'", None, None),
        ("DELETE FROM generation WHERE id = 3", 2, 2),
        ("DELETE FROM generation", None, None),
        ("UPDATE pointer SET gen = 1", None, 3),
        ("UPDATE pointer SET checksum = 'x'", None, 3),
    ],
)
def test_a_damaged_row_of_control_db_keeps_nobody_from_building_again(
    intact: Path, tmp_path: Path, statement: str, served: int | None, parent: int | None
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(intact, copy)
    with closing(sqlite3.connect(copy / control.CONTROL)) as connection, connection:
        connection.execute(statement)
    if served is None:
        with pytest.raises(IndexCorrupt, match="Run `codecairn index`"):
            Index.open_current(copy)
    else:
        assert Index.open_current(copy).generation == served
    if "pointer" not in statement:
        lost = any("does not say what generation 3 holds. Run" in alarm for alarm in status(copy).alarms)
        assert lost == (served != 3)
    manifest = publish(copy, {"m1.py": "mended token"})
    assert (manifest.generation, manifest.parent) == (4, parent)
    assert check_invariants(copy) == []
    for number in range(3):
        publish(copy, {"m1.py": f"later {number}"})
    assert sorted(int(path.name) for path in (copy / "gens").iterdir()) == [5, 6, 7]


def test_control_db_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / control.CONTROL).write_bytes(b"hello " * 1000)
    with pytest.raises(IndexCorrupt, match=r"control\.db cannot be used .*run `codecairn index`"):
        Index.open_current(tmp_path)
    with pytest.raises(IndexCorrupt):
        publish(tmp_path, version(1))
    assert [violation.rule for violation in check_invariants(tmp_path)] == ["control"]


def test_control_db_that_another_process_is_just_creating_is_no_damage(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / control.CONTROL)) as creating:
        creating.execute("PRAGMA journal_mode = WAL")
        creating.execute("BEGIN IMMEDIATE")
        creating.execute("CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        with pytest.raises(IndexEmpty, match="Nothing was indexed"):
            Index.open_current(tmp_path)
        assert status(tmp_path).current is None
        assert generations(tmp_path) == []
        assert read_work(tmp_path) == Work()
        assert check_invariants(tmp_path) == []


def test_control_db_is_created_at_once_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(IndexCorrupt):
        patch.setattr(control, "VERSION_ROW", "SELECT cut_off;")
        publish(tmp_path, version(1))
    assert not control.is_created(tmp_path)
    publish(tmp_path, version(1))
    assert Index.open_current(tmp_path).generation == 1


@pytest.mark.req("W1")
@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("DELETE FROM chunk WHERE rowid = (SELECT max(rowid) FROM chunk)", "W1"),
        ("UPDATE chunk SET id = 5 WHERE rowid = (SELECT max(rowid) FROM chunk)", "W1"),
        ("UPDATE file SET content_hash = 'x' WHERE gen_to IS NULL", "W3"),
        ("UPDATE generation SET content_hash = 'x'", "W3"),
        ("UPDATE generation SET manifest = replace(manifest, 'shop', 'bank')", "W1"),
        ("DELETE FROM generation WHERE id = 3", "W1"),
    ],
)
def test_invariants_notice_a_control_db_that_tells_another_story(
    intact: Path, tmp_path: Path, statement: str, rule: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(intact, copy)
    connection = sqlite3.connect(copy / control.CONTROL)
    connection.execute(statement)
    connection.commit()
    connection.close()
    assert rule in [violation.rule for violation in check_invariants(copy)]


PUBLISH_UNDER_LIMIT = """
import resource, signal, sys
from pathlib import Path
import lancedb
from ingest.errors import DiskFull
from tests.ingest.index.support import publish
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    publish(Path(sys.argv[1]), {f"n{i}.py": "words " * 3000 + str(i) for i in range(40)})
except DiskFull as error:
    print("full", error)
else:
    print("published")
"""


@pytest.mark.req("F14")
@pytest.mark.parametrize("limit", [2_000, 20_000, 60_000])
def test_file_that_cannot_grow_is_a_full_disk_and_nothing_is_published(tmp_path: Path, limit: int) -> None:
    publish(tmp_path, version(1))
    command = [sys.executable, "-W", "ignore", "-c", PUBLISH_UNDER_LIMIT, str(tmp_path), str(limit)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.stdout.startswith("full "), run.stdout + run.stderr
    assert "free some space" in run.stdout
    with Index.open_current(tmp_path, verify="full") as index:
        assert index.generation == 1
    assert check_invariants(tmp_path) == []
    assert publish(tmp_path, version(2)).generation == 2


def mount_tmpfs(folder: Path, size: str) -> bool:
    folder.mkdir()
    return (
        os.geteuid() == 0
        and shutil.which("mount") is not None
        and (
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True
            ).returncode
            == 0
        )
    )


@pytest.mark.slow
@pytest.mark.req("F14")
def test_full_disk_keeps_the_old_generation_and_the_next_run_publishes(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    if not mount_tmpfs(disk, "3m"):
        pytest.skip("needs root and mount")
    try:
        data_dir = disk / "data"
        published, full = 0, 0
        for number in range(1, 200):
            try:
                manifest = publish(
                    data_dir, {f"m{number}.py": "\n\n".join(f"token {number} {i} " + "x" * 900 for i in range(60))}
                )
                published = manifest.generation
            except DiskFull:
                full += 1
                with Index.open_current(data_dir, EMBEDDER, verify="full") as index:
                    assert index.generation == published
                    assert index.search_text([("token", 1.0)], see(), 5, WEIGHTS)
                    assert index.search_vector("token", see(), 5)
                if full == 3:
                    break
        assert full == 3 and published >= 2
        subprocess.run(["mount", "-o", "remount,size=12m", str(disk)], check=True)
        assert publish(data_dir, {"last.py": "token last"}).generation > published
        assert check_invariants(data_dir) == []
    finally:
        gc.collect()  # readers still map files of the disk
        subprocess.run(["umount", "-l", str(disk)], check=False)
