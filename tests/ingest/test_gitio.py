"""Git on untrusted repositories: each attack plants a command that leaves a marker, shown to run with plain git."""

import ast
import hashlib
import os
import select
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import IO

import pytest

from ingest import gitio
from ingest.errors import GitError, SourceError
from ingest.gitio import FileGone, find_repository, head_commit, read_head, read_worktree_file, update_mirror
from tests.ingest.sources.support import commit, contents, git, make_repository, open_all, write
from tests.ingest.waiting import PATIENCE_S

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repo", {"a.py": "A = 1\n", "sub/b.py": "B = 2\n"})


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


def plant(marker: Path, body: str = "cat") -> str:
    """Write a program that leaves the marker and then behaves."""
    program = marker.with_name("evil.sh")
    program.write_text(f"#!/bin/sh\ntouch '{marker}'\n{body}\n")
    program.chmod(0o755)
    return str(program)


def read_everything(repository: Path, data_dir: Path) -> None:
    """Do all that an index run does with a repository, twice, with an edit between."""
    previous = ""
    for _ in range(2):
        snapshots = open_all(repository, data_dir, previous=previous)
        for snapshot in snapshots:
            for entry in snapshot.entries:
                list(snapshot.documents(entry, snapshot.read(entry)))
        previous = snapshots[0].revision
        (repository / "a.py").write_text("A = 1\nEDITED = 2\n")


# attacks --------------------------------------------------------------------------------------------------------------


def plant_fsmonitor(repository: Path, marker: Path) -> list[str]:
    git(repository, "config", "core.fsmonitor", plant(marker, "exit 1"))
    return ["status"]


def plant_clean_filter(repository: Path, marker: Path) -> list[str]:
    write(repository, {".gitattributes": "* filter=evil\n"})
    git(repository, "config", "filter.evil.clean", plant(marker))
    os.utime(repository / "a.py", (1, 1))
    return ["diff"]


def plant_smudge_filter(repository: Path, marker: Path) -> list[str]:
    commit(repository, "Attributes", {".gitattributes": "* filter=evil\n"})
    git(repository, "config", "filter.evil.smudge", plant(marker))
    return ["archive", "--format=tar", "HEAD"]


def plant_process_filter(repository: Path, marker: Path) -> list[str]:
    commit(repository, "Attributes", {".gitattributes": "* filter=evil\n"})
    git(repository, "config", "filter.evil.process", plant(marker, "exit 1"))
    return ["archive", "--format=tar", "HEAD"]


def plant_textconv(repository: Path, marker: Path) -> list[str]:
    commit(repository, "Attributes", {".gitattributes": "*.py diff=evil\n", "a.py": "A = 3\n"})
    git(repository, "config", "diff.evil.textconv", f"{plant(marker)} <")
    return ["log", "-p"]


def plant_diff_command(repository: Path, marker: Path) -> list[str]:
    git(repository, "config", "diff.external", plant(marker, ":"))
    (repository / "a.py").write_text("A = 4\n")
    return ["diff"]


def plant_hooks(repository: Path, marker: Path) -> list[str]:
    program = plant(marker, "exit 0")
    for name in ("reference-transaction", "post-checkout", "post-index-change", "pre-auto-gc", "post-update"):
        hook = repository / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(Path(program).read_text())
        hook.chmod(0o755)
    return ["update-ref", "refs/heads/other", "HEAD"]


def plant_signature_program(repository: Path, marker: Path) -> list[str]:
    plain = git(repository, "cat-file", "commit", "HEAD")
    head, _, message = plain.partition("\n\n")
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----"
    signed = git(
        repository, "hash-object", "-t", "commit", "-w", "--stdin", stdin=f"{head}\n{signature}\n\n{message}\n"
    )
    git(repository, "update-ref", "refs/heads/main", signed)
    git(repository, "config", "gpg.program", plant(marker))
    git(repository, "config", "log.showSignature", "true")
    return ["log", "-1"]


