"""What the import contracts cannot see: processes, prints, broad excepts, and that the contracts can fail."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mcp_server", "ingest", "traces", "prompts", "golden")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAY_START_PROCESSES = {"ingest/gitio.py", "ingest/executor.py", "golden/ship.py", "golden/stdio.py", "golden/demo.py"}
MAY_START_PROCESSES |= {"golden/bench/indexing.py", "golden/bench/serving.py", "golden/bench/rivals.py"}
MAY_START_PROCESSES |= {"golden/organisation.py", "golden/bench/rival_ripgrep.py", "golden/bench/rival_codegraph.py"}
MAY_START_PROCESSES |= {"mcp_server/cli/serving.py", "mcp_server/cli/keeping.py"}  # their worker
MAY_READ_ENVIRONMENT = {"mcp_server/cli/common.py", "mcp_server/config.py", "ingest/gitio.py", "ingest/executor.py"}
MAY_READ_ENVIRONMENT |= {
    "golden/organisation.py",
    "mcp_server/cli/configuring.py",
    "ingest/__init__.py",
    "ingest/sources/tokens.py",
}
MAY_READ_ENVIRONMENT |= {"ingest/index/failpoints.py", "golden/bench/corpora.py", "golden/bench/rivals.py"}


def name_of(path: Path) -> str:
    """The path as the rules write it."""
    return path.relative_to(ROOT).as_posix()


MAY_PRINT = {name_of(path) for path in (ROOT / "mcp_server" / "cli").glob("*.py")}


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Names of all modules that a file imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "." * node.level


def attributes(tree: ast.Module) -> Iterator[str]:
    """`name.attribute` of every attribute access on a plain name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def test_imports_are_absolute():
    relative = [name_of(path) for path in SOURCES if any(name.startswith(".") for name in imported(tree_of(path)))]
    assert relative == []


@pytest.mark.req("S11")
def test_processes_are_started_in_few_places_and_git_only_in_gitio():
    starters = {name_of(path) for path in SOURCES if "subprocess" in imported(tree_of(path))}
    starters |= {name_of(p) for p in SOURCES if {"os.system", "os.popen", "os.execvp"} & set(attributes(tree_of(p)))}
    assert starters <= MAY_START_PROCESSES
    naming_git = {
        name_of(path)
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.List | ast.Tuple) and node.elts
        if isinstance(first := node.elts[0], ast.Constant) and first.value == "git" and len(node.elts) > 1
        if name_of(path) in MAY_START_PROCESSES
    }
    # The organisation of the golden set writes a repository of its own and reads nobody's.
    assert naming_git <= {"ingest/gitio.py", "golden/organisation.py"}


def test_the_environment_is_read_at_the_edges():
    readers = {
        name_of(path) for path in SOURCES if {"os.environ", "os.getenv", "os.environb"} & set(attributes(tree_of(path)))
    }
    assert readers <= MAY_READ_ENVIRONMENT


def test_only_the_command_line_prints():
    printers = {
        name_of(path)
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printers <= MAY_PRINT


@pytest.mark.req("A2", "A9")
def test_no_exception_is_swallowed_without_a_word():
    silent = [
        f"{name_of(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and is_broad(node) and all(isinstance(s, ast.Pass) for s in node.body)
    ]
    assert silent == []


def is_broad(node: ast.ExceptHandler) -> bool:
    return node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))


def test_every_folder_of_tests_is_a_package():
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [name_of(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


@pytest.mark.req("I2")
def test_starting_the_command_line_imports_no_heavy_library():
    code = "import sys, mcp_server.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "lancedb",
        "pyarrow",
        "tantivy",
        "tree_sitter",
        "openai",
        "mcp",
        "starlette",
        "git",
        "tokenizers",
        "golden",
    }
    assert heavy & set(loaded) == set()


@pytest.mark.req("A7")
@pytest.mark.slow
def test_the_contracts_refuse_an_import_that_points_up(tmp_path):
    """Plant one wrong import of each kind in a copy and see it named."""
    for package in PACKAGES:
        (tmp_path / package).symlink_to(ROOT / package)
    (tmp_path / "traces").unlink()
    (tmp_path / "traces").mkdir()
    for path in (ROOT / "traces").glob("*.py"):
        (tmp_path / "traces" / path.name).write_text(path.read_text("utf-8"), "utf-8")
    planted = "import ingest.model\nimport tantivy\n"
    (tmp_path / "traces" / "planted.py").write_text(planted, "utf-8")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    assert len(settings["contracts"]) >= 10
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8"), "utf-8")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "traces.planted -> ingest.model (l.1)" in result.stdout
    assert "traces.planted -> tantivy (l.2)" in result.stdout
