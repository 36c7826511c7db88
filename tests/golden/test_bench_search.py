"""`codecairn bench search` on a small repository made by git: variants, rivals, tokens, ablation, blame."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from golden.bench import BenchError
from golden.bench.ablation import ablations, neutral
from golden.bench.blame import NOT_INDEXED, NOT_RETRIEVED, Blamed, blame_file
from golden.bench.comparison import compare
from golden.bench.economy import Reading, read_files, summarise
from golden.bench.quality import Plan, run_search
from golden.bench.questions import Question, load_questions
from golden.bench.rivals import RivalSpec, parse_rival
from golden.metrics import bootstrap, score_ranking
from mcp_server.cli import app
from mcp_server.retrieval.weights import DEFAULT_WEIGHTS, RankWeights

FILES = {
    "src/invoice.py": '"""Invoices."""\n\n\ndef total_of_invoice(lines):\n    return sum(lines)\n',
    "src/stock.py": '"""Stock."""\n\n\ndef count_stock(shelves):\n    return len(shelves)\n',
    "src/mail.py": '"""Mail."""\n\n\ndef send_mail(address, text):\n    return address, text\n',
    "tests/test_stock.py": "from src.stock import count_stock\n\n\ndef test_it():\n    assert count_stock([]) == 0\n",
}


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main")
    done = subprocess.run(("git", *identity, *arguments), cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def shop(tmp_path) -> Path:
    """One corpus: a clone that stands at the commit its folder is named after."""
    folder = tmp_path / "corpora" / "new"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "Zebra pricing: invoices are added up")
    return folder.rename(folder.with_name(f"acme__shop-{git(folder, 'rev-parse', 'HEAD')[:12]}"))


@pytest.fixture
def cases(shop, tmp_path) -> Path:
    return write_cases(
        tmp_path / "cases.jsonl",
        shop,
        ("a", "exact-symbol", "total_of_invoice", "src/invoice.py"),
        ("b", "conceptual", "how is mail sent to an address", "src/mail.py"),
        ("c", "conceptual", "count what is on the shelves", "src/none.py"),
    )


def write_cases(file: Path, shop: Path, *rows: tuple[str, str, str, str]) -> Path:
    commit = git(shop, "rev-parse", "HEAD")
    lines = [
        {"id": i, "repo": "acme/shop", "commit": commit, "root": "src", "bucket": bucket, "query": query,
         "gold": [{"path": path, "start": None, "end": None}] if path else [], "meta": {"category": "any"}}
        for i, bucket, query, path in rows
    ]  # fmt: skip
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def bench(cases: Path, tmp_path: Path, **plan):
    return run_search([cases], tmp_path / "corpora", Plan(**plan), cache=tmp_path / "cache")


def found(run) -> dict[str, tuple[str, ...]]:
    return {asked.question.id: asked.paths for asked in run.asked}


# -- what is asked, and of what ----------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_files_found(cases, tmp_path):
    run = bench(cases, tmp_path).runs[0]
    paths = found(run)
    assert paths["a"][0] == "src/invoice.py"
    assert paths["b"][0] == "src/mail.py"
    groups = {(group.by, group.name): group for group in run.groups}
    assert groups["bucket", "exact-symbol"].metrics == score_ranking(["src/invoice.py"], paths["a"])
    assert groups["all", "ALL"].metrics.hit1 == pytest.approx(2 / 3)
    assert groups["language", "python"].n == 3
    assert groups["repo", "acme/shop"].n == 3


def test_variants_index_what_they_say(cases, tmp_path):
    result = bench(cases, tmp_path, variants=("root", "whole", "root-history", "whole-history"))
    seen = {run.variant: {path for paths in found(run).values() for path in paths} for run in result.runs}
    assert "tests/test_stock.py" in seen["whole"] & seen["whole-history"]
    assert not any(path.startswith("tests/") for path in seen["root"] | seen["root-history"])
    assert all(found(run)["a"][0] == "src/invoice.py" for run in result.runs)


def test_later_variants_are_compared_with_the_first_one(shop, tmp_path):
    cases = write_cases(
        tmp_path / "c.jsonl",
        shop,
        ("a", "exact-symbol", "test_it", "tests/test_stock.py"),
        ("b", "exact-symbol", "send_mail", "src/mail.py"),
    )
    result = bench(cases, tmp_path, variants=("root", "whole"))
    (difference,) = [d for d in result.between["whole - root"] if (d.by, d.metric) == ("all", "hit1")]
    assert (difference.ours, difference.theirs, difference.mean) == (1, 0.5, 0.5)  # tests lie outside the root
    assert "whole - root" in str(result)


def test_history_is_in_reach_only_in_the_variants_with_history(shop, tmp_path):
    cases = write_cases(tmp_path / "c.jsonl", shop, ("h", "conceptual", "zebra", "src/invoice.py"))
    result = bench(cases, tmp_path, variants=("whole", "whole-history"))
    tokens = {run.variant: run.economies[0].first_page for run in result.runs}
    assert tokens["whole"] < tokens["whole-history"]  # the commit is shown


def test_a_clone_at_another_commit_is_refused_where_its_history_counts(shop, cases, tmp_path):
    (shop / "later.txt").write_text("later\n")
    git(shop, "add", ".")
    git(shop, "commit", "-qm", "The fix")
    assert bench(cases, tmp_path).runs
    with pytest.raises(BenchError, match="Check that commit out"):
        bench(cases, tmp_path, variants=("whole-history",))


def test_a_variant_that_does_not_exist_is_named(cases, tmp_path):
    with pytest.raises(BenchError, match=r"no variant 'half'.*whole-history"):
        bench(cases, tmp_path, variants=("half",))


def test_a_second_run_only_asks(cases, tmp_path):
    first, again = bench(cases, tmp_path).runs[0], bench(cases, tmp_path).runs[0]
    assert (first.index_s > 0, again.index_s) == (True, 0.0)
    assert found(first) == found(again)
    assert first.groups == again.groups


def test_a_limit_takes_questions_from_all_over_the_file(shop, tmp_path):
    rows = [(str(number), "conceptual", f"word {number}", "src/mail.py") for number in range(10)]
    file = write_cases(tmp_path / "c.jsonl", shop, *rows)
    assert [question.id for question in load_questions([file], 3)] == ["0", "3", "6"]
    assert len(load_questions([file], 0)) == 10


def test_two_cases_of_one_id_are_refused(shop, tmp_path):
    file = write_cases(tmp_path / "c.jsonl", shop, ("a", "x", "y", "z.py"), ("a", "x", "y", "z.py"))
    with pytest.raises(BenchError, match="Two cases are called 'a'"):
        load_questions([file])


def test_a_question_without_gold_counts_as_unanswerable_and_in_no_ranking(shop, tmp_path):
    cases = write_cases(tmp_path / "c.jsonl", shop, ("n", "unanswerable", "kafka", ""))
    run = bench(cases, tmp_path, worst=5).runs[0]
    assert (run.groups, run.worst) == ((), ())
    assert run.to_dict()["unanswerable"] == 1


def test_a_corpus_that_is_not_there_is_named(cases, tmp_path):
    with pytest.raises(BenchError, match=r"no corpus .*acme__shop-"):
        run_search([cases], tmp_path / "nowhere", cache=tmp_path / "cache")


def test_a_broken_case_file_is_named_with_its_line(tmp_path):
    (tmp_path / "c.jsonl").write_text('\n{"id": 1}\n')
    with pytest.raises(BenchError, match=r"c\.jsonl:2"):
        load_questions([tmp_path / "c.jsonl"])


def test_the_command_prints_json_and_writes_predictions_per_rival(cases, shop, tmp_path):
    rival = f"always={sys.executable} {write_rival(tmp_path, {'a': ['mail.py']})}"
    options = ["--cases", str(cases), "--corpora", str(tmp_path / "corpora"), "--cache", str(tmp_path / "cache")]
    pred = tmp_path / "p.jsonl"
    done = CliRunner().invoke(app, ["bench", "search", *options, "--rival", rival, "--pred", str(pred), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["runs"][0]["variant"] == "root"
    ours = [json.loads(line) for line in pred.read_text().splitlines()]
    assert [row["id"] for row in ours] == ["a", "b", "c"]
    theirs = [json.loads(line) for line in (tmp_path / "p.always.jsonl").read_text().splitlines()]
    assert {row["id"]: row["paths"] for row in theirs}["b"] == []


def test_the_command_refuses_an_embedder_and_a_rival_that_it_does_not_know(cases, tmp_path):
    options = ["bench", "search", "--cases", str(cases), "--corpora", str(tmp_path / "corpora")]
    assert CliRunner().invoke(app, [*options, "--embedder", "statik"]).exit_code == 2
    done = CliRunner().invoke(app, [*options, "--rival", "grepper"])
    assert done.exit_code == 1
    assert "no built-in rival" in done.output


# -- rivals ------------------------------------------------------------------------------------------------------------

RIVAL = """
import json, sys
table = json.loads(sys.argv[1])
fail_at = sys.argv[2] if len(sys.argv) > 2 else ""
for line in sys.stdin:
    message = json.loads(line)
    if fail_at and fail_at in (message["do"], message.get("query", "")):
        sys.exit("I give up")
    if message["do"] == "start":
        answer = {"name": "table 1.0"}
    elif message["do"] == "index":
        answer = {"seconds": 2.0}
    else:
        answer = {"paths": table.get(message["query"], []), "ms": 7.0}
    print(json.dumps(answer), flush=True)
