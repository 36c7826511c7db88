"""Ignore rules, compared with git's own answer, and conventions for vendored and generated files."""

import os
import random
import time
from pathlib import Path

import pytest

from ingest.sources.ignore import Scope, is_unsafe_name, parse_rules, root_scope, show_path
from ingest.sources.worktree import walk_folder
from tests.ingest.sources.support import git, make_repository, open_files, reasons, write

NAMES = ("a", "b", "foo", "bar.py", "x.log", "keep.log", "build", ".hidden")
PATTERNS = (
    "a a/ /a b/ foo *.log !keep.log /*.py build/ !build/ foo/* !foo/a a/**/b **/foo a/** /* !/a !/foo !*/ * *.py "
    "b*/x.log **/b/** ?ar.py [ab] [!a]oo .* !.hidden a/b !a/b a/*/foo **/x.log foo/**/*.log \\!a #c *~ *.l[ou]g x.* a*"
).split()


def kept_by_git(folder: Path) -> set[str]:
    return set(git(folder, "ls-files", "-z", "--others", "--exclude-standard").split("\0")) - {""}


def kept_by_us(folder: Path) -> set[str]:
    return {found.path for found in walk_folder(folder, root_scope()).files}


@pytest.mark.parametrize("seed", range(40))
def test_nested_ignore_files_keep_what_git_keeps(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    make_repository(tmp_path)
    folders = [""] + [f"{one}/" for one in NAMES[:3]] + [f"{one}/{two}/" for one in NAMES[:3] for two in NAMES[:3]]
    for folder in folders:
        (tmp_path / folder).mkdir(exist_ok=True)
    for folder in folders:
        for name in NAMES[3:]:
            if chance.random() < 0.6 and not (tmp_path / folder / name).exists():
                write(tmp_path, {folder + name: "text"})
    for folder in chance.sample(folders, 3):
        rules = chance.choices(PATTERNS, k=chance.randint(1, 6))
        write(tmp_path, {f"{folder}.gitignore": "\n".join(rules) + "\n"})
    rules = {str(path): path.read_text() for path in tmp_path.rglob(".gitignore")}
    assert kept_by_us(tmp_path) == kept_by_git(tmp_path), rules


def test_line_ends_spaces_comments_and_a_byte_order_mark(tmp_path: Path) -> None:
    make_repository(tmp_path)
    write(tmp_path, {".gitignore": b"\xef\xbb\xbfa.py\r\n# b.py\nc.py   \n\\#d.py\n\n/\n[\n"})
    write(tmp_path, dict.fromkeys(["a.py", "b.py", "c.py", "#d.py", "e.py"], "text"))
    assert kept_by_us(tmp_path) == kept_by_git(tmp_path) == {".gitignore", "b.py", "e.py"}


def test_a_pattern_built_to_backtrack_is_dropped(tmp_path: Path) -> None:
    rules = parse_rules("*a*a*a*a*a*a*b\n**/a/**/a/**/a/**/b\nplain\n", "")
    assert rules is not None
    assert [rule.regex.pattern for rule in rules.rules] == [parse_rules("plain", "").rules[0].regex.pattern]
    assert rules.judge("a" * 255, "a" * 255) is None


def test_own_ignore_file_leaves_out_and_takes_back(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".gitignore": "ignored.py\n",
            ".codecairnignore": "/private\n*.sql\n!vendor/\n!vendor/**\n!ignored.py\n",
            "sub/.codecairnignore": "!keep.sql\n",
            "private/x.py": "x",
            "vendor/ours.go": "x",
            "ignored.py": "x",
            "a.sql": "x",
            "sub/keep.sql": "x",
        },
    )
    snapshot = open_files(tmp_path, tmp_path / "data", type="folder")
    kept = {entry.path for entry in snapshot.entries if not entry.path.endswith("ignore")}
    assert kept == {"vendor/ours.go", "ignored.py", "sub/keep.sql"}
    assert reasons(snapshot) == {"private/": "codecairnignore", "a.sql": "codecairnignore"}


def test_include_and_exclude_of_the_configuration(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(["src/a.py", "src/a.md", "src/gen/b.py", "doc/c.md"], "text"))
    snapshot = open_files(tmp_path, tmp_path / "d", type="folder", include=("src/", "*.md"), exclude=("gen/",))
    assert [entry.path for entry in snapshot.entries] == ["doc/c.md", "src/a.md", "src/a.py"]
    assert reasons(snapshot) == {"src/gen/": "codecairnignore"}
    narrow = open_files(tmp_path, tmp_path / "d", type="folder", include=("*.md",))
    assert reasons(narrow)["src/a.py"] == "codecairnignore"


@pytest.mark.parametrize(
    ("path", "left_out", "reason"),
    [
        ("node_modules/left-pad/index.js", "node_modules/", "vendored"),
        ("app/vendor/lib.go", "app/vendor/", "vendored"),
        ("third_party/x.c", "third_party/", "vendored"),
        (".venv/lib/python3.11/site-packages/x.py", ".venv/", "vendored"),
        ("env/lib/site-packages/x.py", "env/lib/site-packages/", "vendored"),
        ("sub/__pycache__/x.txt", "sub/__pycache__/", "generated"),
        ("web/jquery.min.js", "web/jquery.min.js", "generated"),
        ("package-lock.json", "package-lock.json", "generated"),
        ("api/user_pb2.py", "api/user_pb2.py", "generated"),
        ("logo.PNG", "logo.PNG", "binary"),
    ],
)
def test_conventions_have_reasons(path: str, left_out: str, reason: str, tmp_path: Path) -> None:
    write(tmp_path, {path: "text", "a.py": "A = 1\n"})
    snapshot = open_files(tmp_path, tmp_path / "data", type="folder")
    assert [entry.path for entry in snapshot.entries] == ["a.py"]
    assert reasons(snapshot) == {left_out: reason}


