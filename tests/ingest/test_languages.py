"""How files are recognised, what part they play. `python -m tests.ingest.test_languages` writes docs/languages.md."""

import importlib.util
import re
from pathlib import Path

import pytest

from ingest.chunking.definitions import HELPER_CAPTURES
from ingest.languages import LANGUAGES, detect_language, path_role
from ingest.languages.kinds import KINDS
from ingest.languages.loading import QUERIES, LoadedGrammar, load_grammar
from ingest.languages.table import PROSE, WITH_GRAMMAR, WITHOUT_GRAMMAR

PAGE = Path(__file__).parents[2] / "docs" / "languages.md"


def languages_page():
    """Return the page of languages and kinds as the code has them."""
    lines = ["# Languages", "", "Written by `python -m tests.ingest.test_languages`; do not edit.", ""]
    lines += ["Definitions are found in:", "", "| language | extensions | file names | `#!` |", "|---|---|---|---|"]
    for entry in (*WITH_GRAMMAR, LANGUAGES["sql"]):
        facts = (entry.extensions, entry.filenames, entry.interpreters)
        lines.append(f"| {entry.name} | {' | '.join(map(' '.join, facts))} |")
    prose = ", ".join(entry.name for entry in PROSE)
    plain = ", ".join(name for name in sorted(LANGUAGES) if LANGUAGES[name] in WITHOUT_GRAMMAR and name != "sql")
    lines += [
        "",
        f"Cut by heading: {prose}.",
        "",
        f"Recognised and cut by lines: {plain}.",
        "",
        "## Kinds of symbols",
        "",
    ]
    lines += ["| kind | what it is |", "|---|---|", *(f"| `{kind}` | {text} |" for kind, text in KINDS.items()), ""]
    return "\n".join(lines)


def test_the_page_of_languages_is_current():
    assert PAGE.read_text() == languages_page(), "run: python -m tests.ingest.test_languages"


@pytest.mark.parametrize("entry", WITH_GRAMMAR, ids=lambda entry: entry.name)
def test_every_grammar_loads_with_its_query(entry):
    assert importlib.util.find_spec(entry.grammar)
    assert isinstance(load_grammar(entry.name), LoadedGrammar)


def test_every_query_belongs_to_a_language():
    assert {path.stem for path in QUERIES.glob("*.scm")} == {entry.query for entry in WITH_GRAMMAR}


@pytest.mark.parametrize("path", sorted(QUERIES.glob("*.scm")), ids=lambda path: path.stem)
def test_queries_speak_of_the_kinds_that_all_languages_share(path):
    captures = set(re.findall(r"@([a-z]\w*)", re.sub(r'"(?:[^"\\]|\\.)*"|;.*', "", path.read_text())))
    assert captures - HELPER_CAPTURES - {"scope"} <= set(KINDS)


@pytest.mark.parametrize("fact", ["extensions", "filenames", "interpreters"])
def test_nothing_is_claimed_by_two_languages(fact):
    claims = [claim for entry in LANGUAGES.values() for claim in getattr(entry, fact)]
    assert sorted(claims) == sorted(set(claims))


def test_a_language_without_grammar_has_a_reason():
    assert load_grammar("proto") == "no_grammar"
    assert load_grammar("klingon") == "no_grammar"


