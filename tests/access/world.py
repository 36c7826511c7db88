"""A small world of sources that some may see and others not; every text holds words that occur nowhere else."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.access import Principal
from mcp_server.cli.indexing import build
from mcp_server.config import Setup, load_setup
from mcp_server.service import Service
from tests.ingest.sources.support import commit, git, write

PRODUCTS = 4
GROUPS = 5
FILES = 3  # code files, tickets or designs of a source
SHAPES = ("git", "git", "git", "folder", "folder", "tickets", "tickets", "designs", "designs")
COMMON = "payment session retry cookie ledger account signature backoff provider timeout".split()


@dataclass(frozen=True)
class Origin:
    """One source of the world: who may see it, and every string that must not reach anybody else."""

    name: str
    type: str
    product: str
    groups: frozenset[str]
    trust: str
    words: tuple[str, ...]  # made up, in the texts of this source only
    symbols: tuple[str, ...]
    paths: tuple[str, ...]
    keys: tuple[str, ...]  # ticket keys, design ids, commit ids
    texts: tuple[str, ...]

    @property
    def canaries(self) -> frozenset[str]:
        """Lower-case strings that only this source holds."""
        return frozenset(
            text.lower() for text in (self.name, *self.words, *self.symbols, *self.paths, *self.keys) if len(text) > 5
        )


@dataclass(frozen=True)
class World:
    """Sources on disk and their configuration."""

    folder: Path
    origins: tuple[Origin, ...]
    groups: tuple[str, ...]

    def visible(self, principal: Principal) -> list[Origin]:
        """Return what a principal may see, decided here and not by the program."""
        return [origin for origin in self.origins if origin.groups & principal.groups]

    def hidden(self, principal: Principal) -> list[Origin]:
        """Return what a principal may not see."""
        return [origin for origin in self.origins if not origin.groups & principal.groups]


class Coins:
    """Words that no text holds: a new one each time."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._made: set[str] = set()

    def word(self) -> str:
        """Return a new word."""
        while True:
            pairs = [self._rng.choice("bdfgkmprtvz") + self._rng.choice("aiou") for _ in range(4)]
            word = "".join(pairs) + "xq"
            if word not in self._made:
                self._made.add(word)
                return word


def make_world(folder: Path, seed: int, shapes: Sequence[str] = SHAPES) -> World:
    """Write random sources of several products and groups below a folder."""
    rng = random.Random(seed)
    coins = Coins(rng)
    groups = tuple(f"team-{coins.word()}" for _ in range(GROUPS))
    products = [f"suite-{coins.word()}" for _ in range(PRODUCTS)]
    origins = []
    for shape in shapes:
        allowed = frozenset(rng.sample(groups, rng.choice((1, 1, 2))))
        make = {"git": make_code, "folder": make_code, "tickets": make_tickets, "designs": make_designs}[shape]
        origins.append(make(folder, shape, rng.choice(products), allowed, rng, coins))
    return World(folder, tuple(origins), groups)


def make_code(
    folder: Path, shape: str, product: str, groups: frozenset[str], rng: random.Random, coins: Coins
) -> Origin:
    """Write a package; a repository has two commits, one of them renames a file."""
    name, words, symbols, paths, texts = f"code-{coins.word()}", [], [], [], []
    files = {"src/common.py": "class SharedLedger:\n    def shared_total(self):\n        return shared_rate\n"}
    for _ in range(FILES):
        one, two, three, four = (coins.word() for _ in range(4))
        path = f"src/{one}/{two}_store.py"
        files[path] = code_text(one, three, four, rng)
        words += [one, two, three, four]
        symbols += [f"{three.title()}Ledger", f"load_{four}"]
        paths.append(path)
        texts.append(files[path])
    root, keys = folder / name, []
    write(root, files)
    if shape == "git":
        git(root, "init", "-q", "-b", "main")
        keys, said = commit_twice(root, paths, coins)
        words += said
    return Origin(name, shape, product, groups, rng.choice(("high", "normal", "low")), tuple(words), tuple(symbols),
                  tuple(paths), tuple(keys), tuple(texts))  # fmt: skip


def code_text(one: str, three: str, four: str, rng: random.Random) -> str:
    """Return a module about common things with words of its own."""
    some = " ".join(rng.sample(COMMON, 4))
    return (
        f'"""Keep the {some} of {one}; see #12 and ADR-7."""\n\n'
        f"from src.common import SharedLedger\n\n\n"
        f"class {three.title()}Ledger(SharedLedger):\n"
        f'    """Hold the {rng.choice(COMMON)} of a {one}."""\n\n'
        f"    def load_{four}(self, account, retry_limit=3):\n"
        f'        """Return the {" ".join(rng.sample(COMMON, 3))} of {three} {four}."""\n'
        f"        return self.shared_total(account, retry_limit)\n"
    )


