"""`access.domains = "separate"`: an index for each audience, so that nothing hidden moves a rank or a score."""

import json
import random
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from ingest.access import Principal
from ingest.errors import ConfigError
from mcp_server.access import list_domains
from mcp_server.cli import app
from mcp_server.cli.indexing import build
from mcp_server.cli.working import make_worker
from mcp_server.config import load_setup
from mcp_server.errors import NotReady
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from tests.access.leaks import VARYING, LeakCheck
from tests.access.world import COMMON, index_world, make_world

QUERIES = 120


def separate(world, *audiences):
    """Return the configuration of separate indexes for these audiences."""
    return f'[access]\ndomains = "separate"\naudiences = {json.dumps([sorted(groups) for groups in audiences])}\n'


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), seed=5)


def audience_of(world):
    """Return somebody who sees a part of the world."""
    for number in range(1, 4):
        who = Principal("a", frozenset(world.groups[:number]))
        if 3 <= len(world.visible(who)) < len(world.origins):
            return who
    raise AssertionError("no audience sees a part")


def questions(world, who):
    """Return queries about everything, about what is hidden too."""
    check, rng = object.__new__(LeakCheck), random.Random(3)
    check.world, check._rng = world, rng
    check._coins = type("Coins", (), {"word": staticmethod(lambda: rng.choice(COMMON) + "xq")})
    return [check.text() for _ in range(QUERIES)]


def see(service, who, texts):
    """Return everything that is said, hits with ids, scores and reasons, but for trace ids and the clock."""
    said = []
    for text in texts:
        for mode in ("ranked", "all"):
            said.append(repr(replace(service.search(SearchRequest(text, 20, mode=mode), who), trace_id="", cursors=(),
                                     next_cursor=None)))  # fmt: skip
        said.append(repr(replace(service.answer(AnswerRequest(text), who, use_cache=False), trace_id="")))
    return [VARYING.sub("", text) for text in said]


@pytest.mark.req("S1", "A6")
def test_ids_order_and_scores_are_the_same_with_and_without_the_documents_of_others(world, tmp_path):
    who = audience_of(world)
    texts = questions(world, who)
    said = {}
    for name, more in (("separate", (separate(world, who.groups),)), ("shared", ())):
        for extent, origins in (("all", world.origins), ("own", world.visible(who))):
            service = Service(index_world(world, origins, tmp_path / name / extent, *more))
            said[name, extent] = see(service, who, texts)
            service.close()
    assert said["separate", "all"] == said["separate", "own"]
    assert said["shared", "own"] == said["separate", "own"]
    assert said["shared", "all"] != said["shared", "own"]  # what separate indexes are for: the check can fail


@pytest.mark.req("S1", "S7", "S9")
def test_separate_indexes_leak_nothing(world, tmp_path):
    audiences = [frozenset(world.groups[:n]) for n in (1, 2, 3)] + [frozenset(world.groups)]
    audiences += [frozenset({group}) for group in world.groups]
    service = Service(index_world(world, world.origins, tmp_path, separate(world, *audiences)))
    check = LeakCheck(world, service, seed=3)
    check._principals = [Principal(f"person-{n}", groups) for n, groups in enumerate(audiences)]
    report = check.run(1_000)
    service.close()
    assert report.leaks == []
    assert report.seen > 100


def test_who_belongs_to_no_audience_gets_a_sentence_and_no_index(world, tmp_path):
    who = audience_of(world)
    service = Service(index_world(world, world.origins, tmp_path, separate(world, who.groups)))
    for groups in (set(), {"team-of-nobody"}, set(world.groups)):
        with pytest.raises(NotReady, match=r"no index is kept for these groups.*access.audiences"):
            service.search(SearchRequest("payment"), Principal("b", frozenset(groups)))
        assert service.status(Principal("b", frozenset(groups))).state == "index_empty"
    service.close()


def test_an_audience_that_loses_a_source_gets_another_index_and_the_old_one_goes(world, tmp_path):
    who = audience_of(world)
    setup = index_world(world, world.origins, tmp_path, separate(world, who.groups))
    lost = world.visible(who)[0]
    [old] = list_domains(setup)
    sources = tuple(
        source.model_copy(update={"groups": ("board",)}) if source.name == lost.name else source
        for source in setup.settings.source
    )
    changed = replace(setup, settings=setup.settings.model_copy(update={"source": sources}))
    [new] = list_domains(changed)
    assert new.name != old.name
    service = Service(changed)
    with pytest.raises(NotReady, match="nothing is indexed yet"):
        service.search(SearchRequest(lost.words[0], mode="all"), who)
    build(changed, service, "cli")
    assert service.search(SearchRequest(lost.words[0], mode="all"), who).total == 0
    assert service.search(SearchRequest("SharedLedger", mode="all"), who).total
    service.close()
    assert not old.data_dir.exists()


