"""How code is divided among chunks."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.chunking import chunk_document, chunk_with_reason
from ingest.languages import detect_language
from ingest.languages.loading import _load
from ingest.model import Chunk, Document, SourceInfo
from tests.ingest.chunking.test_definitions import SNIPPETS

SOURCE = SourceInfo("app", "code", "shop", ("local",))


def make_document(path: str, text: str) -> Document:
    return Document(SOURCE, path, None, path, text, "0", detect_language(path, text.encode()))


def chunk(path: str, text: str, limit: int = 400) -> list[Chunk]:
    return chunk_document(make_document(path, text), chunk_chars=limit)


def python_class(methods: int, lines: int) -> str:
    body = "\n".join(f"        value_{n} = self.compute({n})" for n in range(lines))
    parts = [f"    # about {n}\n    @cached\n    def method_{n}(self):\n{body}\n" for n in range(methods)]
    return 'class Big(Base):\n    """Much."""\n\n' + "\n".join(parts)


def check_cover(text: str, chunks: list[Chunk], limit: int) -> None:
    """Every line that is not blank lies in exactly one chunk, whose text is exactly its lines."""
    lines = text.split("\n")
    owners = [0] * (len(lines) + 1)
    for one in chunks:
        if one.start_line == one.end_line and len(lines[one.start_line - 1]) > limit:
            owners[one.start_line] = 1
            assert one.text in lines[one.start_line - 1]
            continue
        assert one.text == "\n".join(lines[one.start_line - 1 : one.end_line])
        assert all(one.start_line <= symbol.start_line <= one.end_line for symbol in one.symbols)
        for line in range(one.start_line, one.end_line + 1):
            owners[line] += 1
    for number, line in enumerate(lines, 1):
        assert owners[number] == 1 if line.strip() else owners[number] <= 1, number


@pytest.mark.parametrize("limit", [60, 200, 500, 1500])
@pytest.mark.parametrize("path", SNIPPETS)
def test_every_line_lies_in_exactly_one_chunk(path, limit):
    text = SNIPPETS[path][0]
    chunks = chunk(path, text, limit)
    check_cover(text, chunks, limit)
    whole = chunk(path, text, 100_000)
    assert [s for c in chunks for s in c.symbols] == [s for c in whole for s in c.symbols]


BROKEN_LINES = (
    *("def f():", "    return 1", "", "class A:", "    x = 2", "# note", "@d", "    def g(self):", "        pass"),
    *("(", '"""', "}", "é = 'ü'", "\t", "/* a", "*/", "fn f() {", "y" * 90),
)


@settings(max_examples=60)
@given(
    lines=st.lists(st.sampled_from(BROKEN_LINES), max_size=40),
    limit=st.integers(20, 120),
    path=st.sampled_from(
        [
            "a.py",
            "a.rb",
            "a.c",
            "a.rs",
            "a.js",
            "a.go",
            "a.cpp",
            "a.java",
            "a.md",
            "a.rst",
            "a.yaml",
            "a.sql",
            "a.hs",
            "a.ex",
            "a.sh",
            "a.lua",
            "a.kt",
        ]
    ),
)
def test_every_line_lies_in_exactly_one_chunk_even_of_broken_code(lines, limit, path):
    text = "\n".join(lines)
    check_cover(text, chunk(path, text, limit), limit)


@pytest.mark.parametrize("path", SNIPPETS)
def test_chunks_stay_near_the_limit(path):
    text = SNIPPETS[path][0] * 4
    assert max(len(one.text) for one in chunk(path, text, 300)) <= 300 * 1.15 + 80


def test_a_file_that_fits_is_one_chunk():
    (only,) = chunk("a.py", "import os\n\n\ndef f():\n    return os\n")
    assert (only.start_line, only.end_line, only.symbol, only.context) == (1, 5, "f", "")


def test_a_class_is_split_at_its_methods_and_they_know_it():
    first, second, *_ = chunk("a.py", python_class(4, 8))
    assert first.symbol == "Big"
    assert first.text.startswith("class Big(Base):")
    assert second.symbol == "Big.method_1"
    assert second.context == "class Big(Base):"
    assert second.text.startswith("    # about 1\n    @cached\n    def method_1")


def test_a_large_function_is_split_at_statements_and_keeps_its_signature_as_context():
    text = "def long(a):\n" + "".join(f"    if a > {n}:\n        call({n})\n" for n in range(60))
    chunks = chunk("a.py", text)
    assert len(chunks) > 3
    assert {one.symbol for one in chunks} == {"long"}
    assert {one.context for one in chunks[1:]} == {"def long(a):"}
    assert all(one.text.lstrip().startswith("if a >") for one in chunks[1:])


