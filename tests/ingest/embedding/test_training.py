"""Training of the static embedder, from clones to weights, on a repository small enough for CI."""

import json
import subprocess

import numpy as np
import pytest

from ingest.embedding import static
from ingest.embedding.static import WEIGHT_FILES, WEIGHTS, Pieces, static_id
from ingest.embedding.training.__main__ import main
from ingest.embedding.training.bags import make_bags
from ingest.embedding.training.history import CloneError, find_clone, list_clones, mirrored
from ingest.embedding.training.manifest import MANIFEST, hash_file, read_manifest
from ingest.embedding.training.mining import clean_subject, first_sentence, mine_file, mine_repository
from ingest.embedding.training.trainer import PairSet, Settings, contrast, plan_batches, start_rows, train

MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"
PARTS = ("first", "second", "third", "last")
TOPICS = {
    "socket": "open a network connection to the remote host",
    "parser": "split the source text into tokens",
    "cache": "forget the entries that were used least recently",
    "clock": "wait until the timer has run out",
    "image": "draw the picture on the canvas",
    "ledger": "add up the amounts of all bookings",
}


def git(folder, *arguments):
    names = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *names, "-C", str(folder), *arguments], check=True, capture_output=True)


def function(topic, doc):
    body = "\n".join(f"    {topic}_{part} = prepare({topic}, '{part}')" for part in PARTS)
    told = f'"""{doc.capitalize()}.\n\n    More words.\n    """'
    return f"def handle_{topic}(value):\n    {told}\n{body}\n    return {topic}_last\n"


@pytest.fixture
def clones(tmp_path):
    """A repository whose files and commits speak of six topics."""
    folder = tmp_path / "clones" / "someone" / "project"
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / "LICENSE").write_text(MIT)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "Initial commit of the licence file")
    for topic, doc in TOPICS.items():
        (folder / f"{topic}.py").write_text(function(topic, doc))
        git(folder, "add", ".")
        git(folder, "commit", "-qm", f"feat(core): {doc} at last (#12)")
    return tmp_path / "clones"


@pytest.fixture
def made(clones, tmp_path):
    """The folder that survey and rebuild wrote."""
    assert main(["survey", str(clones), str(tmp_path / "asked.json")]) == 0
    asked = json.loads((tmp_path / "asked.json").read_text())
    asked["settings"] |= {"epochs": 30, "batch": 12, "dimensions": 32}
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    assert (
        main(["rebuild", str(clones), str(tmp_path / "out"), "--manifest", str(tmp_path / "asked.json"), "--jobs", "1"])
        == 0
    )
    return tmp_path / "out"


def embed(folder, text):
    ids = Pieces.open(folder / "tokenizer.json").read(text)
    total = (np.load(folder / "rows.npy")[ids] * np.load(folder / "scales.npy")[ids, None]).sum(axis=0)
    return total / np.linalg.norm(total)


def test_rebuild_pulls_each_question_to_its_code(made):
    manifest = read_manifest(made / "manifest.json")
    assert manifest.losses[-1] < 0.5 * manifest.losses[0]
    codes = np.stack([embed(made, f"{topic}.py\n\nreturn prepare({topic})") for topic in TOPICS])
    for number, doc in enumerate(TOPICS.values()):
        assert np.argmax(codes @ embed(made, doc)) == number


def test_rebuild_of_a_manifest_gives_the_same_weights(made, clones, tmp_path, capsys):
    again = tmp_path / "again"
    assert main(["rebuild", str(clones), str(again), "--manifest", str(made / "manifest.json")]) == 0
    assert "Same pairs, same weights, bit for bit." in capsys.readouterr().out
    assert read_manifest(again / "manifest.json") == read_manifest(made / "manifest.json")


def test_manifest_of_a_rebuild_names_what_it_was_made_of(made, clones):
    manifest = read_manifest(made / "manifest.json")
    (repository,) = manifest.repositories
    assert (repository.name, repository.licence, repository.language) == ("someone/project", "MIT", "py")
    with mirrored(clones, "someone/project") as (_, commit):
        assert repository.commit == commit
    assert repository.pairs == manifest.pairs == {"doc": 6, "commit": 6}
    assert manifest.id == static_id(made)
    assert manifest.weights == {name: hash_file(made / name) for name in WEIGHT_FILES}


