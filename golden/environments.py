"""Whether an environment's settings may take the place of another's: gate, ship comparison, shadow (V11, E9, N9)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from golden.baseline import dimensions_hash
from golden.compare import ship_failures
from golden.gate import decide
from golden.metrics import rounded
from golden.shadowing import ShadowReport
from golden.suite import Run, Suite, run_suite
from mcp_server.config import Setup


@dataclass(frozen=True, slots=True)
class Clearance:
    """What speaks for a promotion, and what against it."""

    failures: tuple[str, ...]
    evidence: dict[str, Any]

    @property
    def granted(self) -> bool:
        """Tell whether nothing speaks against it."""
        return not self.failures


def check_promotion(
    source: Setup, target: Setup, cases: Path, work: Path, shadow: ShadowReport | None, waived: str = ""
) -> Clearance:
    """Run a team's cases under the settings of both environments, and judge the first. Raises GoldenError.

    `shadow`: what the first one did in the shadow of the second; None, with a reason in `waived`, to go without.
    """
    candidate_suite, best_suite = (suite_of(setup, cases, work) for setup in (source, target))
    candidate, best = run_suite(candidate_suite), run_suite(best_suite)
    removed = candidate_suite.removed()
    gate = decide(candidate, candidate_suite.floors(), candidate_suite.baseline(), removed)
    failures = [
        *gate.failures,
        *(f"ship: {text}" for text in ship_failures(best.to_baseline(), candidate.to_baseline())),
    ]
    failures += shadow_failures(shadow, waived)
    return Clearance(tuple(failures), evidence_of(candidate, best, shadow, waived))


def suite_of(setup: Setup, cases: Path, work: Path) -> Suite:
    """Return a suite whose index and traces lie apart from what is served."""
    name = setup.settings.environment
    folder = work / "environments" / name
    return Suite(cases, folder, replace(setup, data_dir=(folder / "index").absolute()))


def shadow_failures(shadow: ShadowReport | None, waived: str) -> Iterator[str]:
    """Yield what the shadow says against a promotion."""
    if shadow is not None:
        yield from shadow.failures()
    elif not waived:
        yield "shadow: none ran. Set [shadow] in the target, or give a reason with --without-shadow"


def evidence_of(candidate: Run, best: Run, shadow: ShadowReport | None, waived: str) -> dict[str, Any]:
    """Return the figures that a promotion is recorded with."""
    rows = [row.model_dump(mode="json") for row in candidate.to_baseline().cases]
    return {
        "results": dimensions_hash(rows),
        "dimensions": candidate.dimensions.model_dump(mode="json"),
        "overall": candidate.report.overall().to_dict(),
        "before": best.report.overall().to_dict(),
        "shadow": rounded({k: float(v) for k, v in asdict(shadow).items()}) if shadow else None,
        "without_shadow": waived,
    }
