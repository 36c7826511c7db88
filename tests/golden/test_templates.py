"""The action and the GitLab template for users call commands that exist, with options that these have."""

from __future__ import annotations

import re

import pytest
import yaml
from typer.testing import CliRunner

from golden.corpus import ROOT
from mcp_server.cli import app

ACTION = ROOT / "action.yml"
GITLAB = ROOT / "ci-templates" / "gitlab-golden.yml"


def scripts() -> list[str]:
    """Every shell line of both."""
    action = yaml.safe_load(ACTION.read_text("utf-8"))
    steps = [step["run"] for step in action["runs"]["steps"] if "run" in step]
    return [*"\n".join(steps).splitlines(), *yaml.safe_load(GITLAB.read_text("utf-8"))[".codecairn-golden"]["script"]]


@pytest.mark.req("E4")
def test_every_command_and_option_of_the_templates_exists():
    called = [line.strip() for line in scripts() if "codecairn golden" in line]
    assert len(called) == 2
    for line in called:
        command = re.search(r"codecairn golden (\w+)", line)[1]
        help_text = CliRunner().invoke(app, ["golden", command, "--help"], env={"COLUMNS": "200"}).output
        for option in (*re.findall(r"(--\w+)", line), "--cases"):
            assert option in help_text, f"golden {command} has no {option}"


def test_the_action_takes_inputs_by_the_environment_only():
    steps = yaml.safe_load(ACTION.read_text("utf-8"))["runs"]["steps"]
    assert not [step for step in steps if "${{" in step.get("run", "")], "an input in a script is a way in for others"
