"""Who may not see a source learns nothing of it, whatever is asked and wherever; and the check finds planted leaks."""

import json
import random
import re
from dataclasses import replace

import pytest

import mcp_server.access
import mcp_server.service
from ingest.access import Principal
from ingest.index import Index
from ingest.model import SourceInfo
from mcp_server.cli.indexing import build
from mcp_server.config import load_setup
from mcp_server.egress import Outlet
from mcp_server.errors import BadRequest, NotReady
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Building, Service
from tests.access.leaks import LeakCheck
from tests.access.world import index_world, make_world, some_principals
from tests.ingest.sources.support import write

CHECKS = 2_000
PLANTED_CHECKS = 900
OUTSIDER = Principal("outsider", frozenset({"team-of-nobody"}))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), seed=7)


@pytest.fixture(scope="module")
def setup(world, tmp_path_factory):
    return index_world(world, world.origins, tmp_path_factory.mktemp("index"))


@pytest.fixture
def service(setup):
    service = Service(setup)
    yield service
    service.close()


@pytest.mark.req("A6", "S1", "S7", "S9", "V4.7")
def test_nothing_of_a_hidden_source_reaches_anybody_on_any_surface(world, service):
    report = LeakCheck(world, service, seed=7).run(CHECKS)
    assert report.leaks == []
    assert report.total >= CHECKS
    assert report.seen > CHECKS / 10
    assert len(report.checks) >= 25, report


# -- planted leaks -----------------------------------------------------------------------------------------------------


def plant_in_filters(patch):
    """The index forgets whose sources a query may see."""
    patch.setattr(Index, "_visible", lambda self, filters: tuple(state.name for state in self.manifest.sources))


def plant_in_status(patch):
    """The status lists every source."""
    patch.setattr(mcp_server.service, "visible_sources", lambda principal, infos: infos)


def plant_in_suggestions(patch):
    """The nearest names come from all sources."""
    near = Index.near_symbols

    def unfiltered(self, name, filters, limit=3):
        names = frozenset(state.name for state in self.manifest.sources)
        groups = frozenset(group for state in self.manifest.sources for group in state.groups)
        return near(self, name, replace(filters, groups=groups, sources=names), limit)

    patch.setattr(Index, "near_symbols", unfiltered)


def plant_in_errors(patch):
    """The sentence on an unknown source lists every source."""
    original = mcp_server.service.make_filters

    def telling(principal, sources, wanted=(), **more):
        try:
            return original(principal, sources, wanted, **more)
        except BadRequest as error:
            raise BadRequest(f"{error} All: {', '.join(source.name for source in sources)}.") from error

    patch.setattr(mcp_server.service, "make_filters", telling)


def plant_in_history(patch):
    """The commits of every source vote, and their totals are shown."""
    original = Index.chunk_count

    def count(self, filters):
        names = frozenset(state.name for state in self.manifest.sources)
        groups = frozenset(group for state in self.manifest.sources for group in state.groups)
        return original(self, replace(filters, groups=groups, sources=names))

    def filters(principal, sources, wanted=(), **more):
        made = mcp_server.access.make_filters(principal, sources, wanted, **more)
        everybody = frozenset(group for source in sources for group in source.groups)
        return replace(made, groups=everybody, sources=made.sources | {s.name for s in sources if s.kind == "commit"})

    patch.setattr(Index, "chunk_count", count)
    patch.setattr(mcp_server.service, "make_filters", filters)


def plant_in_traces(patch):
    """Everybody may read every trace."""
    patch.setattr(Service, "may_read", lambda self, principal: lambda acl: True)


def plant_in_trace_config(patch):
    """A trace holds the whole configuration."""
    patch.setattr(mcp_server.service, "visible_settings", lambda principal, settings: settings.model_dump(mode="json"))


