"""A configuration that gives with one hand what it keeps back with the other is refused, with what to do."""

import json

import pytest

from ingest.errors import ConfigError
from mcp_server.config import load_setup
from tests.ingest.sources.support import git


def load(folder, *sources):
    """Load a configuration of sources given as dictionaries."""
    tables = (
        "[[source]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in source.items())
        for source in sources
    )
    (folder / "codecairn.toml").write_text("\n".join(tables))
    return load_setup(root=folder, config=None, data=folder / "data", env={"HOME": str(folder)})


def code(**more):
    return {"name": "code", "type": "folder", "path": ".", "groups": ["all"], **more}


def secret(**more):
    return {"name": "secret", "type": "designs", "path": "docs/secret", "groups": ["board"], **more}


@pytest.mark.req("S9")
@pytest.mark.parametrize("groups", [[], [""], [" all"]])
def test_a_source_that_nobody_could_see_is_refused(tmp_path, groups):
    with pytest.raises(ConfigError, match="'code'.*nobody could see it. Name at least one group"):
        load(tmp_path, code(groups=groups))


CONTRADICTIONS = {
    "below": (code(), secret(), "Add exclude = ['/docs/secret'] to 'code'"),
    "listed first": (secret(), code(), "Add exclude = ['/docs/secret'] to 'code'"),
    "other exclude": (code(exclude=["docs/other"]), secret(), "Add exclude"),
    "taken back": (code(exclude=["/docs/secret", "!/docs/secret/a.md"]), secret(), "Add exclude"),
    "included": (code(include=["docs/**/*.md"]), secret(), "Add exclude"),
    "same folder": (code(), secret(path="."), "Restrict one with include or exclude"),
    "an export in the tree": (code(), secret(type="tickets", path="issues.json"), "exclude = ['/issues.json']"),
    "commits": (code(type="git", exclude=["/docs/secret"]), secret(), "Add history = false to 'code'"),
    "one tracker twice": (
        {"name": "one", "type": "github", "repo": "a/b", "groups": ["all"]},
        {"name": "two", "type": "github", "repo": "A/b", "groups": ["board"]},
        "Remove one",
    ),
}


@pytest.mark.req("S9")
@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_content_with_two_sets_of_groups_is_refused(tmp_path, case):
    *sources, mend = CONTRADICTIONS[case]
    with pytest.raises(ConfigError, match="contradict each other: group 'all' may not see") as caught:
        load(tmp_path, *sources)
    assert mend in str(caught.value)


AGREEING = {
    "excluded": (code(exclude=["/docs/secret/"]), secret()),
    "folder above excluded": (code(exclude=["docs"]), secret()),
    "name excluded anywhere": (code(exclude=["secret/"]), secret()),
    "included elsewhere": (code(include=["src/**"]), secret()),
    "same groups": (code(groups=["all", "board"]), secret(groups=["board", "all"])),
    "the inner one is seen by more": (code(groups=["board"]), secret(groups=["board", "all"])),
    "side by side": (code(path="docs"), secret(path="docs-secret")),
    "commits left out": (code(type="git", exclude=["/docs/secret"], history=False), secret()),
    "two trackers": (
        {"name": "one", "type": "github", "repo": "a/b", "groups": ["all"]},
        {"name": "two", "type": "github", "repo": "a/c", "groups": ["board"]},
    ),
}


@pytest.mark.parametrize("case", AGREEING)
def test_content_that_is_kept_apart_is_accepted(tmp_path, case):
    assert len(load(tmp_path, *AGREEING[case]).settings.source) == 2


def test_a_repository_within_a_repository_is_kept_apart(tmp_path):
    (tmp_path / "inner").mkdir()
    git(tmp_path / "inner", "init", "-q")
    assert load(tmp_path, code(type="git"), secret(type="git", path="inner"))


def test_a_link_to_the_folder_does_not_hide_the_contradiction(tmp_path):
    (tmp_path / "docs" / "secret").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "docs" / "secret")
    with pytest.raises(ConfigError, match="contradict"):
        load(tmp_path, code(), secret(path="link"))