def test_survey_leaves_out_excluded_names_and_other_licences(clones, tmp_path, capsys):
    other = clones / "someone" / "closed"
    other.mkdir()
    git(other, "init", "-q")
    (other / "LICENSE").write_text("GNU GENERAL PUBLIC LICENSE Version 3")
    git(other, "add", ".")
    git(other, "commit", "-qm", "First version of the closed program")
    assert main(["survey", str(clones), str(tmp_path / "a.json")]) == 0
    assert [r.name for r in read_manifest(tmp_path / "a.json").repositories] == ["someone/project"]
    (tmp_path / "names.txt").write_text("SomeOne/*\n")
    assert main(["survey", str(clones), str(tmp_path / "b.json"), "--exclude", str(tmp_path / "names.txt")]) == 0
    assert read_manifest(tmp_path / "b.json").repositories == ()
    assert "someone/closed: left out, no permissive licence found" in capsys.readouterr().out


def test_a_missing_clone_is_an_error_that_says_where_to_put_it(made, tmp_path, capsys):
    named = ["--manifest", str(made / "manifest.json"), "--jobs", "1"]
    assert main(["rebuild", str(tmp_path / "nowhere"), str(tmp_path / "again"), *named]) == 1
    assert "Clone it to" in capsys.readouterr().err


def test_the_weights_that_ship_are_those_of_the_manifest():
    manifest = read_manifest(MANIFEST)
    assert manifest.id == static.STATIC_ID
    assert manifest.weights == {name: hash_file(WEIGHTS / name) for name in WEIGHT_FILES}
    assert sum((WEIGHTS / name).stat().st_size for name in WEIGHT_FILES) <= 10_000_000


def test_the_training_set_is_broad_and_permissively_licensed():
    repositories = read_manifest(MANIFEST).repositories
    assert len({repository.name.lower() for repository in repositories}) >= 100
    assert len({repository.language for repository in repositories}) >= 15
    assert all(repository.licence and len(repository.commit) == 40 for repository in repositories)


GO = """// Dial opens a connection to it.
// More.
func Dial(a string) {
	go run(a, deadline, retries)
}
var x = 1
"""
JAVA = """class A {
  /**
   * Reads one value from the stream.
   * @return it
   */
  @Override
  int read() {
    return stream.next(position, limit);
  }
}
"""
C = """/* Start the loop of the timers. */
int start(loop_t* loop)
{
#ifdef X
  a(loop);
#endif
  return run_timers(loop);
}
int b;
"""
LUA = """-- Send the request to a worker.
local function send(request)
  workers.push(request, priority)
end
local y
"""


def pairs_of(path, text):
    return {(pair.kind, pair.query): pair.passage for pair in mine_file(path, text)}


@pytest.mark.parametrize(
    ("path", "text", "query", "inside", "outside"),
    [
        ("a.py", function("socket", "open the connection"), "Open the connection.", "prepare(socket", "More words"),
        ("a.go", GO, "Dial opens a connection to it.", "go run(a", "var x"),
        ("A.java", JAVA, "Reads one value from the stream.", "class A", "@return"),
        ("a.c", C, "Start the loop of the timers.", "run_timers", "int b"),
        ("a.lua", LUA, "Send the request to a worker.", "workers.push", "local y"),
    ],
)
def test_documentation_is_paired_with_the_definition_below_it(path, text, query, inside, outside):
    passage = {asked.rstrip("."): passage for (kind, asked), passage in pairs_of(path, text).items() if kind == "doc"}[
        query.rstrip(".")
    ]
    assert passage.startswith(f"{path}\n")
    assert inside in passage
    assert outside not in passage
    assert query.rstrip(".") not in passage


def test_a_definition_without_documentation_is_asked_for_by_its_name():
    text = "function closeIdleSockets(pool) {\n  for (const s of pool) {\n    s.end()\n  }\n}\n"
    passage = pairs_of("src/pool.ts", text)["name", "close idle sockets"]
    assert "closeIdleSockets" not in passage
    assert "s.end()" in passage


def test_test_files_give_their_sentences_only():
    text = "/** Checks a thing or two. */\nit('answers twice when asked twice', () => {\n  ask(2)\n})\n"
    assert {kind for kind, _ in pairs_of("src/pool.test.ts", text)} == {"case"}


