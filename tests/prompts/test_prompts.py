"""Prompts: files, lock, labels."""

import shutil
from pathlib import Path

import pytest

import prompts


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