def plant_in_cursors(patch):
    """A cursor is good for everybody."""
    original = Service._sign

    def sign(self, body, request, principal):
        return original(self, body, request, Principal("anybody", frozenset()))

    patch.setattr(Service, "_sign", sign)


def plant_in_documents(patch):
    """A hidden document is refused in other words than an absent one."""
    original = Service.read_document

    def read(self, source, path, principal):
        known = {state.name for state in self.setup.settings.source}
        if source in known and source not in original_filters(self, principal):
            raise BadRequest("You may not read this document.")
        return original(self, source, path, principal)

    def original_filters(self, principal):
        with self.reading() as index:
            return mcp_server.access.make_filters(principal, self.infos(index)).sources

    patch.setattr(Service, "read_document", read)


def plant_in_counts(patch):
    """The total of an exhaustive search counts every source."""
    original = Service._find_all

    def find(self, index, request, filters, trace, offset):
        found = original(self, index, request, filters, trace, offset)
        return replace(found, total=found.total + 1) if found.total else found

    patch.setattr(Service, "_find_all", find)


PLANTED = {
    "search": plant_in_filters,
    "status": plant_in_status,
    "error": plant_in_errors,
    "suggestions": plant_in_suggestions,
    "history": plant_in_history,
    "trace of others": plant_in_traces,
    "trace config": plant_in_trace_config,
    "cursor": plant_in_cursors,
    "document": plant_in_documents,
    "count": plant_in_counts,
}
FOUND_IN = {"suggestions": "", "history": "", "error": "", "trace config": "trace", "trace of others": "trace"}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_leak_is_found(world, setup, monkeypatch, kind):
    service = Service(setup)
    check = LeakCheck(world, service, seed=11)
    PLANTED[kind](monkeypatch)
    # The assertion before a result leaves would withhold some of them: off, so that the check shows what it can see.
    monkeypatch.setattr(Outlet, "_known", lambda self, source: SourceInfo(source, "code", "", ()))
    report = check.run(PLANTED_CHECKS)
    service.close()
    assert [leak for leak in report.leaks if leak.startswith(FOUND_IN.get(kind, kind))], report


# -- states that name sources ------------------------------------------------------------------------------------------


@pytest.mark.req("S1", "S9")
def test_a_build_and_its_failure_name_no_source_to_those_who_may_not_see_it(world, tmp_path):
    setup = index_world(world, world.origins, tmp_path)
    empty = replace(setup, data_dir=tmp_path / "empty")
    origin = world.origins[0]
    insider = Principal("insider", origin.groups)
    everybody = Principal("everybody", frozenset(world.groups))
    service = Service(empty)
    told = {}
    for error in ("", f"{origin.name} cannot be read."):
        service.set_building(None if error else Building(origin.name, 1, 4), error)
        for who in (OUTSIDER, insider, everybody):
            with pytest.raises(NotReady) as caught:
                service.search(SearchRequest("payment"), who)
            told[who.id, bool(error)] = f"{caught.value} {service.status(who).building}"
    service.close()
    assert origin.name not in told["outsider", False] + told["outsider", True] + told["insider", True]
    assert "25 %" in told["outsider", False]
    assert "on stderr" in told["outsider", True]
    assert f"25 % of {origin.name}" in told["insider", False]
    assert f"{origin.name} cannot be read." in told["everybody", True]


@pytest.mark.req("S7")
def test_a_trace_is_closed_when_its_evidence_is(world, tmp_path):
    """Who lost the right to a source loses the old traces that show it."""
    setup = index_world(world, world.origins, tmp_path)
    origin = next(origin for origin in world.origins if origin.symbols)
    who = Principal("somebody", origin.groups)
    service = Service(setup)
    trace = service.search(SearchRequest(origin.symbols[0]), who).trace_id
    assert service.get_trace(trace, who).summary.id == trace
    service.close()
    sources = tuple(
        source.model_copy(update={"groups": ("team-of-nobody",)}) if source.name == origin.name else source
        for source in setup.settings.source
    )
    service = Service(replace(setup, settings=setup.settings.model_copy(update={"source": sources})))
    assert [row.id for row in service.list_traces(who)] == []
    assert service.search(SearchRequest(origin.symbols[0], mode="all"), who).total == 0
    assert service.search(SearchRequest(origin.symbols[0], mode="all"), OUTSIDER).total == 0  # given, not yet indexed
    service.close()


