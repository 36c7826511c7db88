"""Prompts: files, lock, labels."""

import ast
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import prompts
from mcp_server.cli import app


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the prompts that a test may damage."""
    folder = tmp_path / "prompts"
    shutil.copytree(Path(prompts.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(prompts, "files", lambda name: tmp_path / name)
    prompts._read.cache_clear()
    prompts._versions.cache_clear()
    yield folder
    prompts._read.cache_clear()
    prompts._versions.cache_clear()


@pytest.mark.req("P2")
def test_no_published_prompt_changed():
    assert prompts.verify_lock() == []


@pytest.mark.req("P2")
def test_changed_text_without_a_new_version_is_found(copied):
    file = copied / "tool_answer" / "v1.md"
    file.write_text(file.read_text() + "\nOne more rule.\n")
    assert prompts.verify_lock() == ["The text of tool_answer@v1 changed after it was published. Write v2 instead."]


def test_new_version_must_be_locked(copied):
    text = (copied / "tool_answer" / "v1.md").read_text().replace("version = 1", "version = 2")
    (copied / "tool_answer" / "v2.md").write_text(text)
    assert prompts.verify_lock() == [
        "tool_answer@v2 is not locked. Run `codecairn prompts lock` once its text is final."
    ]


def test_removed_version_is_found(copied):
    (copied / "capabilities" / "v1.md").unlink()
    assert any("capabilities@v1 is locked, but its file is gone" in line for line in prompts.verify_lock())


@pytest.mark.req("P12")
def test_label_is_a_number(copied):
    labels = copied / "labels.toml"
    labels.write_text(labels.read_text().replace("capabilities = 1", 'capabilities = "latest"'))
    with pytest.raises(prompts.PromptError, match="must be a version number"):
        prompts.load("capabilities")


@pytest.mark.req("P10")
def test_version_without_a_reason_is_refused(copied):
    file = copied / "tool_answer" / "v1.md"
    file.write_text("\n".join(line for line in file.read_text().split("\n") if not line.startswith("changelog")))
    with pytest.raises(prompts.PromptError, match="changelog"):
        prompts.load("tool_answer")


def test_unknown_prompt_is_a_sentence():
    with pytest.raises(prompts.PromptError, match="There is no prompt nothing@v0"):
        prompts.load("nothing")


def test_render_is_strict_about_variables():
    with pytest.raises(prompts.PromptError, match="takes the variables"):
        prompts.render("capabilities", name="x")
    assert prompts.render("capabilities").text == prompts.load("capabilities").text


@pytest.mark.req("P1", "P11")
def test_a_composition_is_hashed_over_all_its_parts(copied):
    before = prompts.compose("answer", 1)
    assert list(before.parts) == ["system", "context_format", "output_schema", "repair"]
    part = copied / "answer" / "system" / "v1.md"
    part.write_text(part.read_text().replace("at most ten claims", "at most nine claims"))
    prompts._read.cache_clear()
    assert prompts.compose("answer", 1).sha256 != before.sha256
    assert any("answer/system@v1 changed" in line for line in prompts.verify_lock())


@pytest.mark.req("P6", "P12")
def test_configuration_chooses_a_version_that_exists():
    assert prompts.select("prod", {"answer": "v1"})["answer"] == 1
    with pytest.raises(prompts.PromptError, match="There is no prompt answer@v99"):
        prompts.select("prod", {"answer": "v99"})
    with pytest.raises(prompts.PromptError, match="No prompt is called 'anwser'. Did you mean 'answer'"):
        prompts.select("prod", {"anwser": "v1"})
    with pytest.raises(prompts.PromptError, match="'latest' in prod"):
        prompts.select("prod", {"answer": "latest"})
    assert prompts.select("dev", {"answer": "latest"})["answer"] >= 1
    with pytest.raises(prompts.PromptError, match="Write it as 'v3'"):
        prompts.select("dev", {"answer": "newest"})


@pytest.mark.req("P4", "V12")
def test_a_label_moves_and_moves_back(copied):
    text = (copied / "capabilities" / "v1.md").read_text().replace("version = 1", "version = 2")
    (copied / "capabilities" / "v2.md").write_text(text)
    prompts._versions.cache_clear()
    labels = copied / "labels.toml"
    before = labels.read_text()
    labels.write_text(prompts.set_label(before, "staging", "capabilities", 2))
    assert (prompts.labels("staging")["capabilities"], prompts.labels("prod")["capabilities"]) == (2, 1)
    labels.write_text(
        prompts.set_label(labels.read_text(), "staging", "capabilities", prompts.previous_version("capabilities", 2))
    )
    assert labels.read_text() == before
    with pytest.raises(prompts.PromptError, match="no earlier version"):
        prompts.previous_version("capabilities", 1)
    with pytest.raises(prompts.PromptError, match="There is no prompt capabilities@v7"):
        prompts.set_label(before, "prod", "capabilities", 7)
    with pytest.raises(prompts.PromptError, match="no label for answer/system"):
        prompts.set_label(before, "prod", "answer/system", 1)


@pytest.mark.req("P4")
def test_labels_have_owners():
    root = Path(prompts.__file__).parent.parent
    rules = (root / ".github" / "CODEOWNERS").read_text().splitlines()
    assert any(rule.split()[0] == "/prompts/" and rule.split()[1:] for rule in rules if rule and rule[0] != "#")


@pytest.mark.req("P1")
def test_no_prompt_stands_in_the_code():
    root = Path(prompts.__file__).parent.parent
    for file in (root / "mcp_server").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Message":
                assert not isinstance(node.args[1], (ast.Constant, ast.JoinedStr)), f"{file.name}:{node.lineno}"


@pytest.mark.req("P9")
def test_the_rules_of_the_answer_are_there_one_per_line():
    lines = prompts.compose("answer", 1).parts["system"].text.split("\n")
    assert len(lines) >= 12
    for rule in (
        "nothing but the evidence",
        "not_covered",
        "at most ten claims",
        "is an instruction to you",
        "`quote`",
    ):
        assert sum(rule in line for line in lines), rule


@pytest.mark.req("P4")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["diff", "answer/system", "v1", "v1"], "no difference"),
        (["show", "answer/output_schema", "v1"], '"not_covered"'),
        (["render", "query_rewrite/hyde", "question=how are sessions signed"], "how are sessions signed"),
    ],
)
def test_command_line(arguments, said):
    result = CliRunner().invoke(app, ["prompts", *arguments])
    assert result.exit_code == 0
    assert said in result.stdout


@pytest.mark.parametrize("arguments", [["show", "nothing"], ["diff", "answer", "v1", "x"], ["rollback", "answer"]])
def test_command_line_refuses_with_a_sentence(arguments):
    result = CliRunner().invoke(app, ["prompts", *arguments])
    assert result.exit_code in (1, 2)
    assert result.stderr.startswith("codecairn: ")
