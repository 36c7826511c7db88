"""X6: any sequence of edits, renames, ACL changes and rollbacks, compared with a dictionary."""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingest.errors import IndexEmpty
from ingest.index import Index, roll_back
from ingest.index.generation import generations
from ingest.index.invariants import check_invariants
from ingest.model import Rename, SourceInfo
from tests.ingest.index.support import EMBEDDER, NOW, make_chunks, make_entry, open_publication, prepare_text, see

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "6"))
STEPS = int(os.environ.get("MODEL_STEPS", "12"))
INFOS = {name: SourceInfo(name, kind, "shop", ("local",)) for name, kind in (("app", "code"), ("docs", "design"))}
PATHS = st.sampled_from(["a.py", "b/c.py", "b/d.md", "e f.py"])
TEXTS = st.lists(
    st.sampled_from(["def token(x):", "class Cart", "token", "price of cart", "x"]), min_size=0, max_size=4
).map("\n\n".join)
SOURCES = st.sampled_from(sorted(INFOS))
WEIGHTS = {"content": 1.0}

World = dict[str, tuple[SourceInfo, dict[str, str]]]


def build(data_dir: Path, world: World) -> str:
    """Build a world from nothing and return its content hash."""
    with open_publication(data_dir) as publication:
        for name in sorted(world, reverse=True):
            info, files = world[name]
            publication.begin_source(info, "full", "/src")
            for path in sorted(files, reverse=True):
                publication.add_file(name, make_entry(path, files[path]), prepare_text(info, path, files[path]))
        return publication.commit(NOW).content_hash


class StoreMachine(RuleBasedStateMachine):
    """The store against a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.data_dir = Path(tempfile.mkdtemp())
        self.world: World = {}
        self.worlds: dict[int, World] = {}
        self.revision = 0
        self.index: Index | None = None

    def teardown(self) -> None:
        if self.index is not None:
            self.index.close()
        shutil.rmtree(self.data_dir)

    @initialize(text=TEXTS)
    def first(self, text: str) -> None:
        self.publish({"app": {"a.py": text}}, INFOS["app"])

    def publish(
        self, changes: dict[str, dict[str, str | None]], info: SourceInfo, renames: tuple[Rename, ...] = ()
    ) -> None:
        self.revision += 1
        with open_publication(self.data_dir, allow_drop=True) as publication:
            for name, delta in changes.items():
                publication.begin_source(info, f"r{self.revision}", "/src")
                files = dict(self.world[name][1]) if name in self.world else {}
                for path, text in delta.items():
                    if text is None:
                        publication.remove_file(name, path)
                        files.pop(path, None)
                    else:
                        publication.add_file(name, make_entry(path, text), prepare_text(info, path, text))
                        files[path] = text
                publication.record_renames(name, renames)
                self.world = {**self.world, name: (info, files)}
            manifest = publication.commit(NOW)
        self.worlds[manifest.generation] = self.world

    def info(self, source: str) -> SourceInfo:
        return self.world[source][0] if source in self.world else INFOS[source]

    @rule(source=SOURCES, delta=st.dictionaries(PATHS, TEXTS | st.none(), min_size=1, max_size=3))
    def edit(self, source: str, delta: dict[str, str | None]) -> None:
        self.publish({source: delta}, self.info(source))

    @rule(source=SOURCES, old=PATHS, new=PATHS)
    def rename(self, source: str, old: str, new: str) -> None:
        text = self.world.get(source, (None, {}))[1].get(old)
        if text is not None and old != new:
            self.publish({source: {old: None, new: text}}, self.info(source), (Rename(old, new),))

    @rule(source=SOURCES, groups=st.sampled_from([("local",), ("staff",), ("local", "staff")]))
    def change_acl(self, source: str, groups: tuple[str, ...]) -> None:
        self.publish({source: {}}, dataclasses.replace(self.info(source), groups=groups))

    @rule(source=SOURCES)
    def drop_source(self, source: str) -> None:
        if source not in self.world:
            return
        with open_publication(self.data_dir) as publication:
            publication.remove_source(source)
            self.world = {name: value for name, value in self.world.items() if name != source}
            self.worlds[publication.commit(NOW).generation] = self.world

    @rule(delta=st.dictionaries(PATHS, TEXTS, min_size=1, max_size=2))
    def abort(self, delta: dict[str, str]) -> None:
        with open_publication(self.data_dir) as publication:
            publication.begin_source(self.info("app"), "aborted", "/src")
            for path, text in delta.items():
                publication.add_file("app", make_entry(path, text), prepare_text(self.info("app"), path, text))

    @precondition(lambda self: len(generations(self.data_dir)) > 1)
    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from([row.id for row in generations(self.data_dir)]))
        roll_back(self.data_dir, target)
        self.world = self.worlds[target]

    @invariant()
    def the_index_holds_exactly_the_world(self) -> None:
        if not self.worlds:
            return
        assert check_invariants(self.data_dir) == []
        self.refresh()
        assert self.index is not None
        for groups in (("local",), ("staff",), ("local", "staff")):
            expected = {
                chunk.id: chunk
                for info, files in self.world.values()
                if set(groups) & set(info.groups)
                for path, text in files.items()
                for chunk in make_chunks(info, path, text)
            }
            filters = see("app", "docs", groups=groups)
            found = [hit.chunk_id for hit in self.index.search_vector("token cart", filters, 1000)]
            assert sorted(found) == sorted(expected)
            assert self.index.chunks(found) == [expected[i] for i in found]
            tokens = [hit.chunk_id for hit in self.index.search_text([("token", 1.0)], filters, 1000, WEIGHTS)]
            assert sorted(tokens) == sorted(i for i, chunk in expected.items() if "token" in chunk.text)
            assert self.index.chunk_count(filters) == len(expected)

    def refresh(self) -> None:
        """Keep one reader alive through all generations, as a server does."""
        if self.index is None:
            self.index = Index.open_current(self.data_dir, EMBEDDER)
            return
        newer = self.index.refreshed(self.data_dir)
        if newer is not self.index:
            self.index.close()
            self.index = newer

    @rule()
    def rebuild_from_nothing_gives_the_same_content(self) -> None:
        other = Path(tempfile.mkdtemp())
        try:
            with Index.open_current(self.data_dir) as index:
                assert build(other, self.world) == index.manifest.content_hash
        except IndexEmpty:
            assert not self.worlds
        finally:
            shutil.rmtree(other)


StoreMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize="MODEL_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
TestStoreMachine = pytest.mark.slow(pytest.mark.req("I19", "W5", "W8")(StoreMachine.TestCase))