ATTACKS: list[Callable[[Path, Path], list[str]]] = [
    plant_fsmonitor,
    plant_clean_filter,
    plant_smudge_filter,
    plant_process_filter,
    plant_textconv,
    plant_diff_command,
    plant_hooks,
    plant_signature_program,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.req("I20")
def test_nothing_that_a_repository_configures_is_run(
    attack: Callable[[Path, Path], list[str]], repository: Path, marker: Path, tmp_path: Path
) -> None:
    command = attack(repository, marker)
    marker.unlink(missing_ok=True)
    read_everything(repository, tmp_path / "data")
    assert not marker.exists()
    git(repository, *command, check=False)
    assert marker.exists(), "the attack no longer works with plain git, so this test shows nothing"


def test_a_promisor_remote_is_not_asked_for_a_missing_object(repository: Path, marker: Path, tmp_path: Path) -> None:
    blob = git(repository, "rev-parse", "HEAD:sub/b.py")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    for key, value in {
        "core.repositoryformatversion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": str(repository),
        "remote.origin.uploadpack": plant(marker, "exit 1"),
    }.items():
        git(repository, "config", key, value)
    with pytest.raises(GitError, match="git fetch failed"):
        open_all(repository, tmp_path / "data")
    assert not marker.exists()
    git(repository, "cat-file", "-p", blob, check=False)
    assert marker.exists()


def test_a_repository_of_another_owner_that_the_operator_named_is_read(repository: Path, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    for path in [repository, *repository.rglob("*")]:
        os.chown(path, 12345, 12345)
    with pytest.raises(AssertionError, match="dubious ownership"):
        git(tmp_path, "ls-remote", str(repository))
    assert set(contents(open_all(repository, tmp_path / "data")[0])) == {"a.py", "sub/b.py"}


def test_variables_of_a_calling_hook_do_not_redirect_git(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = git(repository, "rev-parse", "HEAD")
    git(repository, "mv", "a.py", "moved.py")
    new = commit(repository, "Move")
    other = make_repository(tmp_path / "other", {"private.py": "SECRET = 1\n"})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other / ".git" / "objects"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.fsmonitor'='true'")
    files, _ = open_all(repository, tmp_path / "data")
    assert set(contents(files)) == {"moved.py", "sub/b.py"}
    mirror = update_mirror(find_repository(repository), tmp_path / "data").path
    assert gitio.find_renames(mirror, old, new) == {"a.py": "moved.py"}


# borrowed content -----------------------------------------------------------------------------------------------------


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "private", {"secret.py": "SECRET = 1\n"})


def refusal(path: Path, tmp_path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        open_all(path, tmp_path / "data")
    return str(caught.value)


@pytest.mark.req("S9")
def test_a_symbolic_link_instead_of_the_git_folder_is_refused(private: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / ".git").symlink_to(private / ".git")
    assert "symbolic link, which is not followed" in refusal(hostile, tmp_path)


def test_a_git_file_that_names_a_repository_which_does_not_name_it_back_is_refused(
    private: Path, tmp_path: Path
) -> None:
    write(tmp_path / "hostile", {".git": f"gitdir: {private / '.git'}\n"})
    assert "does not name" in refusal(tmp_path / "hostile", tmp_path)


def test_a_common_folder_elsewhere_is_refused(private: Path, repository: Path, tmp_path: Path) -> None:
    write(repository, {".git/commondir": f"{private / '.git'}\n"})
    assert "no linked work tree" in refusal(repository, tmp_path)


def test_alternates_are_refused(private: Path, repository: Path, tmp_path: Path) -> None:
    secret = git(private, "rev-parse", "HEAD")
    write(repository, {".git/objects/info/alternates": f"{private / '.git' / 'objects'}\n", ".git/HEAD": f"{secret}\n"})
    assert git(repository, "cat-file", "-t", "HEAD") == "commit"  # plain git follows it
    assert "takes objects from elsewhere" in refusal(repository, tmp_path)


@pytest.mark.parametrize("part", ["objects", "objects/pack", "refs"])
def test_a_linked_object_store_is_refused(part: str, private: Path, repository: Path, tmp_path: Path) -> None:
    git(private, "repack", "-adq")
    target = repository / ".git" / part
    target.rename(target.with_name("moved"))
    target.symlink_to(private / ".git" / part)
    message = refusal(repository, tmp_path)
    assert "elsewhere" in message or "not followed" in message


def test_core_worktree_does_not_move_the_root(private: Path, repository: Path, tmp_path: Path) -> None:
    git(repository, "config", "core.worktree", str(private))
    assert set(contents(open_all(repository, tmp_path / "data")[0])) == {"a.py", "sub/b.py"}


@pytest.mark.parametrize("head", ["ref: --upload-pack=touch x", "ref: ../../etc/passwd", "nonsense", "", "ref: refs/"])
def test_a_hostile_head_is_no_option_and_no_path(head: str, repository: Path, tmp_path: Path) -> None:
    write(repository, {".git/HEAD": head})
    assert head_commit(repository) is None


def test_a_fifo_in_place_of_head_does_not_block(repository: Path) -> None:
    (repository / ".git" / "HEAD").unlink()
    os.mkfifo(repository / ".git" / "HEAD")
    assert head_commit(repository) is None


@pytest.mark.parametrize("ref", ["--output=/tmp/x", "main..other", "main^{/x}", "a b", "@{u}", "-n"])
def test_a_ref_that_is_an_option_or_an_expression_is_refused(ref: str, repository: Path, tmp_path: Path) -> None:
    with pytest.raises(GitError, match="no branch, tag or commit"):
        open_all(repository, tmp_path / "data", ref=ref)


# the allow-list -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subcommand", "argument"),
    [("status", ""), ("fetch", "--upload-pack=evil"), ("rev-parse", "--git-dir"), ("diff-tree", "--ext-diff")],
)
def test_only_listed_commands_and_options_run(subcommand: str, argument: str) -> None:
    with pytest.raises(GitError, match="not on the allow-list"):
        gitio.run_git(subcommand, *filter(None, [argument]))


def test_a_command_that_takes_too_long_is_stopped(repository: Path, tmp_path: Path, monkeypatch) -> None:
    slow = tmp_path / "bin" / "git"
    write(tmp_path, {"bin/git": "#!/bin/sh\nsleep 60\n"})
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(GitError, match="took longer than 0 s and was stopped"):
        gitio.run_git("rev-parse", "HEAD", git_dir=repository / ".git", timeout_s=0.05)


def test_output_beyond_the_cap_stops_the_command(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitio, "MAX_OUTPUT_BYTES", 10)
    with pytest.raises(GitError, match="printed more than 10 bytes"):
        gitio.run_git("rev-parse", "HEAD", git_dir=repository / ".git")


def test_a_missing_git_is_a_sentence(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match=r"git was not found\. Install git"):
        open_all(repository, tmp_path / "data")
    (tmp_path / "sh").symlink_to("/bin/sh")
    with pytest.raises(GitError, match=r"git was not found\. Install git"):
        gitio.run_git("ls-remote", str(repository))


def test_no_other_module_imports_git_or_starts_it() -> None:
    offenders = []
    for package in ("ingest", "mcp_server", "traces", "prompts"):
        for path in (PROJECT / package).rglob("*.py"):
            if path.name == "gitio.py":
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                starts_git = isinstance(node, ast.List) and any(
                    isinstance(item, ast.Constant) and item.value == "git" for item in node.elts[:1]
                )
                if any(name.split(".")[0] == "git" for name in names) or starts_git:
                    offenders.append(str(path))
    assert not offenders


# reading one file -----------------------------------------------------------------------------------------------------


def test_a_file_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"a/b/c.txt": "text"})
    assert read_worktree_file(tmp_path, "a/b/c.txt", 100) == b"text"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a//b", "", ".", "a/./b", "a\x00b", "a/"])
