"""Ask random things as random principals, and look for anything that they may not see.

`python -m tests.access.leak_run --checks 100000 --worlds 10` prints checks per surface and leaks.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from mcp_server.service import Service
from tests.access.leaks import LeakCheck, Report
from tests.access.world import index_world, make_world


def check_world(folder: Path, seed: int, checks: int) -> Report:
    """Make one random world and check it."""
    world = make_world(folder / "world", seed)
    service = Service(index_world(world, world.origins, folder / "index"))
    try:
        return LeakCheck(world, service, seed).run(checks)
    finally:
        service.close()


def main() -> None:
    """Run the checks and print the figures; the exit code is 1 when something leaked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=100_000)
    parser.add_argument("--worlds", type=int, default=10, help="random worlds that the checks are spread over")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    whole, started = Report(), time.monotonic()
    for seed in range(options.seed, options.seed + options.worlds):
        with tempfile.TemporaryDirectory() as folder:
            report = check_world(Path(folder), seed, -(-options.checks // options.worlds))
        whole.checks += report.checks
        whole.leaks += report.leaks
        whole.seen += report.seen
        print(f"world {seed}: {report.total:,} checks, {len(report.leaks)} leaks", flush=True)  # noqa: T201
    print(f"{whole}; {time.monotonic() - started:.0f} s")  # noqa: T201
    for leak in whole.leaks[:20]:
        print(f"  {leak}")  # noqa: T201
    sys.exit(bool(whole.leaks))


if __name__ == "__main__":
    main()
