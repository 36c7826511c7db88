"""Command line of the training: `python -m ingest.embedding.training --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ingest.embedding.static import WEIGHTS
from ingest.embedding.training.history import CloneError
from ingest.embedding.training.manifest import MANIFEST, ManifestError, read_manifest, write_manifest
from ingest.embedding.training.rebuild import compare, rebuild, survey
from ingest.embedding.training.trainer import Settings

ABOUT = """Rebuild the static embedder's weights from clones, or train others. Needs git and numpy, no network.

To rebuild what ships:
  1. Clone each repository of the manifest, with history, to CLONES/<owner>/<name>; bare clones do:
       git clone --bare https://github.com/<owner>/<name> CLONES/<owner>/<name>
  2. python -m ingest.embedding.training rebuild CLONES OUT
  OUT then holds rows.npy, scales.npy, tokenizer.json and manifest.json; the last line says whether they are the same.
  Copy the first three to ingest/embedding/weights, manifest.json beside this module, and set STATIC_ID in static.py.

To train on other repositories:
  python -m ingest.embedding.training survey CLONES my.json --exclude names.txt
  python -m ingest.embedding.training rebuild CLONES OUT --manifest my.json
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        "python -m ingest.embedding.training", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("rebuild", help="mine pairs, train, write int8 weights and their manifest")
    build.add_argument("clones", type=Path, help="folder of clones: <owner>/<name>, <owner>+<name> or <owner>__<name>")
    build.add_argument("out", type=Path, help="folder for the weights")
    build.add_argument("--manifest", type=Path, default=MANIFEST, help="default: the one of the shipped weights")
    build.add_argument("--vocabulary", type=Path, default=WEIGHTS / "tokenizer.json", help="default: the shipped one")
    build.add_argument("--jobs", type=int, default=2, help="processes that mine (default 2)")
    look = commands.add_parser("survey", help="write a manifest of the clones with a permissive licence")
    look.add_argument("clones", type=Path)
    look.add_argument("manifest", type=Path, help="file to write")
    look.add_argument("--exclude", type=Path, help="names or patterns (owner/*), a line each, never to train on")
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "survey":
            names = asked.exclude.read_text().splitlines() if asked.exclude else []
            found = survey(asked.clones, names, Settings(), _say)
            write_manifest(found, asked.manifest)
            _say(f"{len(found.repositories)} repositories in {asked.manifest}")
        else:
            manifest = read_manifest(asked.manifest)
            _say(compare(manifest, rebuild(manifest, asked.clones, asked.vocabulary, asked.out, asked.jobs, _say)))
    except (CloneError, ManifestError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