def commit_twice(root: Path, paths: list[str], coins: Coins) -> tuple[list[str], list[str]]:
    """Commit the files under an older name first; return both ids, abbreviated, and the words of the messages."""
    said = [coins.word(), coins.word(), coins.word()]
    new, old = paths[0], f"src/{said[2]}_old.py"
    (root / new).rename(root / old)
    first = commit(root, f"Sign payment session cookies {said[0]} (#12)")
    (root / old).rename(root / new)
    second = commit(root, f"Retry the provider with backoff {said[1]} (#12)\n\nImplements ADR-7.")
    return [first[:8], second[:8]], said


def make_tickets(
    folder: Path, shape: str, product: str, groups: frozenset[str], rng: random.Random, coins: Coins
) -> Origin:
    """Write an export of tickets."""
    name, words, keys, texts, rows = f"tickets-{coins.word()}", [], [], [], []
    for at in range(FILES):
        one, two = coins.word(), coins.word()
        number = 12 if at == 0 else rng.randrange(100_000, 999_999)
        body = f"The {' '.join(rng.sample(COMMON, 4))} of {two} fails in src/common.py with SharedLedger. See ADR-7."
        rows.append({"number": number, "title": f"{one} payment retry", "body": body,
                     "state": rng.choice(("open", "closed")),
                     "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-02-02T03:04:05Z",
                     "labels": [{"name": coins.word()}], "comments": []})  # fmt: skip
        words += [one, two, str(rows[-1]["labels"][0]["name"])]
        keys += [f"#{number}"] if at else []
        texts.append(body)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(rows))
    return Origin(name, shape, product, groups, rng.choice(("high", "normal", "low")), tuple(words), (), (),
                  tuple(keys), tuple(texts))  # fmt: skip


def make_designs(
    folder: Path, shape: str, product: str, groups: frozenset[str], rng: random.Random, coins: Coins
) -> Origin:
    """Write a folder of designs."""
    name, words, paths, texts, files = f"designs-{coins.word()}", [], [], [], {}
    for at in range(FILES):
        one, two, three = (coins.word() for _ in range(3))
        path = f"adr/{7 + at:04d}-{one}.md"
        files[path] = (
            f"# ADR-{7 + at}: {two} sessions\n\nStatus: accepted\n\n## Context\n\n"
            f"The {' '.join(rng.sample(COMMON, 5))} of `SharedLedger` for {three}, see #12.\n\n"
            f"## Decision\n\nThe {two} is signed with {one}.\n"
        )
        words += [one, two, three]
        paths.append(path)
        texts.append(files[path])
    write(folder / name, files)
    return Origin(name, shape, product, groups, rng.choice(("high", "normal", "low")), tuple(words), (),
                  tuple(paths), (), tuple(texts))  # fmt: skip


def write_config(world: World, origins: Iterable[Origin], file: Path, *more: str) -> Path:
    """Write the configuration of some sources; `more` stands before them."""
    tables = [
        f'[[source]]\nname = "{o.name}"\ntype = "{o.type}"\npath = "{world.folder / o.name}"\nproduct = "{o.product}"\n'
        f'groups = {json.dumps(sorted(o.groups))}\ntrust = "{o.trust}"\n'
        for o in origins
    ]
    file.write_text("\n".join((*more, *tables)))
    return file


def index_world(world: World, origins: Iterable[Origin], folder: Path, *more: str) -> Setup:
    """Index some sources of the world as the command line does and return their settings."""
    folder.mkdir(parents=True, exist_ok=True)
    file = write_config(world, origins, folder / "codecairn.toml", *more)
    setup = load_setup(root=world.folder, config=file, data=folder / "data", env={"HOME": str(folder)})
    service = Service(setup)
    try:
        build(setup, service, "cli")
    finally:
        service.close()
    return setup


def some_principals(world: World, rng: random.Random, count: int) -> Iterator[Principal]:
    """Yield principals with random groups: none, one, several, all, and one that no source knows."""
    for number in range(count):
        size = rng.choice((0, 1, 1, 1, 2, 2, 3, len(world.groups)))
        extra = {"team-of-nobody"} if rng.random() < 0.2 else set()
        yield Principal(f"person-{number}", frozenset(rng.sample(world.groups, size)) | extra)
