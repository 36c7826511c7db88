"""The steps from clones to weights: survey, mine, train, export."""

from __future__ import annotations

import fnmatch
import functools
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from ingest.embedding.static import WEIGHT_FILES, Pieces, static_id
from ingest.embedding.training.bags import Array, Bags, join_bags, make_bags
from ingest.embedding.training.history import list_clones, mirrored
from ingest.embedding.training.manifest import (
    Manifest,
    ManifestError,
    Repository,
    digest_pairs,
    hash_file,
    read_language,
    read_licence,
    write_manifest,
)
from ingest.embedding.training.mining import KINDS, Pair, mine_repository
from ingest.embedding.training.trainer import PairSet, Settings, start_rows, train

Say = Callable[[str], None]
MIN_PASSAGE_PIECES = 4  # different ones; less says nothing


def survey(clones: Path, excluded: Iterable[str], settings: Settings, say: Say) -> Manifest:
    """Return a manifest of the clones that are not excluded and permissively licensed. Raises CloneError."""
    patterns = [line.strip().lower() for line in excluded if line.strip()]
    chosen = []
    for name in list_clones(clones):
        if any(fnmatch.fnmatch(name.lower(), pattern) for pattern in patterns):
            say(f"{name}: left out, it is excluded")
            continue
        with mirrored(clones, name) as (mirror, commit):
            licence = read_licence(mirror, commit)
            language = read_language(mirror, commit)
        if licence:
            chosen.append(Repository(name=name, commit=commit, licence=licence, language=language))
        else:
            say(f"{name}: left out, no permissive licence found")
    return Manifest(settings=settings, kinds=KINDS, repositories=tuple(chosen))


def rebuild(manifest: Manifest, clones: Path, vocabulary: Path, out: Path, jobs: int, say: Say) -> Manifest:
    """Mine, train, write weights and manifest to a folder; return that manifest. Raises CloneError, ManifestError."""
    if manifest.vocabulary and hash_file(vocabulary) != manifest.vocabulary:
        raise ManifestError(f"{vocabulary} is not the vocabulary of the manifest. Name that one with --vocabulary.")
    pieces = Pieces.open(vocabulary)
    mined = _mine(manifest, clones, jobs, say)
    pairs, repositories, digest = _collect(mined, manifest, pieces)
    counts: Counter[str] = Counter()
    for repository in repositories:
        counts.update(repository.pairs)
    say(f"{len(pairs.queries)} pairs: {dict(counts)}")
    rows = start_rows(pairs, pieces.size, manifest.settings)
    losses = []
    for loss in train(pairs, rows, manifest.settings, lambda n, of, mean: say(f"  batch {n} of {of}: loss {mean:.4f}")):
        losses.append(round(loss, 6))
        say(f"epoch {len(losses)} of {manifest.settings.epochs}: loss {loss:.4f}")
    out.mkdir(parents=True, exist_ok=True)
    export_rows(rows, out)
    shutil.copyfile(vocabulary, out / "tokenizer.json")
    facts = {
        "id": static_id(out),
        "vocabulary": hash_file(vocabulary),
        "repositories": tuple(repositories),
        "pairs": dict(counts),
        "pairs_digest": digest,
        "losses": tuple(losses),
        "weights": {name: hash_file(out / name) for name in WEIGHT_FILES},
    }
    made = manifest.model_copy(update=facts)
    write_manifest(made, out / "manifest.json")
    return made


def export_rows(rows: Array, out: Path) -> None:
    """Write rows as int8 with one scale each: a quarter of the size, no loss that the evaluation sees."""
    scales = np.abs(rows).max(axis=1) / 127
    whole = np.round(rows / np.where(scales > 0, scales, 1.0)[:, None]).astype(np.int8)
    np.save(out / "rows.npy", whole)
    np.save(out / "scales.npy", scales.astype(np.float32))


def compare(asked: Manifest, made: Manifest) -> str:
    """Say in one sentence whether a rebuild gave what its manifest promises."""
    if not asked.weights:
        return "The manifest held no hashes yet; the new one does."
    if asked.weights == made.weights:
        return "Same pairs, same weights, bit for bit."
    if asked.pairs_digest == made.pairs_digest:
        return "Same pairs, other weights: another numpy or processor adds in another order. Losses should agree."
    return "Other pairs than the manifest's: a clone, its git or the mining code differs. The new one has the counts."


def _mine(manifest: Manifest, clones: Path, jobs: int, say: Say) -> Iterator[tuple[Repository, list[Pair]]]:
    mine = functools.partial(_mine_one, clones, manifest.settings.seed)
    if jobs == 1:
        mined: Iterable[list[Pair]] = map(mine, manifest.repositories)
        yield from _told(zip(manifest.repositories, mined, strict=True), say)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield from _told(zip(manifest.repositories, pool.imap(mine, manifest.repositories), strict=True), say)


def _mine_one(clones: Path, seed: int, repository: Repository) -> list[Pair]:
    with mirrored(clones, repository.name) as (mirror, _):
        return mine_repository(mirror, repository.commit, seed)


def _told(mined: Iterable[tuple[Repository, list[Pair]]], say: Say) -> Iterator[tuple[Repository, list[Pair]]]:
    for repository, pairs in mined:
        say(f"{repository.name}: {len(pairs)} pairs")
        yield repository, pairs


def _collect(
    mined: Iterable[tuple[Repository, list[Pair]]], manifest: Manifest, pieces: Pieces
) -> tuple[PairSet, list[Repository], str]:
    """Return the pairs as bags, the repositories with their counts, and a digest over all pairs."""
    queries: list[Bags] = []
    passages: list[Bags] = []
    owners: list[Array] = []
    same: list[Array] = []
    repositories: list[Repository] = []
    digests = []
    for number, (repository, every) in enumerate(mined):
        pairs = [pair for pair in every if pair.kind in manifest.kinds]
        repositories.append(repository.model_copy(update={"pairs": dict(Counter(pair.kind for pair in pairs))}))
        digests.append(digest_pairs(pairs))
        if pairs:
            queries.append(make_bags((pair.query for pair in pairs), pieces.read))
            passages.append(make_bags((pair.passage for pair in pairs), pieces.read))
            same.append(np.array([_number(pair.query) for pair in pairs], dtype=np.int64))
            owners.append(np.full(len(pairs), number))
    if not queries:
        raise ManifestError("The repositories gave no pairs. Give the clones their history: no shallow clones.")
    asked, told = join_bags(queries), join_bags(passages)
    kept = np.flatnonzero((asked.sizes() > 0) & (told.sizes() >= MIN_PASSAGE_PIECES))
    chosen = PairSet(asked.pick(kept), told.pick(kept), np.concatenate(owners)[kept], np.concatenate(same)[kept])
    return chosen, repositories, blake2b("".join(digests).encode(), digest_size=16).hexdigest()


def _number(text: str) -> int:
    return int.from_bytes(blake2b(text.lower().encode(errors="replace"), digest_size=7).digest())