def test_a_path_that_leads_out_is_refused(path: str, tmp_path: Path) -> None:
    write(tmp_path / "root", {"a/b": "inside"})
    write(tmp_path, {"x": "outside"})
    with pytest.raises(SourceError):
        read_worktree_file(tmp_path / "root", path, 100)


def test_no_symbolic_link_is_followed_at_any_level(tmp_path: Path) -> None:
    write(tmp_path, {"outside/x": "secret", "root/real/y": "inside"})
    (tmp_path / "root" / "file").symlink_to(tmp_path / "outside" / "x")
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "loop").symlink_to("loop")
    for path in ("file", "folder/x", "loop", "loop/x"):
        with pytest.raises(SourceError, match="not followed"):
            read_worktree_file(tmp_path / "root", path, 100)
    (tmp_path / "alias").symlink_to(tmp_path / "root")  # the root itself is the operator's choice
    assert read_worktree_file(tmp_path / "alias", "real/y", 100) == b"inside"


def test_only_regular_files_within_the_cap_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    write(tmp_path, {"large": "x" * 11, "fits": "x" * 10})
    with pytest.raises(SourceError, match="no regular file"):
        read_worktree_file(tmp_path, "fifo", 100)
    with pytest.raises(SourceError, match="no regular file"):
        read_worktree_file(tmp_path, "folder", 100)
    with pytest.raises(SourceError, match="11 bytes, more than the 10"):
        read_worktree_file(tmp_path, "large", 10)
    assert len(read_worktree_file(tmp_path, "fits", 10)) == 10


