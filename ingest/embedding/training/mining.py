"""Mine pairs (what a person writes, the code it is about) from one repository.

Definitions are found by layout (comment above, indentation, brackets), which holds for every language of the
training set; a wrong end of a body only adds a little noise to a pair.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest.embedding.static import join_passage
from ingest.embedding.training.history import Commit, list_commits, list_files, read_commits, read_files

KINDS = ("doc", "name", "case", "commit", "ticket", "section")
CAPS = {"doc": 4_000, "name": 1_500, "case": 600, "commit": 4_000, "ticket": 1_500, "section": 500}  # per repository
MAX_COMMITS = 1_500
MAX_FILES = 1_500
MAX_FILES_PER_COMMIT = 4
MAX_PASSAGE_CHARS = 1_500  # the size of a chunk
MAX_BODY_LINES = 40
MIN_BODY_CHARS = 40

SUFFIXES = {
    "#": ("py", "pyi", "rb", "ex", "exs", "sh", "bash", "zsh", "r", "jl", "nim", "cr", "pl", "tf"),
    "/": (
        *("c", "h", "cc", "cpp", "cxx", "hpp", "hh", "go", "rs", "java", "kt", "kts", "scala", "swift", "cs", "php"),
        *("js", "jsx", "mjs", "cjs", "ts", "tsx", "mts", "vue", "svelte", "dart", "zig", "groovy", "m", "mm"),
    ),
    "-": ("lua", "hs", "sql", "elm"),
}
PROSE = ("md", "mdx", "markdown")
MARK = {suffix: mark for mark, suffixes in SUFFIXES.items() for suffix in suffixes}
NO_NAMES = {"sql", "h", "pyi"}  # declarations without bodies
TEST_PATH = re.compile(
    r"(?i)(^|/)(tests?|specs?|__tests__|testing|testdata|fixtures?|e2e|mocks?|benchmarks?|examples?)(/|$)|[._-](test|spec)s?\.|(^|/)test_|[a-z](Test|Tests|Spec|IT)\."
)
VENDORED = re.compile(
    r"(?i)(^|/)(vendor|vendored|third[_-]?party|node_modules|_vendor|extern(al)?|deps|dist|build|generated|contrib|\.yarn)(/|$)|\.min\.|\.pb\.|_pb2|\.lock$|[-.]lock\.|\.generated\.|\.d\.ts$"
)
CHANGELOG = re.compile(
    r"(?i)(^|/)(\.changeset|news|newsfragments|changelog(\.d)?|changes|releasenotes|\.changes)/[^/]+$|(^|/)(changelog|changes|news|history|releases?)[^/]*\.(md|rst|txt)$|(^|/)(CHANGES|NEWS|ChangeLog)$"
)
DULL_SUBJECT = re.compile(
    r"(?i)^(merge|revert|release|bump|prepar|version|v?\d+\.\d+|back to|cut |tag |"
    r"update (dep|depend|change|readme|copy|year)|upgrade |chore|build\(deps|deps|ci\b|auto|\[?bot|renovate|"
    r"typo|fix(ed)? typo|fix lint|lint|format|whitespace|cleanup$|wip)|"
    r"typo|changelog|pre-commit|dependabot|clang-format|rustfmt|copyright"
)
PREFIX = re.compile(
    r"^\s*(\[[^\]]{1,30}\]\s*|(feat|fix|docs?|refactor|perf|test|style|build|ci)(\([^)]*\))?!?:\s*|[A-Z][A-Z0-9]+-\d+[:\s]\s*|[\w./*-]{1,30}:\s+)"
)
TICKET = re.compile(
    r"\(?(?:(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?|refs?|see|gh|issue|pr)[\s:]*)?#\d+\)?|\bhttps?://\S+|\b[A-Z][A-Z0-9]+-\d+\b|:(?:pull|issue|pr|user|gh):`[^`]*`",
    re.IGNORECASE,
)
TAG = re.compile(r"</?[a-z][^<>]{0,200}>")
DULL_DOC = re.compile(
    r"(?i)copyright|licen[sc]e|eslint|prettier|pylint|noqa|nolint|todo|fixme|@ts-|generated|shellcheck|rubocop|clang-|istanbul|\bhack\b|xxx|@param|@return|={4}|-{4}|\*{4}"
)
DEFINITION = re.compile(
    r"^\s*(?:(?:export|default|public|private|protected|internal|static|async|final|abstract|override|virtual|inline|pub(?:\([^)]*\))?|"
    r"unsafe|const|open|suspend|local|sealed|readonly|constexpr|extern|func|fn|function|def|defp|sub|fun|class|struct|interface|trait|"
    r"impl|enum|type|module|object|get|set|partial|data|[\w<>\[\]:*&,.?]+)\s+)*[*&(]*?(?P<name>[A-Za-z_][\w]{4,60})\s*[(<:={\[]"
)
KEYWORD = re.compile(
    r"^\s*(if|for|while|switch|return|else|elif|catch|throw|raise|with|case|when|match|assert|print|import|from|using|package|require|include)\b"
)
CASE = re.compile(
    r"""^\s*(?:it|test|describe|context|specify|should|scenario|testset|t\.Run|b\.Run|TEST_CASE|SECTION|test\.\w+|it\.\w+)\s*\(?\s*(["'`])(?P<text>[^"'`\n]{12,160})\1"""
)
NAMED_CASE = re.compile(
    r"^\s*(?:(?:async|pub|public|private|func|fn|def|void|fun|static|Task|function)\s+)+(?:`(?P<quoted>[^`]+)`|[tT]est_?(?P<name>\w{10,80}))\s*\("
)
HEADING = re.compile(r"^(#{1,4})\s+(.+?)\s*#*$")
DOCSTRING = re.compile(r'^\s*[rRuU]?("""|\'\'\')')
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"'(])|\.$")
WORDS = re.compile(r"[A-Za-z]{2,}")


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and the passage that answers it."""

    kind: str
    query: str
    passage: str


def mine_repository(clone: Path, commit: str, seed: int = 0) -> list[Pair]:
    """Return the pairs of a repository at a commit: without repeats, capped per kind. Raises CloneError."""
    pairs: dict[str, list[Pair]] = {kind: [] for kind in KINDS}
    chance = random.Random(f"{seed}/{commit}")
    paths = [path for path in list_files(clone, commit) if _is_mined(path)]
    for path, text in read_files(clone, commit, chance.sample(paths, min(len(paths), MAX_FILES))):
        for pair in mine_file(path, text):
            pairs[pair.kind].append(pair)
    for pair in mine_history(clone, commit, chance):
        pairs[pair.kind].append(pair)
    return [pair for kind in KINDS for pair in _cap(_deduplicate(pairs[kind]), CAPS[kind], chance)]


def mine_file(path: str, text: str) -> Iterator[Pair]:
    """Yield what one file of the newest tree gives."""
    suffix = path.rpartition(".")[2].lower()
    lines = text.split("\n")
    if suffix in PROSE:
        yield from mine_sections(path, text)
    elif max(map(len, lines)) < 1000:  # longer lines are generated
        if TEST_PATH.search(path):
            yield from _mine_cases(path, lines)
        else:
            yield from mine_definitions(path, lines, MARK[suffix], named=suffix not in NO_NAMES)


def mine_definitions(path: str, lines: list[str], mark: str, *, named: bool) -> Iterator[Pair]:
    """Yield (first sentence of the documentation, definition without it) and (its name in words, its body)."""
    depths = [_indent(line) if line.strip() else 1_000 for line in lines]
    at = 0
    while at < len(lines):
        start, comment = _read_comment(lines, at, mark)
        begin = _skip_attributes(lines, start)
        if begin >= len(lines) or not lines[begin].strip():
            at = begin + 1
            continue
        declares = DEFINITION.match(lines[begin]) if not KEYWORD.match(lines[begin]) else None
        if not comment and not declares:
            at = begin + 1
            continue
        body = _read_block(lines, begin)
        document, code = _take_docstring(body) if mark == "#" else ("", body)
        sentence = first_sentence(comment) or first_sentence(document)
        if sentence and len("".join(code).strip()) >= MIN_BODY_CHARS:
            yield Pair("doc", sentence, make_passage(path, _enclosing(lines, depths, begin), "\n".join(code)))
        elif named and declares and len(code) > 3 and (words := _name_words(declares["name"])):
            text = re.sub(rf"\b{re.escape(declares['name'])}\b", "", "\n".join(code))
            yield Pair("name", words, make_passage(path, _enclosing(lines, depths, begin), text))
        at = begin + 1


def mine_sections(path: str, text: str) -> Iterator[Pair]:
    """Yield (headings from the title down, section) of a Markdown file."""
    trail: list[str] = []
    section: list[str] = []
    fenced = False
    for line in [*text.split("\n"), "# end"]:
        fenced ^= line.lstrip().startswith("```")
        heading = None if fenced else HEADING.match(line)
        if heading is None:
            section.append(line)
            continue
        body = "\n".join(section).strip()
        if trail and len(body) >= 120 and len(WORDS.findall(" ".join(trail[-2:]))) >= 2:
            yield Pair("section", " ".join(trail[-2:]), make_passage(path, "", body))
        trail, section = [*trail[: len(heading[1]) - 1], heading[2]], []


def _mine_cases(path: str, lines: list[str]) -> Iterator[Pair]:
    for at, line in enumerate(lines):
        told = CASE.match(line)
        named = None if told else NAMED_CASE.match(line)
        text = told["text"] if told else (named["quoted"] or _name_words(named["name"])) if named else ""
        if len(WORDS.findall(text)) >= 3:
            yield Pair("case", text, make_passage(path, "", "\n".join(_read_block(lines, at)[1:25])))


def mine_history(clone: Path, commit: str, chance: random.Random) -> Iterator[Pair]:
    """Yield (commit subject, hunk), and (changelog entry or commit body, hunk). Raises CloneError."""
    told = [(name, subject) for name, subject in list_commits(clone, commit) if clean_subject(subject)]
    if len(told) > MAX_COMMITS:
        told = [told[n] for n in sorted(chance.sample(range(len(told)), MAX_COMMITS))]
    for change in read_commits(clone, [name for name, _ in told]):
        yield from _mine_commit(change)


def _mine_commit(change: Commit) -> Iterator[Pair]:
    code = {path: hunks for path, hunks in change.hunks.items() if _is_code(path)}
    if not 1 <= len(code) <= MAX_FILES_PER_COMMIT:
        return
    passages = [make_passage(path, "", max(hunks, key=len)) for path, hunks in code.items()]
    subject = clean_subject(change.subject)
    yield from (Pair("commit", subject, passage) for passage in passages)
    for text in _ticket_texts(change):
        yield from (Pair("ticket", text, passage) for passage in passages)


def _ticket_texts(change: Commit) -> Iterator[str]:
    entries = [line for path, lines in change.added.items() if CHANGELOG.search(path) for line in lines]
    if 0 < len(entries) <= 12:
        text = _plain(" ".join(line.strip(" \t-*#") for line in entries if not line.startswith(("---", "'", '"'))))
        if 5 <= len(WORDS.findall(text)) <= 80:
            yield text
    paragraph = _plain(" ".join(change.body.split("\n\n")[0].split()))
    if 8 <= len(WORDS.findall(paragraph)) <= 80 and not re.match(
        r"(?i)(signed-off|co-authored|reviewed|change-id|git-svn)", paragraph
    ):
        yield paragraph


def clean_subject(subject: str) -> str:
    """Return a commit subject without prefixes and ticket numbers; "" if it says too little."""
    if DULL_SUBJECT.search(subject):
        return ""
    text = _plain(PREFIX.sub("", PREFIX.sub("", subject)))
    return text if len(WORDS.findall(text)) >= 4 and not DULL_SUBJECT.search(text) else ""


def first_sentence(comment: str) -> str:
    """Return the first sentence of a documentation text; "" if it says nothing about the code."""
    paragraph = " ".join(re.split(r"\n\s*\n|\n\s*[@:\\]\w+|\n\s*[-=~]{3,}", comment.strip())[0].split())
    text = SENTENCE_END.split(paragraph)[0].strip()
    text = re.sub(r"<[^>]{1,80}>|\{@\w+ ([^}]*)\}", r"\1", text)
    said = len(WORDS.findall(text))
    code = text.endswith((";", "{", "}", ")", ",")) or text.startswith(("@", "!", "\\", "+build"))
    return text[:400] if 3 <= said <= 60 and not code and not DULL_DOC.search(text) else ""


def make_passage(path: str, context: str, text: str) -> str:
    """Return what the embedder is given for a chunk, cut to the size of one."""
    return join_passage(path, context, text[:MAX_PASSAGE_CHARS])


def _is_mined(path: str) -> bool:
    suffix = path.rpartition(".")[2].lower()
    return (suffix in MARK or suffix in PROSE) and not VENDORED.search(path)


def _is_code(path: str) -> bool:
    return path.rpartition(".")[2].lower() in MARK and not TEST_PATH.search(path) and not VENDORED.search(path)


def _plain(text: str) -> str:
    return " ".join(TAG.sub(" ", TICKET.sub(" ", text)).split())


def _name_words(name: str) -> str:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return " ".join(words).lower() if len(words) >= 2 else ""


def _read_comment(lines: list[str], at: int, mark: str) -> tuple[int, str]:
    """Return the line after the comment that starts at a line, and its text; (at, "") if none does."""
    line = lines[at].lstrip()
    if (
        mark == "/"
        and line.startswith("/*")
        or mark == "-"
        and line.startswith("--[[")
        or mark == "-"
        and line.startswith("{-")
    ):
        end = at
        while end < len(lines) and "*/" not in lines[end] and "]]" not in lines[end] and "-}" not in lines[end]:
            end += 1
        return end + 1, "\n".join(
            re.sub(r"^\s*(/\*+!?|--\[\[|\{-\|?|\*+(?!/))|\*+/\s*$|\]\]|-\}", "", text).strip()
            for text in lines[at : end + 1]
        )
    prefix = {"#": "#", "/": "//", "-": "--"}[mark]
    end = at
    while (
        end < len(lines)
        and lines[end].lstrip().startswith(prefix)
        and not (mark == "#" and lines[end].startswith("#!"))
    ):
        end += 1
    return end, "\n".join(re.sub(r"^[#/\-!|\s]+", "", re.sub(r"</?\w+[^>]*>", "", text)) for text in lines[at:end])


def _skip_attributes(lines: list[str], at: int) -> int:
    while at < len(lines) and re.match(r"\s*(@[\w.]+(\(.*\)?)?$|#\[|\[\w+.*\]\s*$|template\s*<)", lines[at]):
        at += 1
    return at


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _read_block(lines: list[str], begin: int) -> list[str]:
    """Return a definition: until the line that closes it or the first one that stands no deeper than its start."""
    depth = _indent(lines[begin])
    end = begin + 1
    while end < len(lines) and end - begin < MAX_BODY_LINES:
        line = lines[end]
        stripped = line.strip()
        if stripped and _indent(line) <= depth:
            closes = stripped[0] in "})]" or re.match(r"(end|fi|done|esac)\b", stripped)
            if closes and not stripped.endswith(("{", ":", "->")):
                return lines[begin : end + 1]
            goes_on = (
                closes or stripped[0] in "{(#" or re.match(r"(where|else|elif|rescue|ensure|catch|\w+:$)", stripped)
            )
            if not goes_on or _indent(line) < depth and not stripped.startswith("#"):
                break
        end += 1
    return lines[begin:end]


def _take_docstring(body: list[str]) -> tuple[str, list[str]]:
    """Return (docstring, body without it) of a definition."""
    for at, line in enumerate(body[1:8], 1):
        quoted = DOCSTRING.match(line)
        if quoted is None:
            continue
        end = at
        if line.count(quoted[1]) < 2:
            end = next((n for n in range(at + 1, len(body)) if quoted[1] in body[n]), len(body) - 1)
        text = "\n".join(body[at : end + 1]).strip().lstrip("rRuU").strip(quoted[1])
        return text, body[:at] + body[end + 1 :]
    return "", body


def _enclosing(lines: list[str], depths: list[int], begin: int) -> str:
    """Return the head of what a definition stands in."""
    depth = depths[begin]
    if depth == 0:
        return ""
    for at in range(begin - 1, max(0, begin - 400) - 1, -1):
        if depths[at] < depth and WORDS.search(lines[at]):
            return lines[at].strip()[:80]
    return ""


def _deduplicate(pairs: Iterable[Pair]) -> list[Pair]:
    """Keep one pair of each passage and at most four of each query."""
    seen: set[bytes] = set()
    queries: dict[str, int] = {}
    kept = []
    for pair in pairs:
        key = hashlib.blake2b(pair.passage.partition("\n")[2].encode(errors="replace"), digest_size=12).digest()
        asked = queries.get(pair.query.lower(), 0)
        if key not in seen and asked < 4:
            seen.add(key)
            queries[pair.query.lower()] = asked + 1
            kept.append(pair)
    return kept


def _cap(pairs: list[Pair], most: int, chance: random.Random) -> list[Pair]:
    return pairs if len(pairs) <= most else [pairs[n] for n in sorted(chance.sample(range(len(pairs)), most))]
