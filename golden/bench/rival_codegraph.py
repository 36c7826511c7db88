"""codegraph as a rival: `codegraph init` on a copy of the folder, `codegraph query` per question.

Times are those of its command line, the start of Node included. Imports nothing of this package.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SYMBOLS = 50  # of which the first ten distinct files count
LIMIT_S = 600


def run(command: str, *arguments: str) -> str:
    """Return what the command prints. Raises OSError or CalledProcessError."""
    whole = (command, *arguments)
    done = subprocess.run(whole, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=True)
    return done.stdout.decode("utf-8", "replace")


def answer_to(message: dict[str, str], command: str, place: Path) -> dict[str, Any]:
    """Do what one message asks for; `place` is where the copy lies."""
    started = time.perf_counter()
    if message["do"] == "start":
        return {"name": f"codegraph {run(command, '--version').strip()} (query, command line)"}
    if message["do"] == "index":
        shutil.rmtree(place, ignore_errors=True)  # it writes into the folder that it indexes
        shutil.copytree(message["root"], place, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        started = time.perf_counter()
        run(command, "init", str(place))
        return {"seconds": time.perf_counter() - started}
    # A query that starts with a dash would be read as an option.
    out = run(command, "query", "--path", str(place), "--json", "--limit", str(SYMBOLS), "--", message["query"])
    nodes = json.loads(out[: out.rfind("]") + 1] or "[]")
    paths = list(dict.fromkeys(item["node"]["filePath"] for item in nodes))
    return {"paths": paths, "ms": (time.perf_counter() - started) * 1000}


def main() -> None:
    """Answer one JSON line after another."""
    command = sys.argv[1] if len(sys.argv) > 1 else "codegraph"
    place = Path()
    for line in sys.stdin:
        message = json.loads(line)
        if message["do"] == "start":
            place = Path(message["scratch"]) / "copy"
        try:
            answer = answer_to(message, command, place)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            said = getattr(error, "stderr", None) or b""
            answer = {"error": f"{error} {said.decode('utf-8', 'replace')[-300:]}".strip()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
