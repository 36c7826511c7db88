"""Secrets of every kind, planted in everything that is indexed and asked: none leaves, by any surface or file.

The mirror of a repository is left out of the search: it is that repository, with all its objects.
"""

import json
import os
import re
from pathlib import Path

import anyio
import pytest
import zstandard
from starlette.responses import PlainTextResponse

from ingest.index import Index
from ingest.model import Filters
from mcp_server.access import local_principal, make_filters
from mcp_server.config import load_setup
from mcp_server.errors import ServerError
from mcp_server.render import render_answer, render_search
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from mcp_server.web import make_app
from tests.access.leaks import call_app
from tests.ingest.sources.support import git, write
from tests.ingest.test_redact import ALNUM, SECRETS
from tests.mcp_server.conftest import reindex
from traces.packing import load_dictionary, pack

NEEDLES = {rule: text.split("@")[0].strip(' "')[-12:] for rule, text in SECRETS.items()} | {"private_key": ALNUM[:64]}
ZSTD = b"\x28\xb5\x2f\xfd"


def planted(comment: str) -> str:
    """Return a text that holds every secret, each in a paragraph of its own with a word to ask for."""
    return "\n\n".join(f"{comment}keeper_{rule} holds {text}" for rule, text in SECRETS.items())


def leaked(output: str) -> list[str]:
    """Return the rules whose secret stands in an output."""
    return [rule for rule, needle in NEEDLES.items() if needle in output]


@pytest.fixture(scope="module")
def planted_world(tmp_path_factory):
    """Code with its commits, tickets and designs that hold every secret; and a service over them."""
    folder = tmp_path_factory.mktemp("secrets")
    repository = folder / "repository"
    names = {
        f"src/old-{SECRETS[rule]}.py": "def keeper():\n    return 1\n" for rule in ("slack_token", "shopify_token")
    }
    parts = [
        f"def keeper_{rule}():\n    {text!r}\n    return {number}\n"
        for number, (rule, text) in enumerate(SECRETS.items())
    ]
    write(repository, {"src/keys.py": "\n\n".join(parts), **names})
    git(repository, "init", "-q")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", f"Keepers\n\n{planted('')}")
    comments = [{"body": planted("> "), "author": {"login": "ada"}}]
    ticket = {"number": 1, "title": f"Keepers {SECRETS['slack_token']}", "body": planted(""), "comments": comments}
    (folder / "issues.json").write_text(json.dumps([ticket]))
    write(folder / "designs", {"keys.md": f"# Keepers\n\n{planted('')}\n"})
    (folder / "codecairn.toml").write_text(
        f'[[source]]\nname = "code"\ntype = "git"\npath = "{repository}"\nproduct = "p"\n'
        f'[[source]]\nname = "issues"\ntype = "tickets"\npath = "{folder / "issues.json"}"\nproduct = "p"\n'
        f'[[source]]\nname = "designs"\ntype = "designs"\npath = "{folder / "designs"}"\nproduct = "p"\n'
    )
    setup = load_setup(root=folder, config=None, data=folder / "data", env=dict(os.environ))
    service = Service(setup)
    reindex(service)
    yield service
    service.close()


def everything(service: Service, index: Index) -> Filters:
    """Return the filters of who sees all."""
    return make_filters(local_principal(service.setup.settings), service.infos(index))


def ask(service: Service, text: str) -> list[str]:
    """Return what each surface says to a text, errors too."""
    me = local_principal(service.setup.settings)
    said = []
    for sources in ((), ("code",), ("tickets",), ("designs",), ("history",)):
        try:
            result = service.search(SearchRequest(text, limit=20, sources=sources), me)
            said += [render_search(result, text, style) for style in ("concise", "detailed", "json")]
            said.append(service.explain(result.trace_id, "", me))
        except ServerError as error:
            said.append(str(error))
    try:
        said.append(render_answer(service.answer(AnswerRequest(text), me)))
    except ServerError as error:
        said.append(str(error))
    web = make_app(service, PlainTextResponse("mcp"), lambda: None)
    said.append(anyio.run(call_app, web, "/v1/search", {"query": text}))
    return said


@pytest.mark.req("A6", "S2", "S3", "V4.7")
def test_no_planted_secret_reaches_the_index(planted_world):
    with Index.open_current(planted_world.setup.data_dir, planted_world.embedder) as index:
        ids = index.containing(["keeper"], everything(planted_world, index)) or []
        chunks = index.chunks(ids)
        kinds = {chunk.kind for chunk in chunks}
        assert kinds == {"code", "ticket", "design", "commit"}
        held = {chunk.ref: leaked(repr(chunk)) for chunk in chunks if leaked(repr(chunk))}
        assert not held, [c.text for c in chunks if c.ref in held]
        assert all(sum(count for _, count in chunk.redactions) for chunk in chunks if "masked" in chunk.text)


@pytest.mark.req("A6", "S2", "S3", "S12", "V4.7")
def test_no_planted_secret_leaves_by_any_surface_file_or_log(planted_world, capfd):
    asked = [f"keeper_{rule}" for rule in ("jwt", "private_key", "url_password")]
    asked += [f"where is {text} used" for text in SECRETS.values()]
    outputs = [output for text in asked for output in ask(planted_world, text)]
    assert any("keeper_jwt" in output for output in outputs)  # it was found, without what it holds
    assert not [leak for output in outputs for leak in leaked(output)]
    planted_world.store.flush()
    said = capfd.readouterr()
    assert not leaked(said.out + said.err)
    held = [leak for file in data_files(planted_world.setup.data_dir) for leak in leaked(readable(file))]
    assert not held


def data_files(folder: Path) -> list[Path]:
    """Return every file of a data directory but the mirrors."""
    found = [path for path in folder.rglob("*") if path.is_file() and "mirrors" not in path.relative_to(folder).parts]
    assert {"control.db", "traces.db"} <= {path.name for path in found}
    return found


def readable(file: Path) -> str:
    """Return the bytes of a file as text, with what is compressed in it (frames of zstd) unpacked."""
    data = file.read_bytes()
    unpacked = []
    for match in re.finditer(re.escape(ZSTD), data):
        for dictionary in (None, load_dictionary()):
            try:
                unpacker = zstandard.ZstdDecompressor(dict_data=dictionary).decompressobj()
                unpacked.append(unpacker.decompress(data[match.start() :]))
                break
            except zstandard.ZstdError:
                continue  # these four bytes were something else, or it takes the dictionary
    return b"\n".join([data, *unpacked]).decode("latin-1")


def test_the_search_of_files_finds_what_is_compressed(tmp_path):
    text = json.dumps({"keeper": [f"{at} {ALNUM[:64]} {at * 7919}" for at in range(50)]}).encode()
    for blob in (zstandard.ZstdCompressor(level=19).compress(text), pack(text, lambda value: 1)):
        (tmp_path / "blob").write_bytes(b"head" + blob)
        assert "private_key" in leaked(readable(tmp_path / "blob"))
