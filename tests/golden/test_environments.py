"""Settings go from one environment to the next only past the gate, come back in one command, and run in a shadow."""

from __future__ import annotations

import json
import time

import pytest
from typer.testing import CliRunner

from golden.corpus import build, open_service, principal_of
from golden.organisation import build_organisation
from golden.shadowing import MIN_PAIRS, compare_shadow, read_pairs
from ingest.build import build_index
from ingest.errors import ConfigError
from mcp_server.access import local_principal
from mcp_server.cli import app
from mcp_server.config import load_setup
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from mcp_server.shadow import Shadow, is_drawn
from traces.store import TraceQuery

CONFIG = """
environment = "prod"

[[source]]
name = "tollgate"
type = "git"
path = "tollgate"

[env.staging.answer]
budget_tokens = 4000

[env.dev.answer]
budget_tokens = 200

[env.prod.shadow]
environment = "staging"
share = 1.0
"""
CASES = (
    {"id": "quota", "bucket": "exact-symbol", "query": "Quota", "expect": {"cites": ["tollgate/quota.py"]}},
    {"id": "nothing", "bucket": "exact-symbol", "query": "where is FluxGate defined", "tags": ["unanswerable"],
     "expect": {"abstain": True}},
)  # fmt: skip


class Place:
    """A repository with three environments and the command line over it."""

    def __init__(self, folder):
        self.folder = folder
        build_organisation(folder)
        self.config = folder / "codecairn.toml"
        self.config.write_text(CONFIG, "utf-8")
        (folder / "golden").mkdir()
        lines = "".join(json.dumps({"corpus": "here", **case}) + "\n" for case in CASES)
        (folder / "golden" / "cases.jsonl").write_text(lines, "utf-8")

    def setup(self, environment: str = "prod"):
        return load_setup(
            root=self.folder,
            config=self.config,
            data=self.folder / "data",
            env={"CODECAIRN_ENVIRONMENT": environment},
        )

    def call(self, *arguments: object, code: int = 0) -> str:
        places = ["--config", self.config, "--root", self.folder, "--data", self.folder / "data"]
        result = CliRunner().invoke(app, [str(a) for a in (*arguments, *places)])
        assert result.exit_code == code, f"{result.output}{result.stderr}{result.exception}"
        return f"{result.output}{result.stderr}"

    def promote(self, *arguments: object, code: int = 0) -> str:
        own = ["--cases", self.folder / "golden", "--work", self.folder / "work", "--by", "ada"]
        return self.call("config", "promote", *arguments, *own, code=code)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The repository, with an accepted baseline."""
    place = Place(tmp_path_factory.mktemp("place"))
    place.call("golden", "update", "--cases", place.folder / "golden", "--work", place.folder / "work")
    return place


@pytest.mark.req("V1", "V2")
def test_each_environment_has_its_settings_and_two_are_compared_in_one_command(place):
    assert place.setup("staging").settings.answer.budget_tokens == 4000
    assert place.setup("prod").settings.answer.budget_tokens == 6000
    assert place.call("config", "diff", "staging", "prod").strip() == "answer.budget_tokens: 4000 -> 6000"
    assert json.loads(place.call("config", "diff", "prod", "prod", "--json")) == []


@pytest.mark.req("V2", "T37")
def test_doctor_shows_what_two_environments_differ_in(place, monkeypatch):
    def diff(*arguments):
        # Data directories of their own, as without --data.
        monkeypatch.setenv("XDG_DATA_HOME", str(place.folder / "xdg"))
        places = ["--config", str(place.config), "--root", str(place.folder)]
        result = CliRunner().invoke(app, ["doctor", "--diff", *arguments, *places])
        assert result.exit_code == 0, result.output
        return result.output

    before = diff("staging", "prod")
    assert "answer.budget_tokens: 4000 -> 6000" in before
    assert 'shadow.environment: "" -> "staging"' in before
    assert before.count("no query was recorded") == 2
    for name, version in (("staging", "1.0"), ("prod", "2.0")):
        env = {"CODECAIRN_ENVIRONMENT": name, "XDG_DATA_HOME": str(place.folder / "xdg")}
        setup = load_setup(root=place.folder, config=place.config, data=None, env=env)
        recorder = "mcp_server.service.describe_environment"
        monkeypatch.setattr(recorder, lambda version=version: {"packages": {"tantivy": version}})
        with open_service(setup) as service:
            build(setup, service)
            service.search(SearchRequest("money"), principal_of(setup))
    after = diff("staging", "prod")
    assert "environment packages.tantivy: 1.0 -> 2.0" in after
    assert "no query was recorded" not in after
    assert diff("prod", "prod") == "no difference\n"


@pytest.mark.req("V9")
def test_environments_keep_their_data_apart(place):
    found = {
        name: load_setup(
            root=place.folder, config=place.config, data=None, env={"CODECAIRN_ENVIRONMENT": name}
        ).data_dir
        for name in ("dev", "staging", "prod")
    }
    assert len(set(found.values())) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[env.prdo.answer]\nbudget_tokens = 300\n", "Did you mean 'prod'"),
        ('environment = "live"\n', "no environment 'live'"),
    ],
)
def test_an_environment_that_does_not_exist_is_refused(tmp_path, text, message):
    (tmp_path / "codecairn.toml").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=message):
        load_setup(root=tmp_path, config=tmp_path / "codecairn.toml", data=tmp_path / "data", env={})


@pytest.mark.req("V11", "V12", "E9")
def test_promotion_is_refused_below_the_bar_recorded_above_it_and_rolled_back(place):
    assert "shadow: only 0 queries ran" in place.promote("staging", "prod", code=1)
    broken = place.promote("dev", "prod", "--without-shadow", "a trial", code=1)
    assert "promote: BLOCK" in broken
    assert place.setup().settings.answer.budget_tokens == 6000

    line = place.promote("staging", "prod", "--without-shadow", "nobody asks at night")
    assert "ada  promote staging -> prod" in line
    promoted = place.setup()
    assert promoted.settings.answer.budget_tokens == 4000
    assert promoted.origins["answer.budget_tokens"] == "release 1 of prod"
    assert promoted.settings.shadow.environment == "staging", "only what is promoted changes"
    assert place.setup("dev").settings.answer.budget_tokens == 200

    (release,) = json.loads(place.call("config", "log", "--json"))
    assert release["evidence"]["without_shadow"] == "nobody asks at night"
    assert release["evidence"]["overall"]["cases"] == len(CASES)

    assert "rollback the configuration file -> prod" in place.call("config", "rollback", "prod", "--by", "bo")
    assert place.setup().settings.answer.budget_tokens == 6000
    log = place.call("config", "log").splitlines()
    assert [line.endswith("(holds)") for line in log] == [False, True]
    with pytest.raises(AssertionError, match="nothing to roll back"):
        place.call("config", "rollback", "dev")


@pytest.mark.req("V12")
def test_after_a_rollback_the_golden_results_are_those_from_before(place):
    def results() -> list[dict]:
        file = place.folder / "results.jsonl"
        own = ["--cases", place.folder / "golden", "--work", place.folder / "work"]
        place.call("golden", "run", "--save", file, *own)
        return [json.loads(line) for line in file.read_text("utf-8").splitlines()[1:]]

    before = results()
    place.promote("staging", "prod", "--without-shadow", "a drill")
    during = results()
    place.call("config", "rollback", "prod")
    assert results() == before
    assert len(during) == len(before)


@pytest.fixture
def served(place):
    """The live service of prod with an index, and a shadow of staging behind it."""
    setup = place.setup()
    live = Service(setup)
    build_index(
        setup.settings.source, setup.settings.index, live.embedder, setup.data_dir, now="2026-01-01T00:00:00Z",
        config_hash="", trigger="test",
    )  # fmt: skip
    warnings: list[str] = []
    shadow = Shadow(live, place.setup("staging"), 1.0, warnings.append)
    yield live, shadow, warnings
    live.close()


@pytest.mark.req("E9", "T38")
def test_the_shadow_answers_beside_the_live_one_is_recorded_and_never_returned(served):
    live, shadow, warnings = served
    principal = local_principal(live.setup.settings)
    shown = live.answer(AnswerRequest("how does Quota limit shops"), principal, entry="web")
    live.search(SearchRequest("Quota"), principal, entry="web")
    live.answer(AnswerRequest("what is Money"), principal, entry="eval")
    shadow.close()
    traces = live.list_traces(principal, 50, TraceQuery(kind="shadow"))
    assert {row.tool for row in traces} == {"answer", "search_code"}, "golden questions are not followed"
    assert {row.env for row in traces} == {"staging"}
    assert shown.trace_id in {row.request_id for row in traces}
    assert shown.trace_id not in {row.id for row in traces}
    assert warnings == []

    report = compare_shadow(read_pairs(live, principal))
    assert report.pairs == 2
    assert report.failed == 0
    assert report.overlap > 0
    assert any(f"at least {MIN_PAIRS} are wanted" in failure for failure in report.failures())


def test_a_shadow_that_cannot_keep_up_drops_and_says_so(served):
    live, shadow, warnings = served
    principal = local_principal(live.setup.settings)
    shadow._pool.submit(time.sleep, 0.5)
    for number in range(60):
        shadow.observe(SearchRequest("Quota"), principal, f"trace{number}")
    shadow.close()
    assert shadow.dropped > 0
    assert f"{shadow.dropped} drawn queries were dropped" in warnings[-1]


def test_a_shadow_over_another_index_is_refused(place):
    setup = place.setup()
    live = Service(setup)
    other = load_setup(
        root=place.folder,
        config=place.config,
        data=place.folder / "data",
        env={"CODECAIRN_ENVIRONMENT": "staging", "CODECAIRN_INDEX__CHUNK_CHARS": "500"},
    )
    try:
        with pytest.raises(ConfigError, match="differ from those of prod in index"):
            Shadow(live, other, 1.0, print)
    finally:
        live.close()


def test_the_share_is_drawn_by_the_trace_and_about_right():
    drawn = [is_drawn(f"trace{number}", 0.2) for number in range(2000)]
    assert drawn == [is_drawn(f"trace{number}", 0.2) for number in range(2000)]
    assert 300 < sum(drawn) < 500