@pytest.mark.parametrize(
    ("path", "head", "language"),
    [
        ("src/app.py", b"", "python"),
        ("A/B.TSX", b"", "tsx"),
        ("lib.d.ts", b"", "typescript"),
        ("Dockerfile", b"", "dockerfile"),
        ("docker/Dockerfile.dev", b"", "dockerfile"),
        ("CMakeLists.txt", b"", "cmake"),
        ("go.mod", b"", "go-module"),
        ("Gemfile", b"", "ruby"),
        ("README", b"", "text"),
        ("README.md", b"", "markdown"),
        ("bin/run", b"#!/usr/bin/env python3\n", "python"),
        ("bin/run", b"#!/bin/bash -e\n", "bash"),
        ("bin/run", b"#!/usr/bin/env -S node --harmony\n", "javascript"),
        ("bin/run", b"\x7fELF", None),
        ("include/a.h", b"struct a { int b; };\n", "c"),
        ("include/a.h", b"#pragma once\nnamespace a {\n", "cpp"),
        ("include/a.h", b"#include <vector>\n", "cpp"),
        ("include/a.h", b"#import <Foundation/Foundation.h>\n@interface A\n", "objc"),
        ("a.m", b"function y = f(x)\n", "matlab"),
        ("a.m", b"@implementation A\n", "objc"),
        ("i18n/app_de.ts", b'<?xml version="1.0"?>\n', "xml"),
        ("a.unknown", b"", None),
        ("deploy.yaml", b"", "yaml"),
        ("schema.sql", b"", "sql"),
        ("tsconfig.json", b"", "json"),
        ("renovate.json5", b"", "json5"),
        ("main.tf", b"", "hcl"),
        ("test/install.bats", b"", "bash"),
        ("bin/run", b"#!/usr/bin/env bats\n", "bash"),
        ("bin/run", b"#!/usr/bin/env luajit\n", "lua"),
        ("app.scss", b"", "scss"),
        ("kong-3.0.rockspec", b"", "lua"),
        ("build.gradle.kts", b"", "kotlin"),
        ("App.kt", b"", "kotlin"),
        ("Main.swift", b"", "swift"),
    ],
)
def test_language_of_a_file(path, head, language):
    assert detect_language(path, head) == language


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("src/flask/app.py", "source"),
        ("src/contest.py", "source"),
        ("src/latest.ts", "source"),
        ("lib/request.js", "source"),
        ("tests/test_app.py", "test"),
        ("test_app.py", "test"),
        ("pkg/app_test.go", "test"),
        ("conftest.py", "test"),
        ("src/app.spec.ts", "test"),
        ("src/app.test.tsx", "test"),
        ("src/__tests__/app.js", "test"),
        ("src/test/java/com/acme/Foo.java", "test"),
        ("core/FooTest.java", "test"),
        ("core/FooTests.cs", "test"),
        ("spec/models/user_spec.rb", "test"),
        ("tests/data/readme.md", "test"),
        ("okio/src/jvmTest/kotlin/okio/Pipe.kt", "test"),
        ("moshi-kotlin-tests/src/main/kotlin/A.kt", "test"),
        ("src/Acme.Billing.Tests/Setup.cs", "test"),
        ("src/LatestNews/a.swift", "source"),
        ("src/contests/a.rb", "source"),
        ("core/src/ReaderSuite.scala", "test"),
        ("install.bats", "test"),
        ("main.tf", "source"),
        ("vpc.tftest.hcl", "test"),
        ("lib/accounts_test.exs", "test"),
        ("examples/hello/main.go", "example"),
        ("docs_src/body/tutorial001.py", "example"),
        ("benches/rt.rs", "example"),
        ("benchmarks_test.go", "test"),
        ("docs/guide.md", "docs"),
        ("docs/conf.py", "docs"),
        ("README.md", "docs"),
        ("LICENSE", "docs"),
        ("src/flask/compat.py", "compat"),
        ("src/_compat.py", "compat"),
        ("lib/legacy/a.rb", "compat"),
        ("api/user_pb2.py", "generated"),
        ("api/user.pb.go", "generated"),
        ("web/dist/app.js", "generated"),
        ("package-lock.json", "generated"),
        ("Cargo.lock", "generated"),
        ("vendor/lib/a.go", "vendored"),
        ("web/node_modules/a/index.js", "vendored"),
        ("third_party/zlib/test/a.c", "vendored"),
        ("include/log/fmt/bundled/format.h", "vendored"),
        ("src/bundled.py", "source"),
        ("setup.py", "config"),
        ("pyproject.toml", "config"),
        (".github/workflows/ci.yml", "config"),
        ("eslint.config.js", "config"),
        ("Dockerfile", "config"),
    ],
)
def test_role_of_a_path(path, role):
    assert path_role(path) == role


if __name__ == "__main__":
    PAGE.write_text(languages_page())
