"""`codecairn bench tickets`: how fast an export of tickets is parsed, redacted and linked, and then published."""

from __future__ import annotations

import json
import random
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from golden.bench import BenchError
from golden.corpus import build, make_setup, open_service
from golden.machine import MachineFacts, read_machine
from ingest.cleaning import clean_document
from ingest.config import IndexConfig, SourceConfig
from ingest.errors import IngestError
from ingest.sources.opening import open_snapshots

BODY_CHARS = 1_000
WORDS = (
    "the basket total is wrong when a coupon and a discount apply to one line and the customer changes currency at"
    " checkout because rounding happens twice session cookie expired retry payment provider timeout stock counter"
    " search index refresh invoice address template mail queue worker restarts migration table column"
).split()
NAMED = ("See `shop/basket/totals.py`.", "Relates to #{0}.", "Mail ada{0}@acme.io about it.", "As in ADR 12.")


@dataclass(frozen=True, slots=True)
class TicketBench:
    """Result of `bench tickets`: seconds are of one processor, the build's of all its processes together."""

    tickets: int
    megabytes: float
    masked: int
    linked: int
    prepare_s: float  # parsed, redacted, linked
    publish_cpu_s: float  # the whole build: read, cut, embedded, indexed, verified, published
    publish_s: float  # its duration
    machine: MachineFacts = field(default_factory=read_machine)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {**asdict(self), "machine": str(self.machine), **self.rates()}

    def rates(self) -> dict[str, int]:
        """Return tickets per second of processor time, and of the build's duration."""
        return {
            "prepared_per_cpu_s": round(self.tickets / max(self.prepare_s, 1e-9)),
            "published_per_cpu_s": round(self.tickets / max(self.publish_cpu_s, 1e-9)),
            "published_per_s": round(self.tickets / max(self.publish_s, 1e-9)),
        }

    def __str__(self) -> str:
        rates = self.rates()
        return "\n".join(
            (
                f"{self.tickets:,} tickets, {self.megabytes:.1f} MB, {self.masked:,} masks, {self.linked:,} links",
                f"parsed, redacted, linked: {rates['prepared_per_cpu_s']:,} tickets per second of one processor",
                f"embedded and published: {rates['published_per_s']:,} tickets per second"
                f" ({rates['published_per_cpu_s']:,} per second of processor time)",
                str(self.machine),
            )
        )


def run_tickets(
    export: Path | None = None, *, count: int = 20_000, say: Callable[[str], None] = lambda _: None
) -> TicketBench:
    """Measure an export, or one of `count` tickets of 1 KB that is made up. Raises BenchError."""
    with tempfile.TemporaryDirectory(prefix="codecairn-tickets-") as scratch:
        folder = Path(scratch)
        if export is None:
            export = folder / "issues.json"
            say(f"writing {count} tickets")
            write_export(export, count)
        source = SourceConfig(name="tickets", type="tickets", path=export, product="shop")
        try:
            say("parsing, redacting, linking")
            tickets, masked, linked, prepare_s = prepare(source, folder / "prepared")
            say("publishing")
            publish_cpu_s, publish_s = publish(source, folder / "data")
        except IngestError as error:
            raise BenchError(str(error)) from error
        size = export.stat().st_size if export.is_file() else sum(p.stat().st_size for p in export.rglob("*"))
    return TicketBench(tickets, size / 1e6, masked, linked, prepare_s, publish_cpu_s, publish_s)


def write_export(file: Path, count: int) -> None:
    """Write a GitHub list of tickets with about 1 KB of text each, the same every time."""
    chance = random.Random(7)
    with open(file, "w", encoding="utf-8") as out:
        out.write("[\n")
        for number in range(1, count + 1):
            text = " ".join(chance.choices(WORDS, k=BODY_CHARS // 6))[: BODY_CHARS - 60]
            named = chance.choice(NAMED).format(chance.randrange(1, count + 1))
            record = {
                "number": number,
                "title": " ".join(chance.choices(WORDS, k=8)),
                "body": f"{text}. {named}",
                "state": chance.choice(("open", "closed")),
                "labels": [{"name": chance.choice(("bug", "feature"))}],
                "created_at": f"2026-01-{1 + number % 28:02}T00:00:00Z",
                "updated_at": f"2026-02-{1 + number % 28:02}T00:00:00Z",
            }
            out.write(json.dumps(record) + (",\n" if number < count else "\n]\n"))


def prepare(source: SourceConfig, data_dir: Path) -> tuple[int, int, int, float]:
    """Return tickets, masks, links and the processor seconds of reading, parsing, linking and redacting them."""
    started = time.process_time()
    (snapshot,) = open_snapshots(source, data_dir=data_dir, limits=IndexConfig(), known=lambda _: {})
    tickets = masked = linked = 0
    for entry in snapshot.entries:
        for document in snapshot.documents(entry, snapshot.read(entry)):
            cleaned = clean_document(document)
            tickets, linked = tickets + 1, linked + len(cleaned.document.links)
            masked += sum(count for _, count in cleaned.redactions)
    return tickets, masked, linked, time.process_time() - started


def publish(source: SourceConfig, data_dir: Path) -> tuple[float, float]:
    """Return processor seconds of all processes and duration of a first build with vectors."""
    setup = make_setup((source,), data_dir)
    with open_service(setup) as service:
        before, started = cpu_seconds(), time.perf_counter()
        build(setup, service)
        return cpu_seconds() - before, time.perf_counter() - started


def cpu_seconds() -> float:
    """Return processor seconds of this process and of its ended children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