def test_the_command_line_serves_each_audience_from_its_own_index(world, tmp_path, monkeypatch):
    who = audience_of(world)
    setup = index_world(world, world.origins, tmp_path, separate(world, who.groups, world.groups))
    place = ["--root", str(setup.root), "--config", str(setup.config_file), "--data", str(setup.data_dir)]
    monkeypatch.setenv("CODECAIRN_PRINCIPAL__GROUPS", json.dumps(sorted(who.groups)))
    run = CliRunner().invoke
    reports = [json.loads(line) for line in run(app, ["index", "--json", *place]).stdout.splitlines()]
    assert len(reports) == 2
    status = json.loads(run(app, ["status", "--json", *place]).stdout)
    names = {source["name"] for source in status["sources"]}
    assert {name.removesuffix(".history") for name in names} == {origin.name for origin in world.visible(who)}
    assert run(app, ["doctor", *place]).exit_code == 0
    assert run(app, ["rollback", "--to", "1", *place]).exit_code == 2


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Run a command over two folders, of which an audience sees one; `call` gives it another name or place."""
    monkeypatch.chdir(tmp_path)

    def call(name, path):
        source = '[[source]]\nname = "{}"\ntype = "folder"\npath = "{}"\ngroups = {}\n'
        (tmp_path / "codecairn.toml").write_text(
            source.format(name, path, '["local", "team"]')
            + source.format("tools", "tools", '["local"]')
            + '[access]\ndomains = "separate"\naudiences = [["team"]]\n'
        )

    def run(*arguments):
        place = ["--config", "codecairn.toml", "--root", ".", "--data", str(tmp_path / "data")]
        return CliRunner().invoke(app, [*arguments, *place])

    for folder in ("shop", "tools"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text(f"def of_{folder}():\n    pass\n")
    call("shop", "shop")
    run.call = call
    run.work = lambda: make_worker(
        load_setup(root=tmp_path, config=None, data=tmp_path / "data", env={}), watch=False
    ).run(once=True)
    run.domains = lambda: {folder.name for folder in (tmp_path / "data" / "domains").iterdir()}
    return run


@pytest.mark.parametrize("run_build", [lambda two: two("index").exit_code == 0, lambda two: two.work()])
def test_indexes_of_before_stay_until_all_new_ones_are_published(two, run_build):
    assert two("index").exit_code == 0
    former = two.domains()
    two.call("store", "missing")
    run_build(two)  # fails, or leaves out what is missing
    assert former < two.domains()
    two.call("shop", "shop")
    assert json.loads(two("search", "of_shop", "--json").stdout)["hits"]
    verified = two("audit", "verify").stdout.splitlines()
    assert {line.partition(":")[0] for line in verified if "chain intact" in line} == former
    assert {line.split()[0] for line in two("audit", "show").stdout.splitlines()} == former
    two.call("store", "shop")
    assert run_build(two)
    assert len(two.domains()) == 2 and not former & two.domains()


def test_all_audiences_go_back_or_none(two, tmp_path):
    assert two("index").exit_code == 0
    (tmp_path / "tools" / "b.py").write_text("def newer():\n    pass\n")
    assert two("index").exit_code == 0
    refused = two("rollback")
    assert refused.exit_code == 1
    assert (
        "Nothing was rolled back, for the index" in refused.stderr and "Nothing before generation 1" in refused.stderr
    )
    assert json.loads(two("search", "newer", "--json").stdout)["generation"] == 2
    (tmp_path / "shop" / "b.py").write_text("def newest():\n    pass\n")
    assert two("index").exit_code == 0
    assert two("rollback").stdout.count("serving generation") == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[access]\naudiences = [["a"]]\n', "there is one for all"),
        ('[access]\ndomains = "separate"\naudiences = [[]]\n', "an audience without groups sees nothing"),
    ],
)
def test_audiences_that_make_no_sense_are_refused(world, tmp_path, text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        index_world(world, world.origins, tmp_path, text)