def test_vendored_code_gives_nothing(clones):
    folder = clones / "someone" / "project"
    (folder / "vendor").mkdir()
    (folder / "vendor" / "a.py").write_text(function("vendored", "copied from somebody else"))
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "Copy the code of somebody else")
    with mirrored(clones, "someone/project") as (mirror, commit):
        assert not [pair for pair in mine_repository(mirror, commit) if "vendor" in pair.passage]


def test_changelog_entries_are_paired_with_the_hunks_of_their_commit(clones):
    folder = clones / "someone" / "project"
    (folder / "CHANGELOG.md").write_text("- Pictures are no longer drawn upside down on small screens (#77)\n")
    (folder / "image.py").write_text(function("image", "draw the picture").replace("first", "upright"))
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "Turn the drawing round")
    with mirrored(clones, "someone/project") as (mirror, commit):
        pairs = mine_repository(mirror, commit)
    ((query, passage),) = [(pair.query, pair.passage) for pair in pairs if pair.kind == "ticket"]
    assert query == "Pictures are no longer drawn upside down on small screens"
    assert passage.startswith("image.py\n")


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("fix(http): close idle sockets on exit (#12)", "close idle sockets on exit"),
        ("JIRA-12: close idle sockets on exit", "close idle sockets on exit"),
        ("Merge branch 'x' of somewhere else", ""),
        ("Release version 1.2 of the thing", ""),
        ("Fix typo in the documentation of x", ""),
        ("Fix the bug", ""),
    ],
)
def test_subjects_lose_prefixes_and_dull_ones_are_left_out(subject, told):
    assert clean_subject(subject) == told


@pytest.mark.parametrize(
    "comment", ["Copyright 2020 by the authors", "TODO write this down", "return value;", "Two words"]
)
def test_comments_that_say_nothing_about_the_code_are_left_out(comment):
    assert first_sentence(comment) == ""


def test_gradient_is_the_slope_of_the_loss():
    chance = np.random.default_rng(0)
    queries, passages = chance.standard_normal((2, 5, 8))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    passages /= np.linalg.norm(passages, axis=1, keepdims=True)
    same = np.array([1, 2, 3, 1, 4])
    _, gradient = contrast(queries, passages, same, 0.2)
    step = 1e-5 * chance.standard_normal(queries.shape)
    up, down = (contrast(queries + sign * step, passages, same, 0.2)[0] for sign in (1, -1))
    assert (up - down) / 2 == pytest.approx(np.sum(gradient @ passages * step), rel=1e-4)


def test_equal_queries_are_no_negatives_of_each_other():
    unit = np.eye(3, 8)
    alike = np.array([7, 7, 7])
    assert contrast(unit[[0, 0, 0]], unit, alike, 0.05)[0] < contrast(unit[[0, 0, 0]], unit, np.arange(3), 0.05)[0] - 1


def some_pairs(count, repositories):
    texts = [f"alpha{chr(97 + n % 26)} beta gamma{chr(97 + n % 7)}" for n in range(count)]
    bags = make_bags(texts, Pieces.open(WEIGHTS / "tokenizer.json").read)
    return PairSet(bags, bags, np.arange(count) % repositories, np.arange(count))


def test_an_epoch_takes_each_pair_once_and_most_batches_are_half_of_one_repository():
    pairs = some_pairs(400, 4)
    batches = plan_batches(pairs, Settings(batch=40), np.random.default_rng(0))
    assert sorted(np.concatenate(batches)) == list(range(400))
    shares = [np.bincount(pairs.repositories[batch]).max() / len(batch) for batch in batches]
    assert np.mean(np.array(shares) >= 0.5) >= 0.75


def test_dropout_leaves_pieces_out_and_still_learns():
    pairs = some_pairs(60, 2)
    settings = Settings(batch=20, epochs=8, dimensions=16, dropout=0.3)
    rows = start_rows(pairs, 30_522, settings)
    losses = list(train(pairs, rows, settings))
    assert losses[-1] < losses[0]


def test_clones_are_found_under_each_way_of_naming_them(tmp_path):
    for name in ("a/b", "c+d/repo", "e__f"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        git(folder, "init", "-q")
    assert list_clones(tmp_path) == ["a/b", "c/d", "e/f"]
    assert all(find_clone(tmp_path, name).is_dir() for name in ("a/b", "c/d", "e/f"))
    with pytest.raises(CloneError, match="No clone of x/y"):
        find_clone(tmp_path, "x/y")