def test_a_missing_file_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileGone):
        read_worktree_file(tmp_path, "gone/too", 100)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    write(tmp_path, {"a/b/c": "x"})
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for path in ("a/b/c", "a/b/none", "a/none/c", "a/b"):
        try:
            read_worktree_file(tmp_path, path, 10)
        except SourceError:
            continue
    assert not before or len(os.listdir("/proc/self/fd")) == before


# head and refs --------------------------------------------------------------------------------------------------------


def test_head_of_a_branch_loose_packed_and_detached(repository: Path) -> None:
    commit_id = git(repository, "rev-parse", "HEAD")
    assert read_head(repository) == gitio.Head("refs/heads/main", commit_id)
    git(repository, "pack-refs", "--all")
    assert read_head(repository) == gitio.Head("refs/heads/main", commit_id)
    git(repository, "checkout", "-q", "--detach")
    assert read_head(repository) == gitio.Head(None, commit_id)


def test_head_without_a_commit(tmp_path: Path) -> None:
    assert read_head(make_repository(tmp_path / "new")) == gitio.Head("refs/heads/main", None)


def test_head_of_a_linked_work_tree(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", "-b", "topic", str(tmp_path / "linked"))
    newer = commit(tmp_path / "linked", "Topic", {"topic.py": "T = 1\n"})
    assert head_commit(tmp_path / "linked") == newer != head_commit(repository)
    git(repository, "pack-refs", "--all")
    assert head_commit(tmp_path / "linked") == newer


def test_head_of_a_submodule_and_of_a_separate_git_folder(repository: Path, tmp_path: Path) -> None:
    outer = make_repository(tmp_path / "outer", {"o.py": "O = 1\n"})
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repository), "inner")
    assert head_commit(outer / "inner") == git(repository, "rev-parse", "HEAD")
    git(repository.parent, "clone", "-q", "--separate-git-dir", str(tmp_path / "away"), str(repository), "apart")
    assert head_commit(tmp_path / "apart") is None  # nothing in it names the work tree back
    git(tmp_path / "apart", "config", "core.worktree", str(tmp_path / "apart"))
    assert head_commit(tmp_path / "apart") == git(repository, "rev-parse", "HEAD")


def test_no_repository_is_a_sentence_that_names_the_one_above(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=rf"{repository} is one: set `path` to it"):
        find_repository(repository / "sub")
    with pytest.raises(SourceError, match=r"does not exist or is no folder\. Correct `path`"):
        find_repository(tmp_path / "none")


# mirrors --------------------------------------------------------------------------------------------------------------