"""


def write_rival(tmp_path: Path, table: dict[str, list[str]], fail_at: str = "") -> str:
    """Return the arguments of a rival that answers from a table of queries."""
    file = tmp_path / "rival.py"
    file.write_text(RIVAL)
    return f"{file} '{json.dumps(table)}' {fail_at}"


def test_a_rival_is_asked_the_same_questions_and_compared_pair_by_pair(cases, tmp_path):
    table = {"total_of_invoice": ["x.py", "invoice.py"], "how is mail sent to an address": ["mail.py"]}
    spec = parse_rival(f"table={sys.executable} {write_rival(tmp_path, table)}")
    (rival,) = bench(cases, tmp_path, rivals=(spec,)).runs[0].rivals
    assert (rival.label, rival.failure, rival.index_s, rival.p50_ms) == ("table 1.0", "", 2.0, 7.0)
    assert rival.answers["a"] == ("src/x.py", "src/invoice.py")
    overall = rival.groups[0].metrics
    assert overall.ndcg == pytest.approx((1 / np.log2(3) + 1) / 3)
    difference = {(d.by, d.name, d.metric): d for d in rival.differences}
    assert difference["all", "ALL", "hit1"].mean == pytest.approx(1 / 3)
    assert difference["bucket", "exact-symbol", "ndcg"].mean == pytest.approx(1 - 1 / np.log2(3))
    assert difference["bucket", "conceptual", "ndcg"].mean == 0
    assert difference["language", "python", "ndcg"].n == 3


@pytest.mark.parametrize("fail_at", ["start", "index", "total_of_invoice"])
def test_a_rival_that_ends_has_no_figures_but_its_reason_and_ours_stay(cases, tmp_path, fail_at):
    spec = parse_rival(f"weak={sys.executable} {write_rival(tmp_path, {}, fail_at)}")
    run = bench(cases, tmp_path, rivals=(spec,)).runs[0]
    assert "I give up" in run.rivals[0].failure
    assert (run.rivals[0].groups, run.rivals[0].differences) == ((), ())
    assert run.groups[0].metrics.hit1 == pytest.approx(2 / 3)
    assert "no figures: weak at" in str(run)


def test_a_rival_that_cannot_be_started_is_reported(cases, tmp_path):
    run = bench(cases, tmp_path, rivals=(RivalSpec("gone", ("/no/such/command",)),)).runs[0]
    assert "cannot be started" in run.rivals[0].failure


def test_an_unknown_rival_needs_a_command():
    with pytest.raises(BenchError, match="'grepper' is no built-in rival"):
        parse_rival("grepper")


def test_semble_without_semble_says_what_to_give(cases, tmp_path):
    run = bench(cases, tmp_path, rivals=(parse_rival("semble"),)).runs[0]
    assert "NAME=PYTHON" in run.rivals[0].failure


def test_keyword_grep_ranks_by_distinct_words_then_lines_and_its_reader_pays_for_whole_files(cases, tmp_path):
    here = Path(sys.modules["golden.bench.rivals"].__file__).with_name("rival_ripgrep.py")
    run = bench(cases, tmp_path, rivals=(RivalSpec("grep", (sys.executable, str(here)), reads_files=True),)).runs[0]
    (rival,) = run.rivals
    assert rival.label == "keyword grep (in Python)"
    assert rival.answers["b"][0] == "src/mail.py"  # mail, sent?, address: two words against one
    assert [economy.reader for economy in run.economies] == ["five concise hits at a time", "grep + whole files"]
    with_rg = parse_rival("ripgrep")
    if len(with_rg.command) > 2:
        (same,) = bench(cases, tmp_path, rivals=(with_rg,)).runs[0].rivals
        assert same.label.startswith("keyword grep (ripgrep")
        assert same.answers == rival.answers


def test_keyword_grep_counts_distinct_words_before_lines_and_leaves_out_stop_words():
    from golden.bench.rival_ripgrep import keywords, rank

    assert rank({"often.py": [9], "both.py": [1, 1], "more.py": [1, 2], "also.py": [9]}) == [
        "more.py", "both.py", "also.py", "often.py"
    ]  # fmt: skip
    assert keywords("How does the Parser of parser_state it 42?") == ["parser", "parser_state"]


CODEGRAPH = """#!/bin/sh
case "$1" in
--version) echo 9.9 ;;
init) touch "$2/.codegraph" ;;
query) [ "$7" = -- ] || exit 9
  test -e "$3/.codegraph" && echo '[{"node": {"filePath": "mail.py"}}, {"node": {"filePath": "mail.py"}}]' ;;