def test_small_neighbours_share_a_chunk_and_large_ones_do_not():
    small = "".join(f"def f{n}():\n    return {n}\n\n\n" for n in range(4))
    large = "def g():\n" + "".join(f"    call_number({n})\n" for n in range(17))
    shared, alone = chunk("a.py", small + large)
    assert [s.name for s in shared.symbols] == ["f0", "f1", "f2", "f3"]
    assert [s.name for s in alone.symbols] == ["g"]


def test_a_doc_comment_one_blank_line_above_goes_with_its_definition():
    body = "  call();\n" * 30
    text = f"app.a = function () {{\n{body}}};\n\n/**\n * About b.\n */\n\napp.b = function () {{\n{body}}};\n"
    second = next(one for one in chunk("a.js", text) if "app.b" in one.text)
    assert second.text.startswith("/**\n * About b.")


def test_a_doc_comment_longer_than_a_chunk_carries_its_definition():
    text = "/// Explains it at length.\n" * 60 + "pub fn explained() {}\n"
    chunks = chunk("a.rs", text)
    assert len(chunks) > 2
    assert {(one.symbol, one.context) for one in chunks[:-1]} == {("explained", "pub fn explained()")}


def test_a_closing_brace_is_never_a_chunk_of_its_own():
    methods = "".join(f"  void m{n}() {{\n{'    call();' * 30}\n  }}\n" for n in range(3))
    chunks = chunk("A.java", f"class A {{\n{methods}}}\n")
    assert chunks[-1].text.rstrip().endswith("}\n}")
    guarded = chunk("a.h", "#ifndef A_H\n#define A_H\n" + "int call(void);\n" * 40 + "\n#endif  /* A_H */\n")
    assert guarded[-1].text.startswith("int call")


def test_a_signature_is_never_a_chunk_of_its_own():
    text = '    """' + "Says much about itself. " * 15 + '\n    """\n    return 1\n'
    first, *_ = chunk("a.py", f"class A:\n  def documented(self):\n{text * 3}")
    assert first.text.startswith('class A:\n  def documented(self):\n    """Says')


def test_a_pathological_line_is_cut_by_characters():
    chunks = chunk("a.js", "var a = 1;\nvar data = '" + "x" * 2000 + "';\nvar b = 2;\n")
    assert [len(one.text) for one in chunks if one.start_line == 2] == [400, 400, 400, 400, 400, 14]
    assert [(one.start_line, one.end_line) for one in chunks if one.start_line != 2] == [(1, 1), (3, 3)]


def test_equal_texts_have_different_ids_and_ids_survive_a_move():
    line = "call_something_rather_long(1, 2, 3)\n"
    before = chunk("a.py", line * 40)
    assert len({one.id for one in before}) == len(before)
    text = python_class(4, 8)
    moved = chunk("a.py", "import os\n\n" + text)
    assert {one.id for one in chunk("a.py", text)[1:]} <= {one.id for one in moved}


def test_partial_results_of_a_file_with_a_syntax_error_are_kept():
    result = chunk_with_reason(make_document("a.py", "def good():\n    pass\n\ndef bad(:\n"), chunk_chars=400)
    assert result.fallback == ""
    assert "good" in [s.name for c in result.chunks for s in c.symbols]


def test_what_is_no_code_at_all_is_cut_by_lines_with_a_reason():
    result = chunk_with_reason(make_document("a.c", "@@ ))) ]]] ===\n" * 80), chunk_chars=400)
    assert result.fallback == "parse_error"
    check_cover("@@ ))) ]]] ===\n" * 80, result.chunks, 400)


def test_a_file_that_takes_too_long_to_parse_is_cut_by_lines(monkeypatch):
    monkeypatch.setattr("ingest.languages.loading.PARSE_SECONDS", 0.0)
    text = "fun call(a: Int): Int {\n  return a + 1\n}\n" * 60
    result = chunk_with_reason(make_document("a.kt", text), chunk_chars=400)
    assert result.fallback == "parse_timeout"
    check_cover(text, result.chunks, 400)
    monkeypatch.undo()
    assert chunk_with_reason(make_document("a.kt", text), chunk_chars=400).fallback == ""


def test_a_missing_grammar_wheel_is_a_reason_not_a_crash(monkeypatch):
    _load.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_ruby", None)
    result = chunk_with_reason(make_document("a.rb", "def a\nend\n"), chunk_chars=400)
    _load.cache_clear()
    assert result.fallback == "grammar_missing"
    assert [one.text for one in result.chunks] == ["def a\nend"]


def test_a_document_of_blank_lines_has_no_chunks():
    assert chunk("a.py", "\n\n   \n") == []
    assert chunk("a.md", "\n\n") == []
