"""The shipped embedder."""

import pickle

import numpy as np
import pytest

from ingest.config import EmbeddingConfig
from ingest.embedding import load_embedder
from ingest.embedding.static import StaticEmbedder


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
    assert embedder.id.startswith("static-256/")
    assert pickle.loads(pickle.dumps(embedder)).id == embedder.id


def test_none_is_no_embedder():
    assert load_embedder(EmbeddingConfig(kind="none"), None) is None
