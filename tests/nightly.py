"""The test programme at the sizes of a night: `make nightly`, or `python -m tests.nightly --only X1 --share 0.1`.

`make test` runs all of it at a size that a change can wait for. Times are no gate: machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "0")
DAMAGE = ("tests/ingest/index/test_damage.py", "tests/ingest/index/test_kill.py")


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the programme: what it runs under this Python, with sizes after the words that take them."""

    id: str
    what: str
    command: tuple[str, ...]
    sizes: dict[str, int] = field(default_factory=dict)  # option or variable of the environment -> size of a night

    def run(self, share: float) -> tuple[bool, str]:
        """Tell whether it held, and the last lines that it printed."""
        sizes = {name: str(max(1, round(size * share))) for name, size in self.sizes.items()}
        options = [word for name, size in sizes.items() if name.startswith("--") for word in (name, size)]
        variables = {name: size for name, size in sizes.items() if not name.startswith("--")}
        done = subprocess.run(
            [sys.executable, *self.command, *options],
            cwd=ROOT,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout.strip() or done.stderr.strip()
        return done.returncode == 0, "\n".join(said.splitlines()[-4:])


PROGRAMME = (
    Check("X1", "kill -9 while publishing", ("-m", "tests.ingest.index.kill_run"), {"--kills": 500, "--rounds": 100}),
    Check("X2", "errors and full disks at every step", (*PYTEST, *DAMAGE, "-k", "not flipped and not random")),
    Check("X3", "loss of power", (*PYTEST, "tests/ingest/index/test_sync_order.py")),
    Check("X4", "flipped bits", (*PYTEST, *DAMAGE, "-k", "flipped"), {"FLIPS": 40}),
    Check("X5", "queries during swaps", ("-m", "tests.mcp_server.swap_run"), {"--swaps": 100}),
    Check(
        "X6",
        "any sequence of changes",
        (*PYTEST, "tests/ingest/index/test_model.py"),
        {"MODEL_EXAMPLES": 200, "MODEL_STEPS": 50},
    ),
    Check("X7", "hostile files", (*PYTEST, "tests/ingest/sources/test_folder.py", "tests/ingest/chunking")),
    Check("X10", "access", ("-m", "tests.access.leak_run"), {"--checks": 100_000, "--worlds": 10}),
    Check("X13", "an hour of edits, switches, kills and queries", ("-m", "tests.nightly", "--soak"), {"--minutes": 60}),
    Check("X15", "indexes of other versions", (*PYTEST, "tests/ingest/test_upgrade.py")),
)


def soak(minutes: float) -> int:
    """Run the soak on this repository; 1 after an error, a lost change or an inconsistency."""
    command = [sys.executable, "-m", "mcp_server.cli", "bench", "soak", str(ROOT), "--minutes", str(minutes), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return done.returncode
    found = json.loads(done.stdout)
    faults = {name: found["tally"][name][:3] for name in ("errors", "lost", "inconsistencies")}
    print(json.dumps(found["figures"]), json.dumps(faults))  # noqa: T201
    return int(any(faults.values()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the programme and print a line a check; the exit code is 1 when one did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="of these checks, such as X1; repeat")
    parser.add_argument("--share", type=float, default=1.0, help="of the sizes of a night")
    parser.add_argument("--soak", action="store_true", help="the soak alone")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the soak")
    options = parser.parse_args(arguments)
    if options.soak:
        return soak(options.minutes)
    unknown = set(options.only or ()) - {check.id for check in PROGRAMME}
    if unknown:
        parser.error(f"no such check: {', '.join(sorted(unknown))}. There are {', '.join(c.id for c in PROGRAMME)}.")
    held = True
    for check in PROGRAMME:
        if options.only and check.id not in options.only:
            continue
        started = time.monotonic()
        holds, said = check.run(options.share)
        held = held and holds
        print(f"{check.id} {'held' if holds else 'FAILED'} after {time.monotonic() - started:.0f} s: {check.what}")  # noqa: T201
        print("\n".join(f"    {line}" for line in said.splitlines()), flush=True)  # noqa: T201
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
