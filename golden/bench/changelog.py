"""A repository's own changelog as tickets: the fragments (towncrier) that its history up to the snapshot added.

Releases fold fragments into one long file, so the tree holds only the latest. Nothing newer than the snapshot is read;
what has the number of a question's own ticket is left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from golden.bench import BenchError
from golden.corpus import fresh_folder
from ingest import gitio
from ingest.embedding.training.history import CloneError, run_git
from ingest.errors import IngestError
from ingest.sources.history import fragment_key


def write_fragments(repository: Path, folder: Path, without: Collection[str]) -> int:
    """Write each fragment of a repository's history to a folder, as it was last; return how many. Raises BenchError.

    `without`: numbers of tickets to leave out.
    """
    fresh_folder(folder)
    hidden = {f"#{number}" for number in without}
    written: set[str] = set()
    try:
        with tempfile.TemporaryDirectory(prefix="codecairn-changelog-") as scratch:
            mirror = gitio.update_mirror(gitio.find_repository(repository), Path(scratch))
            for path, text in read_fragments(mirror.path, mirror.commit or ""):
                name = path.rpartition("/")[2]
                if name not in written and fragment_key(path) not in hidden and text.strip():
                    (folder / name).write_text(text, "utf-8")
                    written.add(name)
    except (IngestError, CloneError) as error:
        raise BenchError(f"The changelog of {repository} cannot be read: {error}") from error
    return len(written)


def read_fragments(mirror: Path, head: str) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of every fragment that a commit added or changed, the newest first."""
    commits = gitio.read_commits(mirror, gitio.list_commits(mirror, head, gitio.HISTORY_COMMITS))
    places = [(commit.id, path) for commit in commits for path in commit.paths if fragment_key(path)]
    asked = "".join(f"{commit}:{path}\n" for commit, path in places)
    data = run_git(mirror, "cat-file", "--batch", stdin=asked.encode())
    at = 0
    for _, path in places:
        end = data.index(b"\n", at)
        head_line = data[at:end].decode("utf-8", "replace")
        if head_line.endswith(" missing"):  # the commit deleted it
            at = end + 1
            continue
        size = int(head_line.rsplit(" ", 1)[1])
        yield path, data[end + 1 : end + 1 + size].decode("utf-8", "replace")
        at = end + 2 + size
