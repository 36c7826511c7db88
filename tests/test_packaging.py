"""What is shipped: the wheel, its data, its command, its lock; and that nobody else claims our package names."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mcp_server", "ingest", "prompts", "golden", "traces")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCK = (ROOT / "requirements-dev.lock").read_text("utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The built wheel; built from the lock's hatchling, without the network."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_claims_our_package_names(package):
    assert set(packages_distributions().get(package, ())) <= {"codecairn"}


def test_the_wheel_holds_every_tracked_file_of_the_packages_and_nothing_else(wheel):
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.partition("/")[0] for name in names} == set(PACKAGES)
    on_disk = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert on_disk - set(names) == set()


def test_the_wheel_carries_prompts_cases_grammar_queries_weights_and_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        r"prompts/prompts\.lock",
        r"prompts/tool_answer/v\d+\.md",
        r"golden/cases/conceptual\.jsonl",
        r"golden/corpus/tickets\.json",
        r"ingest/languages/queries/python\.scm",
        r"ingest/embedding/weights/.*\.npy",
        r"codecairn-.*\.dist-info/licenses/LICENSE",
        r"codecairn-.*\.dist-info/licenses/NOTICE",
    ):
        assert any(re.fullmatch(wanted, name) for name in names), f"{wanted} is not in the wheel"


@pytest.mark.slow
def test_the_installed_wheel_runs_from_another_folder_without_the_clone(wheel, tmp_path):
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.py").write_text("def lonely_function():\n    return 1\n")
    # -S -E would hide the dependencies too: the extracted wheel simply comes first on the path.
    code = f"import sys; sys.path.insert(0, {str(target)!r}); import mcp_server, mcp_server.cli as cli; "
    code += f"assert mcp_server.__file__.startswith({str(target)!r}); cli.main()"
    for arguments, expected in (
        (("index",), "published generation 1"),
        (("search", "lonely_function"), "a.py:1-2"),
    ):
        command = [
            sys.executable,
            "-c",
            code,
            *arguments,
            "--root",
            str(tmp_path / "work"),
            "--data",
            str(tmp_path / "d"),
        ]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert expected in result.stdout, result.stderr


def test_the_command_is_the_documented_one():
    assert PROJECT["scripts"] == {"codecairn": "mcp_server.cli:main"}


def test_the_version_is_said_once():
    from mcp_server.service import VERSION

    assert PROJECT["version"] == VERSION


def test_every_dependency_is_locked_with_a_hash():
    locked = {name.lower() for name in re.findall(r"^([\w.-]+)==", LOCK, re.MULTILINE)}
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[<>=!~ ]", requirement)[0].lower() for requirement in wanted}
    assert names - locked == set()
    for block in re.split(r"\n(?=\S)", LOCK):
        if "==" in block and not block.startswith("#"):
            assert "--hash=sha256:" in block, block.splitlines()[0]


def test_every_dependency_has_a_lower_bound():
    """Prices are data: their one version is pinned, so that the same call costs the same everywhere."""
    loose = [requirement for requirement in PROJECT["dependencies"] if ">=" not in requirement]
    assert [requirement for requirement in loose if not requirement.startswith("genai-prices==")] == []


def test_the_lock_names_no_host():
    assert re.findall(r"https?://|--index-url|--trusted-host|--find-links", LOCK) == []


def test_ci_runs_exactly_make_test():
    steps = re.findall(r"^ +- run: (.*)$", (ROOT / ".github/workflows/ci.yml").read_text("utf-8"), re.MULTILINE)
    assert steps == ["make test"]
    script = (ROOT / ".ci/run").read_text("utf-8")
    assert [line for line in script.splitlines() if "make" in line and not line.startswith("#")] == ["exec make test"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_nothing_that_is_shipped_names_the_machine_of_its_makers():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout
    suspicious = re.compile("/wo" + r"rk/(?:main|shared|tmp|venv)|/ro" + "ot/|pypi" + r"\.org|registry\.npm" + "js")
    named = [
        name
        for name in listed.decode().split("\0")
        if name and (ROOT / name).is_file() and suspicious.search((ROOT / name).read_text("utf-8", "replace"))
    ]
    assert named == []