def test_the_mirror_follows_commits_branches_and_a_forced_push(repository: Path, tmp_path: Path) -> None:
    found = find_repository(repository)
    first = update_mirror(found, tmp_path / "data")
    newer = commit(repository, "Second", {"a.py": "A = 2\n"})
    assert update_mirror(found, tmp_path / "data") == gitio.Mirror(first.path, newer)
    git(repository, "commit", "-q", "--amend", "-m", "Rewritten")
    rewritten = git(repository, "rev-parse", "HEAD")
    assert update_mirror(found, tmp_path / "data").commit == rewritten
    assert gitio.list_commits(first.path, rewritten, 10) == [rewritten, first.commit]
    git(repository, "checkout", "-q", "--detach")
    detached = commit(repository, "Detached", {"d.py": "D = 1\n"})
    assert update_mirror(found, tmp_path / "data").commit == detached
    assert [item.path for item in gitio.list_tree(first.path, detached)] == ["a.py", "d.py", "sub/b.py"]


def test_an_unchanged_head_starts_no_process(repository: Path, tmp_path: Path, monkeypatch) -> None:
    found = find_repository(repository)
    update_mirror(found, tmp_path / "data")
    monkeypatch.setattr(gitio.subprocess, "Popen", None)
    assert update_mirror(found, tmp_path / "data").commit == head_commit(repository)


def test_a_mirror_that_a_killed_fetch_left_behind_is_made_anew(repository: Path, tmp_path: Path) -> None:
    found = find_repository(repository)
    mirror = update_mirror(found, tmp_path / "data")
    newer = commit(repository, "Second", {"a.py": "A = 2\n"})
    write(mirror.path, {"refs/heads/main.lock": "", "refs/codecairn/head.lock": ""})
    assert update_mirror(found, tmp_path / "data").commit == newer
    assert [path.name for path in (tmp_path / "data" / "mirrors").iterdir()] == [mirror.path.name]


@pytest.mark.parametrize("packed", [False, True])
def test_a_mirror_with_a_corrupt_object_that_a_fetch_needs_is_made_anew(
    packed: bool, repository: Path, tmp_path: Path
) -> None:
    lines = "".join(f"LINE_{n} = {hash_of(n)!r}\n" for n in range(1000))
    commit(repository, "Long", {"long.py": lines})
    found = find_repository(repository)
    mirror = update_mirror(found, tmp_path / "data").path
    if packed:
        git(mirror, "repack", "-adq")
    blob = git(repository, "rev-parse", "HEAD:long.py")
    file = next(mirror.glob("objects/pack/*.pack")) if packed else mirror / "objects" / blob[:2] / blob[2:]
    file.chmod(0o600)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + b"damaged" + data[len(data) // 2 + 7 :])
    newer = commit(repository, "Longer", {"long.py": lines + "LAST = 1\n"})
    assert update_mirror(found, tmp_path / "data").commit == newer
    git(mirror, "fsck")


def hash_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def test_a_repository_of_another_kind_under_the_same_path_is_mirrored_anew(repository: Path, tmp_path: Path) -> None:
    update_mirror(find_repository(repository), tmp_path / "data")
    repository.rename(tmp_path / "old")
    repository.mkdir()
    git(repository, "init", "-q", "-b", "main", "--object-format=sha256")
    first = commit(repository, "First", {"a.py": "A = 1\n"})
    assert update_mirror(find_repository(repository), tmp_path / "data").commit == first


@pytest.fixture
def stuck(tmp_path: Path, repository: Path) -> Iterator[tuple[subprocess.Popen, IO[str]]]:
    """A process whose first fetch of a repository hangs, and what reads to its end once that git is gone."""
    signs = tmp_path / "signs"
    os.mkfifo(signs)
    hangs = (
        f'#!/bin/sh\ncase "$*" in *fetch*) exec >{signs}; echo fetches; sleep 1000;; esac\nexec {which("git")} "$@"\n'
    )
    write(tmp_path, {"bin/git": hangs})
    (tmp_path / "bin" / "git").chmod(0o755)
    code = "import sys; from pathlib import Path; from ingest.gitio import *; "
    code += "update_mirror(find_repository(Path(sys.argv[1])), Path(sys.argv[2]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(repository), str(tmp_path / "data")],
        cwd=PROJECT,
        env=os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"},
    )
    with signs.open() as reader:
        yield process, reader
    process.kill()
    process.wait()


