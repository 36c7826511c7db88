"""Which paths are content: ignore files, attributes, vendored and generated conventions.

One `Scope` holds the rules in force in one folder. A walk asks it about every name in that folder, from the root
down, so a rule only ever has to say whether it matches the very path it is asked about.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from ingest.model import Skip
from ingest.redact import redact

GITIGNORE = ".gitignore"
OWN_IGNORE = ".codecairnignore"
ATTRIBUTES = ".gitattributes"
RULE_FILES = frozenset({GITIGNORE, OWN_IGNORE, ATTRIBUTES})
MAX_RULE_FILE_BYTES = 1_000_000

NOT_CONTENT = frozenset({".git", ".hg", ".svn", ".bzr", ".jj", "CVS", ".codecairn"})
VENDORED_FOLDERS = frozenset(
    {
        "node_modules",
        "bower_components",
        "jspm_packages",
        "web_modules",
        "site-packages",
        "dist-packages",
        "vendor",
        "_vendor",
        "third_party",
        "third-party",
        "thirdparty",
        "3rdparty",
        "Godeps",
        "Pods",
        "Carthage",
        ".venv",
        ".yarn",
        ".pnpm-store",
        ".bundle",
        ".tox",
        ".nox",
    }
)
GENERATED_FOLDERS = frozenset(
    {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".gradle", ".eggs", ".terraform"}
)
GENERATED_NAMES = frozenset(
    {
        "package-lock.json",
        "npm-shrinkwrap.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "bun.lock",
        "deno.lock",
        "poetry.lock",
        "uv.lock",
        "pdm.lock",
        "Pipfile.lock",
        "Cargo.lock",
        "composer.lock",
        "Gemfile.lock",
        "go.sum",
        "flake.lock",
        "mix.lock",
        "pubspec.lock",
        "Podfile.lock",
        "packages.lock.json",
        "gradle.lockfile",
    }
)
GENERATED_SUFFIXES = (
    ".min.js",
    ".min.mjs",
    ".min.css",
    ".js.map",
    ".mjs.map",
    ".css.map",
    ".d.ts.map",
    "_pb2.py",
    "_pb2.pyi",
    "_pb2_grpc.py",
    ".pb.go",
    ".pb.cc",
    ".pb.h",
    ".pb.gw.go",
    "_pb.js",
    "_pb.d.ts",
    ".g.dart",
    ".freezed.dart",
    ".Designer.cs",
    ".designer.cs",
    ".g.cs",
)
BINARY_SUFFIXES = frozenset(
    """
    7z a aac aar avi avif bin blend bmp bz2 cab class db dex dll dmg doc docx dylib ear egg eot exe flac gif gz heic
    icns ico iso jar jpeg jpg ko lib lz4 lzma mkv mo mov mp3 mp4 mpeg msi node npy npz o obj odp ods odt ogg onnx otf
    parquet pdb pdf pickle pkl png ppt pptx psd pyc pyd pyo rar rlib rpm safetensors so sqlite sqlite3 tar tgz tif tiff
    ttf wasm wav webm webp whl wmv woff woff2 xls xlsx xz zip zst
    """.split()
)

SECRET_CHARS = 16  # shorter names and names without a digit, nearly all, are not looked through for secrets
DIGIT = re.compile(r"\d")
# Names that would move a cursor, reorder the line they are shown in, or cannot be encoded.
UNSAFE_NAME = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")

Shape = Literal["itself", "any", "any_folder", "below"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern. `value` is what it says of a path that it matches."""

    value: bool
    regex: re.Pattern[str]
    shape: Shape

    def matches(self, path: str) -> bool:
        """Say whether the pattern matches this very path (folders end with a slash), not only a folder above it."""
        if self.shape == "any":
            return True
        if self.shape == "any_folder":
            return path.endswith("/")
        match = self.regex.search(path)
        if match is None:
            return False
        return match.end() < len(path) if self.shape == "below" else match.end() == len(path)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The patterns of one file, with a cheap test of a name that spares most paths the regular expressions."""

    base: int  # length of the folder's path, which patterns are relative to
    rules: tuple[Rule, ...]  # last pattern first: it wins
    names: frozenset[str]
    suffixes: tuple[str, ...]
    prefixes: tuple[str, ...]
    globs: Callable[[str], re.Match[str] | None] | None
    always: bool

    def judge(self, path: str, name: str) -> bool | None:
        """Return what the last matching pattern says of a path (folders end with a slash), or None."""
        if not (
            name in self.names
            or name.endswith(self.suffixes)
            or name.startswith(self.prefixes)
            or (self.globs and self.globs(name))
            or self.always
        ):
            return None
        relative = path[self.base :]
        return next((rule.value for rule in self.rules if rule.matches(relative)), None)


def parse_rules(text: str, folder: str) -> RuleSet | None:
    """Parse an ignore file that lies in `folder` ("" or "a/b/"); None if it holds no pattern."""
    return _compile(((line, None) for line in text.split("\n")), folder)


def _compile(lines: Iterable[tuple[str, bool | None]], folder: str) -> RuleSet | None:
    """Compile patterns; a value that is given stands for the one that the `!` of the pattern says."""
    rules: list[Rule] = []
    segments: list[str] = []
    for line, value in lines:
        line = line.removesuffix("\r")
        rule = _parse_rule(line, value)
        if rule:
            rules.append(rule)
            segments.append(_last_segment(line))
    if not rules:
        return None
    return RuleSet(len(folder), tuple(reversed(rules)), **_triggers(segments))  # type: ignore[arg-type]


MAX_STARS = 3  # wildcards in one segment, and `**` in one pattern: more of them backtrack for minutes on a hostile name


def _is_costly(line: str) -> bool:
    return line.count("**") > MAX_STARS or any(len(re.findall(r"\*+", part)) > MAX_STARS for part in line.split("/"))


def _parse_rule(line: str, value: bool | None) -> Rule | None:
    if _is_costly(line):
        return None
    try:
        pattern = GitIgnoreSpecPattern(line)
    except (GitIgnorePatternError, re.error):  # git ignores a pattern that it cannot read
        return None
    if pattern.include is None or pattern.regex is None:
        return None
    return Rule(pattern.include if value is None else value, pattern.regex, _shape(pattern.regex.pattern, line))


def _shape(regex: str, line: str) -> Shape:
    if regex == ".":
        return "any"
    if regex in ("(?P<ps_d>/)", "/"):
        return "any_folder"
    return "below" if line.rstrip().endswith("/**") else "itself"


def _last_segment(line: str) -> str:
    return line.removeprefix("!").rstrip().rstrip("/").rpartition("/")[2]


def _triggers(segments: Sequence[str]) -> dict[str, object]:
    """Sort the last segments of patterns by how a name can be tested against them quickly."""
    names: set[str] = set()
    suffixes: list[str] = []
    prefixes: list[str] = []
    globs: list[str] = []
    always = False
    for segment in segments:
        wild = re.sub(r"[^*?\[\\]", "", segment)
        if not wild:
            names.add(segment)
        elif wild == "*" and segment[0] == "*" and len(segment) > 1:
            suffixes.append(segment[1:])
        elif wild == "*" and segment[-1] == "*" and len(segment) > 1:
            prefixes.append(segment[:-1])
        elif "\\" in wild or "**" in segment or "[^" in segment or "[[" in segment or segment == "*":
            always = True
        else:
            globs.append(fnmatch.translate(segment))
    return {
        "names": frozenset(names),
        "suffixes": tuple(suffixes),
        "prefixes": tuple(prefixes),
        "globs": re.compile("|".join(globs)).match if globs else None,
        "always": always,
    }


@dataclass(frozen=True, slots=True)
class Scope:
    """The rules in force in one folder, nearest last."""

    folder: str = ""  # "" or "a/b/"
    ignored: tuple[RuleSet, ...] = ()
    own: tuple[RuleSet, ...] = ()
    included: RuleSet | None = None
    generated: tuple[RuleSet, ...] = ()
    vendored: tuple[RuleSet, ...] = ()
    readable: frozenset[str] = frozenset()  # file name extensions of binary formats that are read all the same

    def enter(self, name: str, texts: dict[str, str]) -> Scope:
        """Return the scope of a folder in this one, given its rule files by name. `name` "" adds to this folder."""
        folder = f"{self.folder}{name}/" if name else self.folder
        if not texts:
            return Scope(folder, self.ignored, self.own, self.included, self.generated, self.vendored, self.readable)
        attributes = texts.get(ATTRIBUTES, "")
        return Scope(
            folder=folder,
            included=self.included,
            ignored=_add(self.ignored, parse_rules(texts.get(GITIGNORE, ""), folder)),
            own=_add(self.own, parse_rules(texts.get(OWN_IGNORE, ""), folder)),
            generated=_add(self.generated, parse_attribute(attributes, "linguist-generated", folder)),
            vendored=_add(self.vendored, parse_attribute(attributes, "linguist-vendored", folder)),
            readable=self.readable,
        )

    def judge_folder(self, name: str, *, tracked: bool = False) -> Skip | None:
        """Return why a folder is not entered, or None. What git tracks is not ignored by .gitignore."""
        path = f"{self.folder}{name}/"
        if is_unsafe_name(name):
            return Skip(show_path(path), "bad_name")
        own = _judge(self.own, path, name)
        if own is not None:
            return Skip(path, "codecairnignore") if own else None
        if not tracked and _judge(self.ignored, path, name):
            return Skip(path, "ignored")
        if name in VENDORED_FOLDERS and not self._is_declared_own(path, name):
            return Skip(path, "vendored", f"folder name {name}")
        if name in GENERATED_FOLDERS:
            return Skip(path, "generated", f"folder name {name}")
        return None

    def _is_declared_own(self, path: str, name: str) -> bool:
        """Say whether attributes deny that a folder is vendored: `vendor` or, as usual, `vendor/**`."""
        return False in (_judge(self.vendored, path, name), _judge(self.vendored, f"{path}_", "_"))

    def judge_file(self, name: str, *, tracked: bool = False) -> Skip | None:
        """Return why a file is left out by its path alone, or None."""
        path = self.folder + name
        if is_unsafe_name(name):
            return Skip(show_path(path), "bad_name")
        own = _judge(self.own, path, name)
        if own:
            return Skip(path, "codecairnignore")
        if self.included and not self.included.judge(path, name):
            return Skip(path, "codecairnignore", "matched by no include pattern")
        if own is False:
            return None
        if not tracked and _judge(self.ignored, path, name):
            return Skip(path, "ignored")
        return self._judge_convention(path, name)

    def _judge_convention(self, path: str, name: str) -> Skip | None:
        generated = _judge(self.generated, path, name)
        if _judge(self.vendored, path, name):
            return Skip(path, "vendored", "linguist-vendored")
        if generated:
            return Skip(path, "generated", "linguist-generated")
        if generated is None and (name in GENERATED_NAMES or name.endswith(GENERATED_SUFFIXES)):
            return Skip(path, "generated", "file name")
        extension = name.rpartition(".")[2].lower()
        if extension in BINARY_SUFFIXES and extension not in self.readable and "." in name:
            return Skip(path, "binary", "file name extension")
        return None


def root_scope(include: Sequence[str] = (), exclude: Sequence[str] = (), exclude_file: str = "") -> Scope:
    """Return the scope above the root's own rule files: configuration, and git's info/exclude."""
    own = parse_rules("\n".join(exclude), "")
    ignored = parse_rules(exclude_file, "")
    scope = Scope(own=_add((), own), ignored=_add((), ignored))
    return replace(scope, included=parse_include(include)) if include else scope


def parse_include(patterns: Sequence[str]) -> RuleSet | None:
    """Parse include patterns; a pattern that names a folder stands for all files below it."""
    lines = [line for pattern in patterns for line in (pattern, f"{pattern.rstrip('/')}/**")]
    return _compile(((line, None) for line in lines), "")


def parse_attribute(text: str, attribute: str, folder: str) -> RuleSet | None:
    """Parse what a .gitattributes file says of one boolean attribute."""
    lines = [
        (pattern, value)
        for pattern, value in (_parse_attribute_line(line, attribute) for line in text.split("\n"))
        if value is not None
    ]
    return _compile(lines, folder) if lines else None


def _parse_attribute_line(line: str, attribute: str) -> tuple[str, bool | None]:
    if attribute not in line or line.startswith(("#", "!", "[attr]")):
        return "", None
    pattern, *words = line.split()
    for word in reversed(words):
        name, _, value = word.lstrip("-").partition("=")
        if name == attribute:
            return pattern, not word.startswith("-") and value.lower() not in ("false", "0", "no")
    return "", None


def _judge(sets: tuple[RuleSet, ...], path: str, name: str) -> bool | None:
    for rules in reversed(sets):
        verdict = rules.judge(path, name)
        if verdict is not None:
            return verdict
    return None


def _add(sets: tuple[RuleSet, ...], new: RuleSet | None) -> tuple[RuleSet, ...]:
    return (*sets, new) if new else sets


def is_unsafe_name(name: str) -> bool:
    """Say whether a file name cannot be shown or addressed safely: it is no plain text, or holds a secret."""
    if len(name) >= SECRET_CHARS and DIGIT.search(name) and redact(name).counts:
        return True
    if name.isascii() and name.isprintable():
        return name in ("", ".", "..") or name.lower() == ".git"
    return UNSAFE_NAME.search(name) is not None


def is_unsafe_path(path: str) -> bool:
    """Say whether any part of a path is an unsafe name."""
    return any(is_unsafe_name(part) for part in path.split("/"))


def show_path(path: str) -> str:
    r"""Return a path without secrets and with every unsafe character as an escape (`\n`, `\udcff`), fit for a log."""
    return redact(UNSAFE_NAME.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), path)).text