esac
"""


def test_codegraph_indexes_a_copy_and_its_symbols_count_as_files(cases, shop, tmp_path):
    command = tmp_path / "codegraph"
    command.write_text(CODEGRAPH)
    command.chmod(0o755)
    (rival,) = bench(cases, tmp_path, rivals=(parse_rival(f"codegraph={command}"),)).runs[0].rivals
    assert (rival.failure, rival.label) == ("", "codegraph 9.9 (query, command line)")
    assert rival.answers["a"] == ("src/mail.py",)
    assert not (shop / "src" / ".codegraph").exists()


def test_the_model_given_to_semble_gives_the_vectors_of_the_embedder(tmp_path):
    from tokenizers import Tokenizer

    from golden.bench.rival_semble import write_embedded_model
    from ingest.embedding.static import WEIGHTS, StaticEmbedder

    write_embedded_model(tmp_path / "model", WEIGHTS)
    data = (tmp_path / "model" / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    shape = json.loads(data[8 : 8 + size])["embeddings"]["shape"]
    rows = np.frombuffer(data[8 + size :], dtype="<f4").reshape(shape)
    tokenizer = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for text in ("def getHTTPServer2Name(self): return foo_bar.baz", "How are routes matched?", "XMLHttpRequest"):
        vector = rows[tokenizer.encode(text, add_special_tokens=False).ids].sum(axis=0)
        cosine = vector @ StaticEmbedder().embed_query(text) / np.linalg.norm(vector)
        assert cosine == pytest.approx(1, abs=1e-4)


# -- differences -------------------------------------------------------------------------------------------------------


def question(name: str, wanted: str, bucket: str = "conceptual") -> Question:
    return Question.model_validate(
        {"id": name, "repo": "a/b", "commit": "c" * 40, "bucket": bucket, "query": name, "gold": [{"path": wanted}]}
    )


def test_differences_are_paired_and_an_unanswered_question_has_found_nothing():
    questions = [question("q1", "a.py"), question("q2", "b.py"), question("q3", "c.go", "exact-symbol")]
    rows = compare(questions, {"q1": ["a.py"], "q2": ["b.py"]}, {"q1": ["x.py", "a.py"], "q3": ["c.go"]}, ("mrr",))
    by_name = {(row.by, row.name): row for row in rows}
    assert (by_name["all", "ALL"].ours, by_name["all", "ALL"].theirs) == (pytest.approx(2 / 3), pytest.approx(0.5))
    assert by_name["language", "python"].mean == pytest.approx(0.75)
    assert by_name["bucket", "exact-symbol"].mean == -1
    assert by_name["bucket", "exact-symbol"].is_clear
    assert not by_name["all", "ALL"].is_clear


def test_the_interval_of_equal_differences_is_that_difference_and_of_none_nothing():
    assert bootstrap([0.25] * 7) == (0.25, 0.25)
    assert np.isnan(bootstrap([])).all()


def test_the_interval_is_that_of_the_mean_and_repeats():
    values = [0.0, 1.0] * 200  # the mean has a standard error of 0.5 / sqrt(400) = 0.025
    low, high = bootstrap(values)
    assert (low, high) == (pytest.approx(0.5 - 1.96 * 0.025, abs=0.006), pytest.approx(0.5 + 1.96 * 0.025, abs=0.006))
    assert bootstrap(values) == (low, high)


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_who_reads_files_pays_for_the_list_and_each_file_up_to_the_right_one(tmp_path):
    (tmp_path / "a.py").write_text("x" * 400)
    (tmp_path / "b.py").write_text("y" * 2000)
    reading = read_files(tmp_path, ["a.py", "b.py"], "src/")
    listing = 2 * len("a.py:12\n") / 4
    assert reading.first_page == listing
    assert reading.to_first(["src/b.py"]) == (listing + 100 + 500, True)
    assert reading.to_first(["src/c.py"]) == (listing + 600, False)
    assert reading.recall(["src/a.py", "src/b.py"], 500) == 0.5
    assert reading.recall(["src/a.py", "src/b.py"], 1000) == 1


def test_the_mean_charges_a_reader_that_never_meets_a_right_file_with_all_that_it_read():
    readings = {"q1": Reading(50, ((20.0, "a.py"), (700.0, "b.py"))), "q2": Reading(30, ((20.0, "x.py"), (90.0, "")))}
    row = summarise("hits", [question("q1", "b.py"), question("q2", "c.py")], readings)
    assert (row.to_first, row.never, row.first_page) == (395, 0.5, 40)
    assert row.recall == {500: 0.0, 1000: 0.5, 2000: 0.5}


def test_tokens_of_hits_are_those_of_the_tools_own_text(cases, tmp_path):
    from golden.corpus import make_setup, open_service, principal_of
    from mcp_server.render import render_search
    from mcp_server.results import SearchRequest

    one = tmp_path / "one.jsonl"
    one.write_text(cases.read_text().splitlines()[0] + "\n")
    (run,) = bench(one, tmp_path).runs
    (data,) = [path.parent for path in (tmp_path / "cache").rglob("bench.done")]
    source = next((tmp_path / "corpora").iterdir())
    from ingest.config import SourceConfig
    from mcp_server.config import source_name

    setup = make_setup((SourceConfig(name=source_name(source.name), type="folder", path=source / "src"),), data)
    with open_service(setup) as service:
        page = service.search(SearchRequest("total_of_invoice", limit=5), principal_of(setup))
    economy = run.economies[0]
    assert economy.first_page == pytest.approx(len(render_search(page, "total_of_invoice")) / 4, abs=2)  # age varies
    assert 0 < economy.to_first < economy.first_page
    assert economy.recall[500] == 1


# -- ablation ----------------------------------------------------------------------------------------------------------


def test_every_number_that_weighs_something_is_switched_off_once():
    off = dict(ablations())
    numbers = [f.name for f in fields(RankWeights) if isinstance(getattr(DEFAULT_WEIGHTS, f.name), float)]
    for name in numbers:
        if getattr(DEFAULT_WEIGHTS, name) != neutral(name):
            assert any(getattr(weights, name) == neutral(name) for weights in off.values()), name
    assert off["retriever text"].text == 0
    assert off["retriever text"].vector == DEFAULT_WEIGHTS.vector
    assert set(off["roles"].roles.values()) == {1.0}
    assert off["fields.path"].fields == {**DEFAULT_WEIGHTS.fields, "path": 0.0}
    assert off["saturation"].saturation == 1
    assert all(weights != DEFAULT_WEIGHTS for weights in off.values())


def test_a_feature_of_no_weight_is_not_switched_off():
    assert "definition" not in dict(ablations(replace(DEFAULT_WEIGHTS, definition=0.0)))


def test_what_finds_the_answer_costs_most_when_it_is_off(shop, tmp_path):
    (shop / "src" / "ledger.py").write_text("TOTALS = 1\n" + "print(total_of_invoice)\n" * 30)
    cases = write_cases(tmp_path / "c.jsonl", shop, ("a", "exact-symbol", "total_of_invoice", "src/invoice.py"))
    run = bench(cases, tmp_path, ablate=True).runs[0]
    ablated = {item.name: item.differences[0] for item in run.ablated}
    assert ablated["history_factor"].mean == 0  # there are no commits
    assert all(row.ours == run.groups[0].metrics.ndcg for row in ablated.values())
    assert "loss per bucket" in str(run)
    assert [row.mean for row in ablated.values()] == sorted((row.mean for row in ablated.values()), reverse=True)


# -- blame -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retrieved", "fused", "ranked", "in_context", "stage"),
    [
        (0, 0, 0, False, NOT_RETRIEVED),
        (9, 9, 8, True, "retrieved low"),
        (1, 12, 11, False, "lost in fusion"),
        (1, 1, 15, False, "lost in rerank"),
        (1, 1, 2, False, "lost in context"),
        (1, 1, 1, False, "lost in context"),
        (30, 8, 1, True, ""),
    ],
)
def test_the_stage_that_lost_most_is_blamed(retrieved, fused, ranked, in_context, stage):
    assert blame_file(Blamed("a.py", "", retrieved, fused, ranked, in_context), wanted=1).stage == stage


def test_the_worst_questions_are_shown_with_the_stage_of_each_right_file(shop, tmp_path):
    (shop / "src" / "logo.py").write_bytes(b"\x00\x01binary")
    cases = write_cases(
        tmp_path / "c.jsonl",
        shop,
        ("good", "conceptual", "how is mail sent to an address", "src/mail.py"),
        ("unread", "conceptual", "the logo", "src/logo.py"),
        ("absent", "conceptual", "count the stock", "src/gone.py"),
    )
    run = bench(cases, tmp_path, worst=2).runs[0]
    assert {bad.question.id: bad.blamed[0].stage for bad in run.worst} == {"unread": NOT_INDEXED, "absent": NOT_INDEXED}
    text = str(run)
    assert "worst 2 questions; right files by the stage to blame: not indexed 2" in text
    assert "src/logo.py (retrieved -, fused -, ranked -)" in text


def test_a_file_that_ranks_first_is_not_blamed(cases, tmp_path):
    run = bench(cases, tmp_path, worst=3).runs[0]
    blamed = {bad.question.id: bad.blamed[0] for bad in run.worst}
    assert (blamed["a"].stage, blamed["a"].ranked, blamed["a"].in_context) == ("", 1, True)


# -- the changelog as tickets ------------------------------------------------------------------------------------------


def test_older_changelog_entries_are_tickets_and_those_asked_about_are_not(shop, tmp_path):
    for number, text in ((12, "Parcels are weighed in grams."), (13, "Unicorns are counted, too.")):
        (shop / "news").mkdir(exist_ok=True)
        (shop / "news" / f"{number}.bugfix.rst").write_text(text + "\n")
        (shop / "src" / "stock.py").write_text(f'"""Stock."""\n\n\ndef count_stock(shelves):\n    return {number}\n')
        git(shop, "add", ".")
        git(shop, "commit", "-qm", "Shelves again")
    git(shop, "rm", "-rq", "news")
    git(shop, "commit", "-qm", "Release")
    folder = shop.rename(shop.with_name(f"acme__shop-{git(shop, 'rev-parse', 'HEAD')[:12]}"))
    cases = write_cases(tmp_path / "c.jsonl", folder, ("a", "cross-ticket", "unicorns", "src/stock.py"))
    (line,) = map(json.loads, cases.read_text().splitlines())
    cases.write_text(json.dumps({**line, "root": "", "meta": {"ticket": "13"}}) + "\n")
    result = bench(cases, tmp_path, variants=("whole-history-changelog",))
    assert [path.name for path in (tmp_path / "cache" / f"changelog-{folder.name}").iterdir()] == ["12.bugfix.rst"]
    assert result.runs[0].variant == "whole-history-changelog"


def test_a_repository_without_changelog_fragments_says_so(cases, tmp_path):
    with pytest.raises(BenchError, match="no changelog fragments"):
        bench(cases, tmp_path, variants=("whole-history-changelog",))
