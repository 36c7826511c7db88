"""What part a file plays in its project, from path conventions alone."""

from __future__ import annotations

import re

from ingest.languages.table import BY_EXTENSION, BY_FILENAME, LANGUAGES
from ingest.model import Role

VENDORED_DIRS = frozenset(
    "vendor vendors vendored third_party third-party thirdparty 3rdparty node_modules bower_components _vendor "
    "bundled extern externals deps site-packages godeps carthage".split()
)
GENERATED_DIRS = frozenset("generated __generated__ autogen _generated dist __snapshots__".split())
TEST_DIRS = frozenset(
    "test tests testing __tests__ __mocks__ spec specs testdata test_data fixtures __fixtures__ e2e unittest unittests "
    "integration_tests integration-tests androidtest cypress mocks testsuite".split()
)
EXAMPLE_DIRS = frozenset(
    "example examples sample samples demo demos tutorial tutorials docs_src cookbook playground quickstart quickstarts "
    "benchmark benchmarks bench benches snippets".split()
)
DOCS_DIRS = frozenset(
    "doc docs documentation man manual www website site rfcs rfc adr adrs design designs wiki".split()
)
COMPAT_DIRS = frozenset("compat legacy deprecated polyfill polyfills shim shims backports".split())
CONFIG_DIRS = frozenset(
    ".github .circleci .gitlab .vscode .idea .husky .devcontainer .changeset .cargo requirements".split()
)

TEST_NAME = re.compile(
    r"(?:^|[._-])tests?$|^tests?(?:[._-]|$)|^conftest$|[._-](?:spec|e2e|cy)$|"
    r"^[tT]est[A-Z]|[a-z0-9](?:Tests?|TestCase|IT|Specs?)$"
)
TEST_DIR = re.compile(
    r"(?:^|[._-])(?:[Uu]nit|[Ii]ntegration)?[Tt]ests?$|[a-z0-9]Tests?$"
)  # jvmTest, json-tests, Acme.Tests
OWN_TESTS = {entry.name: re.compile(entry.tests, re.IGNORECASE) for entry in LANGUAGES.values() if entry.tests}
EXAMPLE_NAME = re.compile(
    r"(?:^|[._-])(?:examples?|samples?|demo|bench|benchmarks?)$|^(?:examples?|bench|benchmark)[._-]", re.IGNORECASE
)
GENERATED_NAME = re.compile(
    r"(?:_pb2(?:_grpc)?\.pyi?|\.pb\.(?:go|cc|h|gw\.go)|\.g\.(?:dart|cs)|\.designer\.cs|[._]generated\.\w+|"
    r"\.gen\.\w+|_gen\.go|\.min\.(?:js|css)|\.bundle\.js|\.map|\.snap|"
    r"-lock\.\w+|\.lock|go\.sum|npm-shrinkwrap\.json)$|^zz_generated",
    re.IGNORECASE,
)
COMPAT_NAME = re.compile(
    r"^_{0,2}(?:compat|compatibility|legacy|deprecated|backports?|polyfills?|shims?)(?:[._-]|$)|"
    r"[._-](?:compat|legacy|polyfill|shim)$",
    re.IGNORECASE,
)
CONFIG_NAME = re.compile(
    r"^(?:setup\.(?:py|cfg)|noxfile\.py|tasks\.py|fabfile\.py|[\w.-]*config\.(?:[cm]?[jt]s|json|ya?ml|toml)|"
    r"\.[\w.-]*rc(?:\.\w+)?|gruntfile\.js|gulpfile\.js)$",
    re.IGNORECASE,
)
CONFIG_LANGUAGES = frozenset(
    "yaml toml ini json json5 ignore go-module dockerfile make cmake meson xml starlark csv diff".split()
)
PROSE_LANGUAGES = frozenset(("markdown", "rst", "asciidoc", "text", "latex"))


def path_role(path: str) -> Role:
    """Return the role of a repo-relative path: who wrote it first, then test, example, docs, compat, config."""
    *folders, name = path.split("/")
    lowered = [folder.lower() for folder in folders]
    stem, _, extension = name.rpartition(".")
    special = _provenance(lowered, name)
    if special:
        return special
    if TEST_DIRS.intersection(lowered) or any(map(TEST_DIR.search, folders)) or _is_test_name(name, stem or name):
        return "test"
    return _part(lowered, name, stem or name, extension.lower())


def _is_test_name(name: str, stem: str) -> bool:
    own = OWN_TESTS.get(BY_EXTENSION.get(name.rpartition(".")[2].lower(), ""))
    return bool(TEST_NAME.search(stem) or (own and own.search(name)))


def _provenance(folders: list[str], name: str) -> Role | None:
    """Return whether somebody else or a machine wrote the file."""
    if VENDORED_DIRS.intersection(folders):
        return "vendored"
    if GENERATED_DIRS.intersection(folders) or GENERATED_NAME.search(name):
        return "generated"
    return None


def _part(folders: list[str], name: str, stem: str, extension: str) -> Role:
    language = BY_FILENAME.get(name.lower()) or BY_EXTENSION.get(extension, "")
    if EXAMPLE_DIRS.intersection(folders) or EXAMPLE_NAME.search(stem):
        return "example"
    if language in PROSE_LANGUAGES or (language != "python" and DOCS_DIRS.intersection(folders)):
        return "docs"
    if folders and folders[0] in DOCS_DIRS:
        return "docs"
    if COMPAT_DIRS.intersection(folders) or COMPAT_NAME.search(stem):
        return "compat"
    if CONFIG_DIRS.intersection(folders) or CONFIG_NAME.match(name) or language in CONFIG_LANGUAGES:
        return "config"
    return "source"
