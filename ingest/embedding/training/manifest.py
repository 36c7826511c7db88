"""What weights were made from: repositories, commits, licences, counts, settings, hashes. A JSON file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ingest.embedding.training.history import list_files, read_files
from ingest.embedding.training.mining import MARK, Pair
from ingest.embedding.training.trainer import Settings

MANIFEST = Path(__file__).parent / "manifest.json"  # of the weights that ship
LICENCE_FILE = re.compile(r"(?i)^(mit-)?(un)?(licen[sc]e|copying)([-.]\w+)*$")
LICENCES = {  # permissive ones only; the first text that is found counts
    "Apache-2.0": r"Apache License\s+Version 2\.0",
    "ISC": r"Permission to use, copy, modify, and(?:/or)? distribute this software",
    "MIT": r"Permission is hereby granted, free of charge, to any person obtaining\s+a copy",
    "BSD": r"Redistributions? (?:and use )?in source and binary forms|Redistributions? of source code must retain",
    "Unlicense": r"This is free and unencumbered software",
    "Zlib": r"This software is provided ['‘`]as-is['’`], without any express or implied",
}


class ManifestError(Exception):
    """A manifest that can't be read or followed."""


class Repository(BaseModel):
    """One repository of the training set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    commit: str
    licence: str
    language: str
    pairs: dict[str, int] = {}


class Manifest(BaseModel):
    """All that a rebuild needs, and the hashes that it must give."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = ""  # static_id() of the weights
    settings: Settings = Settings()
    kinds: tuple[str, ...]
    vocabulary: str = ""  # SHA-256 of tokenizer.json
    repositories: tuple[Repository, ...]
    pairs: dict[str, int] = {}
    pairs_digest: str = ""
    losses: tuple[float, ...] = ()
    weights: dict[str, str] = {}  # file -> SHA-256


def read_manifest(path: Path) -> Manifest:
    """Return a manifest. Raises ManifestError."""
    try:
        return Manifest.model_validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        raise ManifestError(f"The manifest {path} can't be used: {error}") from error


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest, a repository a line."""
    head = manifest.model_copy(update={"repositories": ()}).model_dump_json(indent=1)
    lines = ",\n  ".join(repository.model_dump_json() for repository in manifest.repositories)
    path.write_text(head.replace('"repositories": []', f'"repositories": [\n  {lines}\n ]') + "\n")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest_pairs(pairs: Iterable[Pair]) -> str:
    """Return a digest over pairs in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for pair in pairs:
        digest.update(f"{pair.kind}\0{pair.query}\0{pair.passage}\1".encode(errors="replace"))
    return digest.hexdigest()


def read_licence(clone: Path, commit: str) -> str:
    """Return the permissive licence that a repository's licence files grant, "" for any other. Raises CloneError."""
    names = [path for path in list_files(clone, commit) if "/" not in path and LICENCE_FILE.match(path)]
    found = []
    for _, text in read_files(clone, commit, names):
        found += [name for name, words in LICENCES.items() if re.search(words, text[:4000])]
    return " or ".join(dict.fromkeys(found))


def read_language(clone: Path, commit: str) -> str:
    """Return the suffix that most code files of a repository have. Raises CloneError."""
    suffixes = [path.rpartition(".")[2].lower() for path in list_files(clone, commit)]
    counts = {suffix: suffixes.count(suffix) for suffix in set(suffixes) & set(MARK)}
    return max(sorted(counts), key=counts.__getitem__, default="")