def test_what_a_killed_first_copy_leaves_is_removed_by_the_next_one_and_its_git_ends(
    stuck: tuple[subprocess.Popen, IO[str]], tmp_path: Path
) -> None:
    process, signs = stuck
    mirrors = tmp_path / "data" / "mirrors"
    assert signs.readline() == "fetches\n"
    (fragment,) = mirrors.iterdir()
    other = make_repository(tmp_path / "other", {"o.py": "O = 1\n"})
    mirror = update_mirror(find_repository(other), tmp_path / "data").path
    assert set(mirrors.iterdir()) == {fragment, mirror}  # it is being made

    process.kill()
    process.wait()
    assert select.select([signs], [], [], PATIENCE_S)[0], "git outlives the process that started it"
    assert signs.read() == ""
    commit(other, "Second", {"o.py": "O = 2\n"})
    update_mirror(find_repository(other), tmp_path / "data")
    assert set(mirrors.iterdir()) == {mirror}


def test_a_shallow_clone_is_mirrored_and_later_deepened(repository: Path, tmp_path: Path) -> None:
    for number in range(3):
        commit(repository, f"Commit {number}", {"n.py": f"N = {number}\n"})
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", "shallow")
    shallow = tmp_path / "shallow"
    mirror = update_mirror(find_repository(shallow), tmp_path / "data")
    assert len(gitio.list_commits(mirror.path, mirror.commit, 10)) == 1
    git(shallow, "fetch", "-q", "--unshallow")
    newer = commit(shallow, "More", {"m.py": "M = 1\n"})
    assert update_mirror(find_repository(shallow), tmp_path / "data").commit == newer
    assert len(gitio.list_commits(mirror.path, newer, 10)) == 5


def test_a_sha256_repository_is_mirrored(tmp_path: Path) -> None:
    repository = tmp_path / "wide"
    repository.mkdir()
    git(repository, "init", "-q", "-b", "main", "--object-format=sha256")
    commit(repository, "First", {"a.py": "A = 1\n"})
    files, history = open_all(repository, tmp_path / "data")
    assert len(files.revision) == 64
    assert contents(files) == {"a.py": b"A = 1\n"}
    assert len(history.entries) == 1


def test_blob_ids_are_those_of_git(repository: Path) -> None:
    assert gitio.blob_id(b"A = 1\n") == git(repository, "rev-parse", "HEAD:a.py")


def test_a_foreign_ref_of_our_own_name_does_not_stop_the_fetch(repository: Path, tmp_path: Path) -> None:
    git(repository, "update-ref", "refs/codecairn/head", "HEAD")
    newer = commit(repository, "Second", {"a.py": "A = 2\n"})
    assert update_mirror(find_repository(repository), tmp_path / "data").commit == newer


def test_renames_find_a_moved_and_edited_file(repository: Path, tmp_path: Path) -> None:
    old = commit(repository, "Long", {"long.py": "".join(f"LINE_{n} = {n}\n" for n in range(40))})
    git(repository, "mv", "long.py", "sub/renamed.py")
    text = (repository / "sub" / "renamed.py").read_text()
    new = commit(repository, "Move", {"sub/renamed.py": text + "LAST = 1\n"})
    mirror = update_mirror(find_repository(repository), tmp_path / "data").path
    assert gitio.find_renames(mirror, old, new) == {"long.py": "sub/renamed.py"}
    assert gitio.find_renames(mirror, "0" * 40, new) == {}


def test_the_mirror_has_no_hooks_and_no_foreign_configuration(repository: Path, tmp_path: Path) -> None:
    git(repository, "config", "alias.x", "!echo")
    mirror = update_mirror(find_repository(repository), tmp_path / "data").path
    assert not (mirror / "hooks").exists()
    assert "alias" not in (mirror / "config").read_text()
    assert stat.S_IMODE(mirror.stat().st_mode) & 0o077 == 0
