"""From the bytes of one entry to chunks with token streams."""

import hashlib
import pickle

import numpy as np
import pytest

from ingest.embedding.static import StaticEmbedder
from ingest.index.schema import TEXT_FIELDS
from ingest.index.tokens import token_stream
from ingest.model import Document, Entry, FileJob, FileResult, SourceInfo
from ingest.prepare import embed_results, prepare_chunk, prepare_file

CODE = SourceInfo("app", "code", "shop", ("local",))
TICKETS = SourceInfo("issues", "ticket", "shop", ("local",))
COMMITS = SourceInfo("app.history", "commit", "shop", ("local",))


def make_job(path: str, data: bytes) -> FileJob:
    return FileJob(CODE, Entry(path, hashlib.sha256(data).hexdigest(), len(data)), data, revision="abc")


def prepare(path: str, data: bytes) -> FileResult:
    return prepare_file(make_job(path, data), chunk_chars=1500)


def test_a_file_becomes_chunks_with_its_facts():
    result = prepare("src/auth/token_store.py", b"class TokenStore:\n    def load(self):\n        pass\n")
    (only,) = result.prepared
    assert (only.chunk.path, only.chunk.language, only.chunk.role) == ("src/auth/token_store.py", "python", "source")
    assert only.chunk.content_hash == result.entry.content_hash
    assert only.chunk.symbol == "TokenStore"
    assert (result.skip, result.redactions, result.fallback) == (None, (), "")


def test_token_streams_of_code():
    source = b'class TokenStore:\n    """See #12 and PROJ-7."""\n    def loadAll(self):\n        pass\n'
    (only,) = prepare("src/lib/auth/token_store.py", source).prepared
    assert set(only.tokens) <= set(TEXT_FIELDS)
    assert only.tokens["content"] == token_stream(source.decode())
    assert only.tokens["path"] == "token_store token store token_store token store src lib auth"
    assert only.tokens["symbols"] == "tokenstore token store loadall load all"
    assert only.tokens["keys"] == "#12 proj-7"
    assert "heading" not in only.tokens


def test_a_continued_definition_is_found_by_its_enclosing_names():
    body = "".join(f"        self.step({n})\n" for n in range(200))
    *_, last = prepare("a.py", f"class Engine:\n    def run_all(self):\n{body}".encode()).prepared
    assert last.tokens["symbols"] == "engin run_all run all"
    assert "heading" not in last.tokens


def test_token_streams_of_a_ticket_and_a_commit():
    ticket = Document(TICKETS, None, "#41", "Crash on login", "It crashes, as in GH-12.\n", "0", "markdown")
    commit = Document(
        COMMITS, None, "0a1b2c3d", "Fix login", "Fix login\n\nFixes #41.\n", "0", links=("#41", "src/auth/login.py")
    )
    tokens = []
    for document in (ticket, commit):
        result = prepare_file(FileJob(document.source, Entry("x", "0", 1), documents=(document,)), chunk_chars=1500)
        tokens.append(result.prepared[0].tokens)
    assert tokens[0]["keys"] == "#41 41 #12"
    assert tokens[0]["heading"] == "crash on login"
    assert "path" not in tokens[0]
    assert tokens[1]["keys"] == "0a1b2c3d #41"
    assert "path" not in tokens[1]
    assert tokens[1]["touched"] == "login login src auth"
    assert tokens[1]["message"] == "fix login fix 41"


def test_one_entry_may_hold_several_documents():
    documents = tuple(Document(TICKETS, None, f"#{n}", f"T{n}", f"Body {n}\n", "0", "markdown") for n in range(3))
    result = prepare_file(FileJob(TICKETS, Entry("export.json", "0", 1), documents=documents), chunk_chars=1500)
    assert [item.chunk.key for item in result.prepared] == ["#0", "#1", "#2"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b" \n\n", "empty"), (b"\x81\xfe\x00\x01" * 50, "encoding")],
)
def test_what_has_no_text_is_left_out_with_a_reason(data, reason):
    result = prepare("a.py", data)
    assert result.skip is not None
    assert (result.skip.path, result.skip.reason, result.prepared) == ("a.py", reason, ())


def test_line_ends_do_not_matter():
    unix, windows, old_mac = (prepare("a.py", f"x = 1{end}y = 2{end}".encode()) for end in ("\n", "\r\n", "\r"))
    assert unix.prepared[0].chunk.text == "x = 1\ny = 2"
    assert windows.prepared[0].chunk.id == old_mac.prepared[0].chunk.id == unix.prepared[0].chunk.id


def test_a_secret_is_masked_everywhere_and_counted():
    secret = "AKIA" + "Q3EGRB7ZWKXJ2PLM"  # no real key
    source = f'KEY = "{secret}"\n\n\ndef connect(key="{secret}"):\n    """Uses {secret}."""\n'
    result = prepare("a.py", source.encode())
    assert secret not in repr(result)
    assert secret.lower() not in repr(result)
    assert result.redactions == (("aws_access_key", 3),)
    assert result.prepared[0].chunk.redactions == (("aws_access_key", 3),)
    assert result.prepared[0].chunk.end_line == 5


def test_only_chunks_with_masks_count_them():
    secret = "AKIA" + "Q3EGRB7ZWKXJ2PLM"  # no real key
    filler = "".join(f"def f{n}():\n    return {n}\n\n\n" for n in range(120))
    first, *others = prepare("a.py", f'KEY = "{secret}"\n\n\n{filler}'.encode()).prepared
    assert first.chunk.redactions == (("aws_access_key", 1),)
    assert {one.chunk.redactions for one in others} == {()}


def test_the_reason_of_a_fallback_is_reported():
    assert prepare("a.c", b"@@ ))) ]]] ===\n" * 80).fallback == "parse_error"


def test_results_travel_between_processes():
    result = prepare("a.py", b"def f():\n    return 1\n")
    assert pickle.loads(pickle.dumps(result)) == result


def test_the_files_of_a_batch_are_embedded_together():
    embedder = StaticEmbedder()
    results = [prepare("a.py", b"def parse_header(): pass\n"), prepare("b.md", b""), prepare("c.py", b"x = 1\n")]
    embedded = embed_results(results, embedder)
    assert [len(result.prepared) for result in embedded] == [1, 0, 1]
    vector = embedded[0].prepared[0].vector
    assert vector is not None
    chunk = embedded[0].prepared[0].chunk
    alone = embedder.embed_passages([embedder.passage(chunk.ref, chunk.context, chunk.text)])[0]
    np.testing.assert_allclose(np.frombuffer(vector, dtype=np.float32), alone, rtol=1e-5, atol=1e-6)


def test_a_chunk_has_no_empty_streams():
    (only,) = prepare("Makefile", b"all:\n\techo\n").prepared
    assert prepare_chunk(only.chunk) == only
    assert all(only.tokens.values())
