"""What the README and the other pages promise exists: commands, make targets, folders, examples."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import typer

from mcp_server.cli import app
from mcp_server.config import Settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EVERYTHING = "\n".join(page.read_text("utf-8") for page in PAGES)
README = PAGES[0].read_text("utf-8")


def command_names() -> set[str]:
    """`index`, `trace`, `trace list`, ..."""
    group = typer.main.get_command(app)
    inner = {f"{name} {sub}" for name, command in group.commands.items() for sub in getattr(command, "commands", {})}
    return {*group.commands, *inner}


def test_every_command_that_a_page_shows_exists():
    groups = {name.partition(" ")[0] for name in command_names() if " " in name}
    shown = re.findall(r"(?:`|\$ |bin/)codecairn +([a-z]+)(?: +([a-z-]+)\b)?", EVERYTHING)
    words = {f"{first} {second}" if first in groups and second else first for first, second in shown}
    assert len(words) >= 5
    assert words - command_names() == set()


def test_every_make_target_that_a_page_shows_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    shown = re.findall(r"`make ([a-z ]+)`", EVERYTHING) + re.findall(r"^make ([a-z]+)", EVERYTHING, re.MULTILINE)
    assert {"demo", "test"} <= {word for words in shown for word in words.split()} <= targets


def test_every_folder_is_in_the_file_map_of_the_readme():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    folders = {name.partition("/")[0] for name in listed if "/" in name and not name.startswith(".")}
    assert {folder for folder in folders if f"`{folder}/`" not in README} == set()


def test_the_readme_opens_with_a_real_answer_and_its_ungrounded_part():
    block = README.partition("```")[2].partition("```")[0]
    assert "codecairn answer" in block
    assert re.search(r"^\[C1\] [\w./]+:\d+-\d+", block, re.MULTILINE)
    assert "UNGROUNDED (not supported by what was found)\n- " in block


def blocks(language: str) -> list[str]:
    """Code blocks of a language over all pages."""
    return re.findall(rf"```{language}\n(.*?)```", EVERYTHING, re.DOTALL)


def test_examples_of_configuration_are_accepted():
    for block in blocks("json"):
        json.loads(block)
    ours = [values for block in blocks("toml") if "source" in (values := tomllib.loads(block))]
    assert ours
    for values in ours:
        Settings.model_validate(values)


def test_every_error_is_drawn_in_the_tree_of_its_package():
    for package in ("ingest", "mcp_server"):
        text = (ROOT / package / "errors.py").read_text("utf-8")
        drawn = text.split('"""')[1]
        assert [name for name in re.findall(r"^class (\w+)", text, re.MULTILINE) if name not in drawn] == []