@pytest.mark.req("S9")
def test_a_source_that_the_configuration_no_longer_names_is_denied(world, tmp_path):
    setup = index_world(world, world.origins, tmp_path)
    gone = next(origin for origin in world.origins if origin.type == "git")
    everybody = Principal("everybody", frozenset(world.groups))
    asked = SearchRequest(gone.words[0], mode="all")
    kept = tuple(source for source in setup.settings.source if source.name != gone.name)
    silent = tuple(
        source.model_copy(update={"history": False}) if source.name == gone.name else source
        for source in setup.settings.source
    )
    for sources, names in ((kept, set()), (silent, {gone.name})):
        service = Service(replace(setup, settings=setup.settings.model_copy(update={"source": sources})))
        hits = service.search(asked, everybody).hits
        status = json.dumps([dict(source) for source in service.status(everybody).sources])
        service.close()
        assert {hit.source for hit in hits} <= names
        assert f"{gone.name}.history" not in status
        assert (gone.name in status) == bool(names)


def test_the_principals_of_the_check_differ(world):
    groups = {who.groups for who in some_principals(world, random.Random(1), 40)}
    assert len(groups) > 15
    assert any(not group & set(world.groups) for group in groups)


@pytest.mark.req("S1")
def test_how_rare_a_hidden_word_is_is_not_told(world, service):
    """Neither the note on a long query nor the weights in one's own trace know whether a hidden word exists."""
    who = Principal("somebody", world.origins[0].groups)
    origin = world.hidden(who)[0]
    hidden = next(word for word in origin.words if f" {word}" in origin.texts[0])
    absent = hidden[:-4] + "yyxq"
    said = []
    for word in (hidden, absent):
        filler = " ".join(f"zarquon{number}yq" for number in range(70))
        result = service.search(SearchRequest(f"{filler} {word} payment"), who)
        stages = [service.explain(result.trace_id, stage, who) for stage in ("transform@1", "entities")]
        weights = re.sub(r"STAGE .*", "", " ".join(stages)).replace(word, "")
        said.append((result.notes, weights))
    assert said[0] == said[1]
    assert "rarest words" in str(said[0][0])


@pytest.mark.req("S1")
def test_where_a_file_went_is_not_told_when_it_went_to_a_hidden_source(tmp_path):
    folder = tmp_path / "code"
    text = "class PaymentLedger:\n    def total_of_ledger(self, account):\n        return account.balance\n"
    write(folder, {"src/ledger.py": text, "board/plan.md": "# Plan\n\nSell.\n"})
    (tmp_path / "codecairn.toml").write_text(
        '[[source]]\nname = "code"\ntype = "folder"\npath = "code"\ngroups = ["all"]\nexclude = ["/board"]\n'
        '[[source]]\nname = "plans"\ntype = "designs"\npath = "code/board"\ngroups = ["board"]\n'
    )
    setup = load_setup(root=tmp_path, config=None, data=tmp_path / "data", env={"HOME": str(tmp_path)})
    service = Service(setup)
    build(setup, service, "cli")
    (folder / "src" / "ledger.py").rename(folder / "board" / "merger.py")
    said = {}
    for name, groups in (("staff", {"all"}), ("chair", {"all", "board"})):
        result = service.answer(AnswerRequest("What does PaymentLedger do?"), Principal(name, frozenset(groups)))
        said[name] = repr(result)
    service.close()
    assert "board/merger.py" in said["chair"]
    assert "freshness='gone'" in said["staff"]
    assert "merger" not in said["staff"]
