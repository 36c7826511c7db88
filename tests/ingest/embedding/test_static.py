"""The shipped embedder."""

import pickle
import shutil

import numpy as np
import pytest
from tokenizers import Tokenizer

from ingest.config import EmbeddingConfig
from ingest.embedding import load_embedder, static
from ingest.embedding.static import StaticEmbedder, static_id
from ingest.words import WordTable


@pytest.fixture(scope="module")
def embedder():
    return StaticEmbedder()


def test_rows_are_unit_vectors_and_empty_text_is_zero(embedder):
    vectors = embedder.embed_passages(["def connect(host): ...", ""])
    assert vectors.shape == (2, 256)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0, 0.0], abs=1e-5)


def test_a_text_has_one_vector_whatever_was_embedded_with_it(embedder):
    alone = StaticEmbedder().embed_query("open a socket")
    embedder.embed_passages([f"word{n} other" for n in range(500)])
    assert np.array_equal(alone, embedder.embed_query("open a socket"))


def test_meaning_beats_spelling(embedder):
    query = embedder.embed_query("remove a directory and everything in it")
    right, wrong = embedder.embed_passages(
        [
            "def rmtree(path):\n    for entry in os.scandir(path): os.unlink(entry)",
            "def parse_date(text): return strptime",
        ]
    )
    assert query @ right > query @ wrong


@pytest.mark.req("I12")
def test_id_names_the_weights(embedder):
    assert embedder.id == static_id()
    assert pickle.loads(pickle.dumps(embedder)).id == embedder.id


@pytest.mark.req("I12")
def test_other_weights_or_another_normal_form_have_another_id(tmp_path, monkeypatch):
    shutil.copytree(static.WEIGHTS, tmp_path, dirs_exist_ok=True)
    assert static_id(tmp_path) == static_id()
    with (tmp_path / "scales.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    assert static_id(tmp_path) != static_id()
    monkeypatch.setattr(static, "NORMAL_FORM", static.NORMAL_FORM + 1)
    assert static_id() != static.STATIC_ID


def embed_plainly(text):
    """The definition, without caches: split, tokenise, first pieces, sum, norm."""
    tokenizer = Tokenizer.from_file(str(static.WEIGHTS / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    parts = " ".join(part.lower() for part in static.PART.findall(text) if len(part) <= static.MAX_PART_CHARS)
    ids = tokenizer.encode(parts, add_special_tokens=False).ids[: static.MAX_PIECES]
    total = (np.load(static.WEIGHTS / "rows.npy")[ids] * np.load(static.WEIGHTS / "scales.npy")[ids, None]).sum(axis=0)
    return total / np.linalg.norm(total)


@pytest.mark.parametrize(
    "text",
    [
        "def getHTTPResponse_v2(self, URL): return self._session.get(URL, timeout=30)",
        "Überprüfung der Größe: naïve café, 数据库连接池, İstanbul ΑΣ",
        "x" * 40 + " " + "aB" * 50 + " __init__ 3.14159 0xdeadBEEF",
        "one two_three fourFive " * 200,
    ],
)
def test_cached_vectors_are_the_plain_definition(embedder, text):
    for _ in range(2):
        assert embedder.embed_query(text) == pytest.approx(embed_plainly(text), abs=1e-6)


def test_a_full_cache_starts_over_and_changes_no_vector(embedder, monkeypatch):
    monkeypatch.setattr(WordTable, "most", 8)
    small = StaticEmbedder()
    texts = [f"name{chr(97 + n)} otherName{chr(97 + n)} get_{n}" for n in range(20)]
    assert np.array_equal(small.embed_passages(texts), embedder.embed_passages(texts))
    assert len(small._pieces) < 20


def test_none_is_no_embedder():
    assert load_embedder(EmbeddingConfig(kind="none"), None) is None