def test_a_vendored_folder_that_is_itself_the_source_is_indexed(tmp_path: Path) -> None:
    root = tmp_path / "lib" / "site-packages" / "rich"
    write(root, {"__init__.py": "R = 1\n", "_vendor/x.py": "X = 1\n"})
    snapshot = open_files(root, tmp_path / "data", type="folder")
    assert [entry.path for entry in snapshot.entries] == ["__init__.py"]
    assert snapshot.info.product == "rich"
    inner = open_files(root / "_vendor", tmp_path / "data", type="folder")
    assert [entry.path for entry in inner.entries] == ["x.py"]


def test_attributes_mark_and_unmark(tmp_path: Path) -> None:
    attributes = (
        "gen/** linguist-generated=true\n*.lock -linguist-generated\nvendor/** linguist-vendored=false\n"
        "copied.py text linguist-vendored\nuv.lock linguist-generated=false\n"
    )
    write(
        tmp_path,
        {".gitattributes": attributes, "gen/a.py": "x", "copied.py": "x", "vendor/own.py": "x", "uv.lock": "x"},
    )
    write(tmp_path, {"sub/.gitattributes": "*.py linguist-generated\nhand.py -linguist-generated\n"})
    write(tmp_path, {"sub/a.py": "x", "sub/hand.py": "x"})
    snapshot = open_files(tmp_path, tmp_path / "data", type="folder")
    assert reasons(snapshot) == {"gen/a.py": "generated", "copied.py": "vendored", "sub/a.py": "generated"}


@pytest.mark.parametrize(
    "header",
    [
        "# @generated by tool\n",
        "// Code generated by protoc-gen-go. DO NOT EDIT.\n",
        "/**\n * @generated SignedSource<<x>>\n */\n",
        "# Generated by the protocol buffer compiler.  DO NOT EDIT!\n",
        "# This file was automatically generated by SWIG\n",
    ],
)
def test_generated_headers_are_recognised(header: str, tmp_path: Path) -> None:
    write(tmp_path, {"a.py": header + "A = 1\n", "b.py": f"'''Explains the mark.'''\nA = {header.strip()!r}\n"})
    assert reasons(open_files(tmp_path, tmp_path / "data", type="folder")).get("a.py") == "generated"


def test_code_that_writes_the_mark_is_not_generated(tmp_path: Path) -> None:
    write(tmp_path, {"tool.py": '"""Writes files."""\nMARK = "@generated"\nNOTE = "see @generated"\n'})
    assert not reasons(open_files(tmp_path, tmp_path / "data", type="folder"))


def test_an_ignored_folder_is_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {".gitignore": "out/\n", "out/deep/x.py": "x", "node_modules/a/b.js": "x", "a.py": "x"})
    opened: list[str] = []
    plain = os.open

    def watch(path: str, *arguments: object, **named: object) -> int:
        opened.append(os.fspath(path))
        return plain(path, *arguments, **named)

    monkeypatch.setattr(os, "open", watch)
    walk = walk_folder(tmp_path, root_scope())
    assert [found.path for found in walk.files] == [".gitignore", "a.py"]
    assert not [path for path in opened if "out" in Path(path).name or "node_modules" in path]
    assert {(skip.path, skip.reason) for skip in walk.skips} == {("out/", "ignored"), ("node_modules/", "vendored")}


@pytest.mark.parametrize(
    "name", ["a\nb", "\x1b[31m", "a\u202eb", "\udcff", "", "..", ".git", ".GIT", "\u2028", "\ufeff"]
)
def test_unsafe_names(name: str) -> None:
    assert is_unsafe_name(name)
    assert "\n" not in show_path(name)
    show_path(name).encode()


@pytest.mark.parametrize(
    "name", ["a b", "it's", 'say "hi"', "ümläut", "日本.py", "back\\slash", "`x`", "👩\u200d💻", "git"]
)
def test_names_that_are_kept(name: str) -> None:
    assert not is_unsafe_name(name)
    assert show_path(name) == name


def test_a_hostile_header_is_searched_in_bounded_time() -> None:
    from ingest.sources.worktree import judge_content

    started = time.process_time()
    for text in (b"#" * 2048, b" " * 2048, b"# code generated " * 200, b"#\n" * 1024, b"@" * 2048):
        judge_content("x", text)
    assert time.process_time() - started < 5  # a pattern that backtracks takes minutes


def test_a_scope_judges_below_its_folder() -> None:
    scope = Scope().enter("sub", {".gitignore": "/x\ny/z\n"})
    assert scope.judge_file("x")
    assert scope.enter("deeper", {}).judge_file("x") is None
    assert scope.enter("y", {}).judge_file("z")
