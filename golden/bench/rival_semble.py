"""semble as a rival. Runs under a Python that has semble; imports nothing of this package.

Without `--model`: its BM25 + ranking (alpha 0), with vectors that say nothing. With `--model`: its own mix of BM25 and
vectors (alpha as it decides), with the embedded model of this package written as a Model2Vec folder.
"""

import json
import struct
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

CHUNKS = 30  # of which the first ten distinct files count

# What the embedded model does before its tokenizer, as normalizers: other characters are gaps, names are split.
SPLITS: list[dict[str, Any]] = [
    {"type": "Replace", "pattern": {"Regex": pattern}, "content": " "}
    for pattern in (
        r"[^\w]|_",
        r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])",
    )
]
NO_WORDS: dict[str, Any] = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "[PAD]": 1, "a": 2}, "unk_token": "[UNK]"},
}  # fmt: skip


def write_model(folder: Path, rows: Any, tokenizer: dict[str, Any]) -> None:  # noqa: ANN401 - float32 [n, d]
    """Write a Model2Vec folder: vectors as safetensors, tokenizer, configuration."""
    folder.mkdir()
    data = np.ascontiguousarray(rows, dtype="<f4").tobytes()
    header = json.dumps({"embeddings": {"dtype": "F32", "shape": list(rows.shape), "data_offsets": [0, len(data)]}})
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode() + data)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    (folder / "config.json").write_text(json.dumps({"normalize": True, "embedding_dtype": "float32"}), "utf-8")


def write_embedded_model(folder: Path, weights: Path) -> None:
    """Write the embedded model: int8 rows times their scales, names split as it splits them."""
    tokenizer = json.loads((weights / "tokenizer.json").read_text("utf-8"))
    own = [tokenizer["normalizer"]] if tokenizer.get("normalizer") else []
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [*SPLITS, *own]}
    rows = np.load(weights / "rows.npy").astype(np.float32) * np.load(weights / "scales.npy").reshape(-1, 1)
    write_model(folder, rows, tokenizer)


def main() -> None:
    """Answer one JSON line after another."""
    with_model = "--model" in sys.argv
    index: Any = None
    model = Path()
    for line in sys.stdin:
        message = json.loads(line)
        try:
            from importlib.metadata import version

            from semble import SembleIndex  # type: ignore[import-not-found]
            from semble.types import ContentType  # type: ignore[import-not-found]
        except ImportError as error:
            answer: dict[str, Any] = {"error": f"this Python has no semble ({error}); give one that has: NAME=PYTHON"}
            sys.stdout.write(json.dumps(answer) + "\n")
            break
        started = time.perf_counter()
        if message["do"] == "start":
            model = Path(message["scratch"]) / "model"
            if with_model:
                write_embedded_model(model, Path(message["weights"]))
            else:
                write_model(model, np.ones((3, 8), dtype=np.float32), NO_WORDS)
            how = "with the embedded model, its own mix" if with_model else "BM25 + ranking, alpha 0"
            answer = {"name": f"semble {version('semble')}, {how}"}
        elif message["do"] == "index":
            content = tuple(ContentType) if message["kind"] == "designs" else (ContentType.CODE,)  # its default
            index = SembleIndex.from_path(message["root"], content=content, model_path=str(model))
            answer = {"seconds": time.perf_counter() - started}
        else:
            hits = index.search(message["query"], top_k=CHUNKS, alpha=None if with_model else 0.0)
            paths = list(dict.fromkeys(hit.chunk.file_path.replace("\\", "/") for hit in hits))
            answer = {"paths": paths, "ms": (time.perf_counter() - started) * 1000}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
