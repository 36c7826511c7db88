"""The documentation is what the code says. `python -m tests.test_docs` writes the generated blocks."""

import re
import sys
from pathlib import Path

import anyio
import pytest
import typer
from mcp import Client

from golden.corpus import build, make_setup, open_service, principal_of
from golden.doctables import replace_block, settings_table, tool_tables
from golden.failures import failures_table, load_failures
from ingest.config import SourceConfig
from mcp_server.cli import app
from mcp_server.config import load_setup
from mcp_server.fallback import SAYS
from mcp_server.server import make_server
from mcp_server.service import Service
from traces.model import SPAN_NAMES

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CODES = (
    "vector_unavailable", "embed_unavailable", "rolled_back_generation", "rolled_back", "git_unavailable",
    "trace_unavailable", "index_empty", "index_building", "index_unreadable",
)  # fmt: skip


def list_tools(folder):
    """Return what `tools/list` gives."""
    service = Service(load_setup(root=folder, config=None, data=folder / "data", env={"HOME": str(folder)}))

    async def ask():
        async with Client(make_server(service)) as client:
            return [tool.model_dump(by_alias=True, exclude_none=True) for tool in (await client.list_tools()).tools]

    try:
        return anyio.run(ask)
    finally:
        service.close()


def generated(folder):
    """Return each document with its generated block renewed."""
    configuration, tools = (DOCS / "configuration.md").read_text(), (DOCS / "tools.md").read_text()
    return {
        "configuration.md": replace_block(configuration, "settings", settings_table()),
        "known-failures.md": replace_block(
            (DOCS / "known-failures.md").read_text(), "failures", failures_table(load_failures())
        ),
        "tools.md": replace_block(tools, "tools", tool_tables(list_tools(folder))),
    }


@pytest.mark.parametrize("name", ["configuration.md", "known-failures.md", "tools.md"])
def test_generated_tables_are_current(name, tmp_path):
    assert (DOCS / name).read_text() == generated(tmp_path)[name], "run: python -m tests.test_docs"


def command_names():
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        yield name, command
        for inner, subcommand in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", subcommand


@pytest.mark.parametrize(
    ("name", "command"), list(command_names()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_command_has_help_and_stands_in_the_docs(name, command):
    assert command.help
    text = (DOCS / "tools.md").read_text()
    first, _, second = name.partition(" ")
    assert f"codecairn {first}" in text
    assert second in text


def commands_in(text):
    """Yield (command, its words) for each `codecairn ...` in a document, alone on a line or in back-ticks."""
    group = typer.main.get_command(app)
    for match in re.finditer(r"(?:^\$ |`)codecairn ([^`\n;|]+)", text, re.MULTILINE):
        words = match[1].split()
        command = group.commands.get(words[0])
        inner = getattr(command, "commands", {}).get(words[1]) if len(words) > 1 else None
        yield match[0], inner or command, words


@pytest.mark.req("D6", "V14")
def test_each_step_of_the_runbook_names_commands_and_options_that_exist():
    text = (DOCS / "runbook.md").read_text()
    steps = re.split(r"^## \d+\. ", text, flags=re.MULTILINE)[1:]
    assert [step.split("\n")[0].split(",")[0] for step in steps] == [
        "Find the trace", "Reproduce", "Blame", "Promote to a case", "Fix", "Gate", "Watch"
    ]  # fmt: skip
    for step in steps:
        found = list(commands_in(step))
        assert found, step.split("\n")[0]
        for written, command, words in found:
            assert command is not None, written
            known = {option for parameter in command.params for option in parameter.opts}
            unknown = {word for word in words if word.startswith("--")} - known
            assert not hasattr(command, "commands") and not unknown, written


@pytest.mark.parametrize("code", CODES)
def test_each_degraded_code_is_explained(code):
    assert f"`{code}`" in (DOCS / "architecture.md").read_text()


@pytest.mark.parametrize("span", SPAN_NAMES)
def test_each_span_is_explained(span):
    assert f"`{span}`" in (DOCS / "traces.md").read_text()


def test_tests_that_the_fallback_table_names_exist():
    import re

    named = set(re.findall(r"`(test_\w+)`", (DOCS / "fallbacks.md").read_text()))
    texts = [file.read_text() for file in Path(__file__).parent.rglob("test_*.py")]
    defined = {name for text in texts for name in re.findall(r"def (test_\w+)", text)}
    assert len(named) > 20
    assert named <= defined, named - defined


@pytest.mark.parametrize("code", [code for code in SAYS if not code.endswith(":")])
def test_each_code_that_an_answer_shows_is_documented(code):
    assert f"`{code}`" in (DOCS / "architecture.md").read_text() + (DOCS / "fallbacks.md").read_text()


def test_links_between_documents_lead_somewhere():
    import re

    for file in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", file.read_text()):
            assert target.startswith("http") or (file.parent / target).exists(), (file.name, target)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        for name, text in generated(Path(scratch)).items():
            (DOCS / name).write_text(text)
            sys.stdout.write(f"wrote docs/{name}\n")


def test_documents_say_of_the_code_what_it_is(tmp_path):
    """What `codecairn check README.md docs/*.md` would say in a pre-commit hook."""
    settings = load_setup(root=ROOT, config=None, data=tmp_path, env={"CODECAIRN_EMBEDDING__KIND": "none"}).settings
    source = SourceConfig(name="codecairn", type="folder", path=ROOT)
    setup = make_setup((source,), tmp_path, settings, ROOT)
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
    excluded = frozenset(path.relative_to(ROOT).as_posix() for path in documents)
    with open_service(setup) as service:
        build(setup, service)
        found = [
            f"{path.name}:{claim.start_line}: {claim.verdict}: {claim.reason}"
            for path in documents
            for claim in service.check(path.read_text(), principal_of(setup), excluded=excluded).findings("stale")
        ]
    assert found == []


def test_each_test_that_the_docs_name_exists():
    """A page that says what shows a promise must not outlive the test."""
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"^\s*(?:async )?def (test_\w+)", sources, re.MULTILINE))
    files = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    for page in DOCS.glob("*.md"):
        named = set(re.findall(r"\b(test_\w+)(?!\w)", page.read_text()))
        assert named <= defined | files, (page.name, sorted(named - defined - files))
