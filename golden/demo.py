"""`make demo`: index two real sources, ask, open every citation, and show a question that is only partly answered."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from golden.bench.command import codecairn_command
from golden.case import GoldenError
from golden.corpus import ROOT, library_version, open_service, package_folder, principal_of
from ingest.errors import IngestError, SourceError
from ingest.gitio import read_worktree_file
from mcp_server.config import Setup, load_setup
from mcp_server.errors import ServerError
from mcp_server.render import place, render_answer
from mcp_server.results import AnswerRequest, AnswerResult, Citation
from mcp_server.service import Service

FOLDER = ROOT / ".demo"
RULE = "-" * 100


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the demonstration."""

    text: str
    product: str
    has_open_part: bool = False  # a part of it is about something that is in no source


QUESTIONS = (
    Question("Where is the writer lock taken, and what happens when another process holds it?", "codecairn"),
    Question("How are Host and Origin checked on HTTP routes?", "codecairn"),
    Question("How does a progress bar estimate the time remaining?", "rich"),
    Question("Where is the writer lock taken, and how long is the Redis timeout?", "codecairn", has_open_part=True),
)


def say(text: str = "") -> None:
    """Write a line for the person who watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the demonstration; 0 when every citation opened and the open part was listed."""
    started = time.perf_counter()
    try:
        setup = prepare()
        index(setup)
        with open_service(setup) as service:
            results = [show(service, setup, question) for question in QUESTIONS]
    except (GoldenError, IngestError, ServerError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    opened, total = sum(right for right, _ in results), sum(count for _, count in results)
    say(RULE)
    say(f"{opened} of {total} citations opened at their lines; the whole demonstration took {since(started)}.")
    say("Your turn:  .venv/bin/codecairn answer --root PATH_OF_A_REPOSITORY 'your question'")
    return 0 if total and opened == total else 1


def prepare() -> Setup:
    """Write the configuration of two sources of two products: this clone with its history, and the installed rich."""
    if not (ROOT / ".git").exists():
        raise GoldenError(f"{ROOT} is no git clone, and the demonstration indexes one with its history.")
    FOLDER.mkdir(exist_ok=True)
    sources = (("codecairn", "git", ROOT), ("rich", "folder", package_folder("rich")))
    tables = [
        f'[[source]]\nname = "{name}"\ntype = "{kind}"\nproduct = "{name}"\npath = {json.dumps(str(path))}\n'
        'exclude = ["golden/"]  # the questions must not answer themselves\n'
        for name, kind, path in sources
    ]
    config = FOLDER / "codecairn.toml"
    config.write_text("\n".join(tables), "utf-8")
    say(f"Two sources: this clone with its history, and rich {library_version('rich')} as it is installed here.")
    return load_setup(root=FOLDER, config=config, data=FOLDER / "data", env={})


def index(setup: Setup) -> None:
    """Run the real command."""
    arguments = ["index", "--root", str(FOLDER), "--config", str(setup.config_file), "--data", str(setup.data_dir)]
    say(f"{RULE}\n$ codecairn index")
    started = time.perf_counter()
    if subprocess.run([*codecairn_command(), *arguments], check=False).returncode:
        raise GoldenError("`codecairn index` failed; its own sentence stands above.")
    say(f"(took {since(started)}, the start of the command included)")


def show(service: Service, setup: Setup, question: Question) -> tuple[int, int]:
    """Ask one question, print the answer and open its citations; return how many opened and how many there are."""
    say(f"{RULE}\n$ codecairn answer --product {question.product} {json.dumps(question.text)}")
    started = time.perf_counter()
    request = AnswerRequest(question.text, product=question.product)
    answer = service.answer(request, principal_of(setup))
    seconds = since(started)
    say(render_answer(answer))
    if question.has_open_part and not answer.ungrounded:
        raise GoldenError(f"The part of {question.text!r} that is in no source was not listed as ungrounded.")
    say(f"\n(took {seconds}) Opening each citation:")
    checks = list(open_citations(setup, answer))
    for citation, line in checks:
        say(f"  {'ok ' if line else 'NOT THERE'} {place(citation)}: {line[:70]}")
    return sum(bool(line) for _, line in checks), len(checks)


def open_citations(setup: Setup, answer: AnswerResult) -> Iterator[tuple[Citation, str]]:
    """Yield each citation of a file with the first line of text that it points at; "" where there is none."""
    roots = {source.name: source.path for source in setup.settings.source}
    for citation in answer.citations:
        if citation.path is not None:
            yield citation, first_line(read_lines(roots[citation.source], citation.path), citation)


def read_lines(root: Path, path: str) -> list[str]:
    """Return the lines of a file as it is now; none where it cannot be read."""
    try:
        return read_worktree_file(root, path, 10_000_000).decode("utf-8", "replace").split("\n")
    except SourceError:
        return []


def first_line(lines: Sequence[str], citation: Citation) -> str:
    """Return the first line with text of the cited ones; "" when the span does not lie in the file."""
    if not 1 <= citation.start_line <= citation.end_line <= len(lines):
        return ""
    return next((line.strip() for line in lines[citation.start_line - 1 : citation.end_line] if line.strip()), "")


def since(started: float) -> str:
    """Return the seconds since a moment."""
    return f"{time.perf_counter() - started:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
