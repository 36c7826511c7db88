"""Facts are read from the trees of many grammars by one table of node names."""

import pytest

from ingest.chunking.facts import Facts, literal_of, read_facts
from tests.mcp_server.answering.support import make_chunk

GO = """
package store

const retryLimit = 5

func ReadEntry(key string) string {
	return parseEntry(key)
}
"""
JAVA = """
class Store extends Base {
    @Override
    String read(String key) {
        if (key == null) throw new StoreError(key);
        return parse(key);
    }
}
"""
TYPESCRIPT = """
export class Store extends Base {
  read(key: string, retries = 3) {
    return parse(key);
  }
}
"""
RUST = """
const LIMIT: u32 = 5;
fn read(key: &str) -> bool {
    parse(key);
    return true;
}
"""


def facts(path: str, text: str, language: str) -> Facts:
    from dataclasses import replace

    return read_facts(replace(make_chunk(path, text), language=language, symbol=None, symbols=()))


@pytest.mark.req("R18")
@pytest.mark.parametrize(
    ("path", "text", "language", "caller", "callee"),
    [
        ("a.go", GO, "go", "ReadEntry", "parseEntry"),
        ("A.java", JAVA, "java", "read", "parse"),
        ("a.ts", TYPESCRIPT, "typescript", "read", "parse"),
        ("a.rs", RUST, "rust", "read", "parse"),
    ],
)
def test_calls_belong_to_the_function_around_them(
    path: str, text: str, language: str, caller: str, callee: str
) -> None:
    found = {definition.name: definition.calls for definition in facts(path, text, language).definitions}
    assert callee in found[caller]


@pytest.mark.req("R18")
def test_bases_throws_and_decorators_are_facts_of_their_definition() -> None:
    found = {definition.name: definition for definition in facts("A.java", JAVA, "java").definitions}
    assert "Base" in found["Store"].bases
    assert "StoreError" in found["read"].raises
    assert "Override" in found["read"].decorators


@pytest.mark.req("R18")
@pytest.mark.parametrize(
    ("path", "text", "language", "name", "value"),
    [
        ("a.go", GO, "go", "retryLimit", "5"),
        ("a.ts", TYPESCRIPT, "typescript", "retries", "3"),
        ("a.rs", RUST, "rust", "LIMIT", "5"),
    ],
)
def test_values_and_defaults_are_facts(path: str, text: str, language: str, name: str, value: str) -> None:
    assert (name, value) in [(found.name, found.value) for found in facts(path, text, language).values]


def test_prose_and_unknown_languages_have_no_facts() -> None:
    assert facts("a.xyz", "def read(): pass", "nothing") == Facts()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1_000", "1000"),
        ("0x10", "16"),
        ("TRUE", "true"),
        ("nil", "none"),
        ("30s", "30"),
        ("x + 1", ""),
        ("'a'", '"a"'),
    ],
)
def test_literals_have_one_normal_form(source: str, expected: str) -> None:
    assert literal_of(source) == expected
