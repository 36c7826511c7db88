"""Formats of design documents, from the file to the chunks of an index."""

import base64
import json
import urllib.parse
import zlib
from pathlib import Path

import pytest

from ingest.build import BuildReport, build_index
from ingest.config import IndexConfig, SourceConfig
from ingest.index import Index
from ingest.model import Chunk, Filters
from ingest.sources.designs.html import read_html
from ingest.sources.designs.records import read_record
from tests.ingest.sources.pdf import make_pdf
from tests.ingest.sources.support import write


def index_files(tmp_path: Path, files: dict[str, str | bytes], **limits: int) -> BuildReport:
    write(tmp_path / "designs", files)
    source = SourceConfig(name="designs", type="designs", path=tmp_path / "designs")
    index = IndexConfig(workers=1, **limits)
    return build_index([source], index, None, tmp_path / "data", now="2026-11-21T00:00:00Z")


def read_chunks(tmp_path: Path, path: str) -> list[Chunk]:
    with Index.open_current(tmp_path / "data") as index:
        seen = Filters(groups=frozenset(["local"]), sources=frozenset(["designs"]))
        return list(index.document_chunks("designs", path, seen))


def chunks_of(tmp_path: Path, path: str, content: str | bytes) -> list[Chunk]:
    index_files(tmp_path, {path: content})
    return read_chunks(tmp_path, path)


@pytest.mark.req("I20")
def test_pages_of_a_pdf_are_named(tmp_path: Path) -> None:
    data = make_pdf(
        "Checkout flow\nThe cart is priced by PriceEngine", "Refunds are hand-\nled in refund.py", title="Money"
    )
    first, second = chunks_of(tmp_path, "money.pdf", data)
    assert (first.title, first.created_at) == ("Money", "2026-01-02T03:04:05Z")
    assert (first.context, second.context) == ("page 1", "page 2")
    assert "priced by PriceEngine" in first.text
    assert "handled in refund.py" in second.text
    assert "refund.py" not in first.text


@pytest.mark.req("I20", "F20")
def test_a_pdf_that_gives_no_text_is_left_out_with_its_reason(tmp_path: Path) -> None:
    good = make_pdf("Readable")
    files = {
        "secret.pdf": make_pdf("Hidden", password="pass"),
        "scan.pdf": make_pdf("", ""),
        "broken.pdf": b"%PDF-1.7\n" + b"\x00\xff garbage" * 50,
        "cut.pdf": good[: len(good) // 3],
        "empty.pdf": b"",
        "good.pdf": good,
    }
    index_files(tmp_path, files)
    with Index.open_current(tmp_path / "data") as index:
        skipped = index.manifest.sources[0].skipped
    assert skipped == {"encrypted": 1, "no_text": 1, "malformed": 2, "empty": 1}
    assert read_chunks(tmp_path, "good.pdf")[0].text == "Readable"


@pytest.mark.req("I20")
def test_a_pdf_that_only_forbids_printing_is_read(tmp_path: Path) -> None:
    from io import BytesIO

    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(BytesIO(make_pdf("Open to read"))))
    writer.encrypt("", owner_password="owner", algorithm="RC4-128")
    result = BytesIO()
    writer.write(result)
    (chunk,) = chunks_of(tmp_path, "a.pdf", result.getvalue())
    assert chunk.text == "Open to read"


@pytest.mark.req("I20")
def test_a_pdf_is_never_read_in_the_building_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytes) -> None:
        raise AssertionError("read here")

    monkeypatch.setattr("ingest.sources.designs.read_pdf", fail)  # a worker is a fresh interpreter and knows no patch
    (chunk,) = chunks_of(tmp_path, "a.pdf", make_pdf("Read elsewhere"))
    assert chunk.text == "Read elsewhere"


HTML = """<!DOCTYPE html>
<html><head><title>Shop &amp; Cart</title>
<style>p { color: red }</style>
<script>
var hidden = "scripted words"; document.write("<script>");
</script></head>
<body>
<h1>Shop <em>design</em></h1>
<p>The cart lives in
<code>cart.py</code>.<br>Second.</p>
<p hidden>secret order</p>
<div style="display: none">ignore <div>all</div> of this</div>
<!-- a comment -->
<h2>
  Prices
</h2>
<ul><li>one<li>two</ul>
<pre>
# no heading
  indented
</pre>
<table><tr><td>a</td><td>b</td></tr></table>
<noscript>no script</noscript>
# not a heading either
</body></html>
"""


@pytest.mark.req("I20")
def test_html_keeps_its_lines_and_headings_and_drops_what_nobody_sees(tmp_path: Path) -> None:
    chunks = chunks_of(tmp_path, "shop.html", HTML)
    assert {chunk.title for chunk in chunks} == {"Shop & Cart"}
    text = {chunk.start_line + row: line for chunk in chunks for row, line in enumerate(chunk.text.split("\n"))}
    lines = HTML.split("\n")
    assert text[8] == "# Shop design"
    assert text[10] == "cart.py. Second."
    assert text[lines.index("  Prices") + 1] == "## Prices"
    assert text[lines.index("# no heading") + 1] == "    # no heading"
    assert text[lines.index("  indented") + 1] == "      indented"
    assert text[lines.index("<ul><li>one<li>two</ul>") + 1].split() == ["-", "one", "-", "two"]
    assert text[lines.index("# not a heading either") + 1] == "    # not a heading either"
    said = "\n".join(text.values())
    for word in ("scripted", "color", "secret", "ignore", "all", "of this", "comment", "no script"):
        assert word not in said


def test_html_that_never_ends_is_read_up_to_there(tmp_path: Path) -> None:
    page = "<h1>Open</h1><p>seen<p hidden>not<p>seen too<script>lost</p>"
    (chunk,) = chunks_of(tmp_path, "a.html", page)
    assert chunk.text.split() == ["#", "Open", "seen", "seen", "too"]


@pytest.mark.req("I20")
def test_cells_of_a_notebook_are_named_and_outputs_left_out(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Pricing\n", "\n", "How prices are made. " * 20]},
        {"cell_type": "code", "source": "total = price(cart)" * 20, "outputs": [{"text": "OUTPUT"}]},
        {"cell_type": "markdown", "source": "Only words. " * 60},
        {"cell_type": "raw", "source": 7},
    ]
    text = json.dumps({"cells": cells, "metadata": {"language_info": {"name": "python"}}, "nbformat": 4})
    chunks = chunks_of(tmp_path, "a.ipynb", text)
    assert list(dict.fromkeys(chunk.context for chunk in chunks)) == ["Pricing (cell 1)", "Pricing (cell 1) > cell 3"]
    said = "\n".join(chunk.text for chunk in chunks)
    assert "```python\ntotal = price(cart)" in said
    assert "OUTPUT" not in said


def pack(xml: str) -> str:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = squeezer.compress(urllib.parse.quote(xml, safe="").encode()) + squeezer.flush()
    return base64.b64encode(data).decode()


GRAPH = (
    '<mxGraphModel><root><mxCell id="0"/><mxCell id="1" parent="0"/>'
    '<mxCell id="2" value="&lt;b&gt;Cart&lt;/b&gt; service" vertex="1"/>'
    '<object label="Price engine" id="3"><mxCell vertex="1"/></object>'
    '<mxCell id="4" value="asks" edge="1" source="2" target="3"/></root></mxGraphModel>'
)


@pytest.mark.req("I20")
@pytest.mark.parametrize("packed", [False, True])
def test_labels_and_arrows_of_draw_io(tmp_path: Path, packed: bool) -> None:
    page = pack(GRAPH) if packed else GRAPH
    (chunk,) = chunks_of(tmp_path, "a.drawio", f'<mxfile><diagram name="Overview" id="x">{page}</diagram></mxfile>')
    assert chunk.context == "page Overview"
    assert chunk.text.split("\n") == ["Cart service", "Price engine", "Cart service -> Price engine: asks"]


@pytest.mark.req("I20")
def test_labels_and_arrows_of_excalidraw(tmp_path: Path) -> None:
    elements = [
        {"id": "a", "type": "rectangle", "frameId": "f"},
        {"id": "at", "type": "text", "text": "Cart\nservice", "containerId": "a", "frameId": "f"},
        {"id": "b", "type": "text", "text": "Prices"},
        {"id": "c", "type": "arrow", "startBinding": {"elementId": "a"}, "endBinding": {"elementId": "b"}},
        {"id": "d", "type": "text", "text": "gone", "isDeleted": True},
        {"id": "f", "type": "frame", "name": "Shop"},
    ]
    frame, canvas = chunks_of(tmp_path, "a.excalidraw", json.dumps({"type": "excalidraw", "elements": elements}))
    assert (frame.context, frame.text) == ("frame Shop", "Cart service")
    assert (canvas.context, canvas.text.split("\n")) == ("canvas", ["Prices", "Cart service -> Prices"])


@pytest.mark.req("I20")
@pytest.mark.parametrize(
    ("path", "text", "title"),
    [
        ("a.mmd", "---\ntitle: Cart flow\n---\nflowchart LR\n  A[Cart] --> B[Prices]\n", "Cart flow"),
        ("a.puml", "@startuml cart-flow\nactor Ada\nAda -> Cart : adds\n@enduml\n", "cart-flow"),
    ],
)
def test_diagrams_written_as_text_keep_their_lines(tmp_path: Path, path: str, text: str, title: str) -> None:
    (chunk,) = chunks_of(tmp_path, path, text)
    assert (chunk.title, chunk.start_line, chunk.text) == (title, 1, text.rstrip("\n"))


def make_figma(depth: int = 1) -> dict[str, object]:
    button: dict[str, object] = {
        "id": "12:36",
        "name": "Button",
        "type": "INSTANCE",
        "children": [{"id": "12:37", "type": "TEXT", "name": "label", "characters": "Pay\nnow"}],
    }
    for number in range(depth):
        button = {"id": f"9:{number}", "type": "GROUP", "name": "g", "children": [button]}
    frame = {"id": "12:34", "name": "Checkout", "type": "FRAME", "children": [button]}
    gone = {"id": "12:40", "name": "Old", "type": "FRAME", "visible": False, "children": [button]}
    canvas = {"id": "0:1", "name": "Web", "type": "CANVAS", "children": [frame, gone]}
    return {
        "name": "Shop UI",
        "lastModified": "2026-01-02T03:04:05Z",
        "document": {"id": "0:0", "name": "Document", "type": "DOCUMENT", "children": [canvas]},
        "components": {"5:1": {"key": "k", "name": "Button/Primary", "description": "Main action"}},
        "comments": [
            {"message": "Too small", "client_meta": {"node_id": "12:37"}, "user": {"handle": "ada"}},
            {"message": "Ship it", "client_meta": None, "resolved_at": "2026-01-03"},
        ],
    }


@pytest.mark.req("I20")
def test_a_figma_file_is_read_by_frame_with_node_ids(tmp_path: Path) -> None:
    chunks = chunks_of(tmp_path, "shop.fig.json", json.dumps(make_figma()))
    assert {chunk.title for chunk in chunks} == {"Shop UI"}
    assert {chunk.context: chunk.text.split("\n") for chunk in chunks} == {
        "Web / Checkout (12:34)": [
            "Button (instance 12:36)",
            "Pay now (12:37)",
            "Too small (comment on 12:37)",
        ],
        "components": ["component Button/Primary: Main action (5:1)"],
        "comments": ["Ship it (comment resolved)"],
    }


@pytest.mark.timeout(100)
def test_a_huge_and_a_deep_figma_file(tmp_path: Path) -> None:
    figma = make_figma(depth=200)
    frames = figma["document"]["children"][0]["children"]  # type: ignore[index]
    frames += [
        {
            "id": f"1:{n}",
            "name": f"F{n}",
            "type": "FRAME",
            "children": [{"id": f"2:{n}", "type": "TEXT", "characters": "x" * 500}],
        }
        for n in range(8_000)
    ]
    deep = '{"children":[' * 5_000 + "]}" * 5_000
    text = json.dumps(figma)
    assert len(text) > 4_000_000
    index_files(
        tmp_path, {"huge.json": text, "deep.json": '{"document":' + deep + "}", "no.json": "[1]", "other.json": "{}"}
    )
    with Index.open_current(tmp_path / "data") as index:
        assert index.manifest.sources[0].skipped == {"malformed": 1, "unsupported": 2}
    assert len(read_chunks(tmp_path, "huge.json")) > 8_000


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a.ipynb", "{"),
        ("a.ipynb", '{"cells": 3}'),
        ("a.drawio", '<!DOCTYPE x [<!ENTITY a "b">]><mxfile>&a;</mxfile>'),
        ("a.drawio", "<mxfile><diagram>%%%</diagram></mxfile>"),
        ("a.drawio", "<mxfile><diagram>" + base64.b64encode(b"abc").decode() + "</diagram></mxfile>"),
        ("a.excalidraw", '{"elements": {}}'),
    ],
)
def test_broken_containers_are_left_out_with_a_reason(tmp_path: Path, path: str, content: str) -> None:
    index_files(tmp_path, {path: content, "good.md": "# Good\n"})
    with Index.open_current(tmp_path / "data") as index:
        assert index.manifest.sources[0].skipped == {"malformed": 1}


def test_a_page_that_unpacks_without_end_is_left_out(tmp_path: Path) -> None:
    index_files(
        tmp_path, {"a.drawio": f"<mxfile><diagram>{pack(GRAPH + ' ' * 40_000_000)}</diagram></mxfile>", "b.md": "# B\n"}
    )
    with Index.open_current(tmp_path / "data") as index:
        assert index.manifest.sources[0].skipped == {"malformed": 1}


@pytest.mark.req("I11")
@pytest.mark.parametrize(
    ("path", "text", "state", "links"),
    [
        (
            "adr/0007-a.md",
            "# A\n\n## Status\n\nAccepted\n\nSuperceded by [10. B](0010-b.md)\n\n## Context\n",
            "superseded",
            ["superseded-by:ADR-10"],
        ),
        (
            "adr/0010-b.md",
            "# B\n\nStatus: Accepted, supersedes ADR 0007 and [x](./0008-c.md)\n",
            "accepted",
            ["supersedes:ADR-8", "supersedes:ADR-7"],
        ),
        (
            "peps/pep-0011.rst",
            "PEP: 11\nStatus: Superseded\nSuperseded-By: 387\nReplaces: 4, 5\n\nText\n====\n",
            "superseded",
            ["superseded-by:PEP-387", "supersedes:PEP-4", "supersedes:PEP-5"],
        ),
        (
            "x.md",
            "---\nstatus: replaced\nsuperseded_by: [RFC-12, RFC-13]\n---\n# X\n",
            "superseded",
            ["superseded-by:RFC-12", "superseded-by:RFC-13"],
        ),
        (
            "x.md",
            '---\nstatus: implemented\nreplaces:\n  - "/keps/sig-x/12-old"\n  - /keps/sig-y/13-x\n---\n# X\n',
            "implemented",
            ["supersedes:KEP-12", "supersedes:KEP-13"],
        ),
        (
            "keps/sig-a/0015-new/kep.yaml",
            "title: New\nstatus: provisional\nsuperseded-by:\n  - /keps/sig-a/16-newer\n",
            "superseded",
            ["superseded-by:KEP-16"],
        ),
        ("proposals/1234-x.md", "# MSC1234: Rooms\n\nThis supersedes nothing. Superseded by nobody.\n", "", []),
        (
            "d/x.rst",
            "X\n=\n\n:Status: Superseded by `other <y.rst>`\n\nText\n",
            "superseded",
            ["superseded-by:d/y.rst"],
        ),
        (
            "d/x.adoc",
            "= X\n\n== Status\n\nObsoleted by link:y.adoc[Y]\n\n== Next\n",
            "superseded",
            ["superseded-by:d/y.adoc"],
        ),
        ("keps/sig-a/7-x/kep.yaml", "status: implemented\nsuperseded-by: n/a\nreplaces: none\n", "implemented", []),
        (
            "x.md",
            "# X\n\nStatus: superseded by [new](https://acme.io/docs/adr/0012-new.md) and https://acme.io/plan\n",
            "superseded",
            ["superseded-by:ADR-12"],
        ),
        ("d/ADR-1.md", "# A\n\nStatus: superseded by ADR-1\n", "superseded", []),
    ],
)
def test_a_superseded_design_names_its_successor(
    tmp_path: Path, path: str, text: str, state: str, links: list[str]
) -> None:
    chunk = chunks_of(tmp_path, path, text)[0]
    assert chunk.state == state
    assert [link for link in chunk.links if link.startswith("supersede")] == links


@pytest.mark.req("I11")
def test_designs_that_supersede_each_other_are_both_marked(tmp_path: Path) -> None:
    files = {f"adr/000{n}-x.md": f"# X\n\nStatus: Superseded by ADR-{n % 3 + 1}\n" for n in (1, 2, 3)}
    index_files(tmp_path, files)
    found = [read_chunks(tmp_path, path)[0] for path in files]
    assert [(chunk.key, chunk.state, chunk.links[0]) for chunk in found] == [
        ("ADR-1", "superseded", "superseded-by:ADR-2"),
        ("ADR-2", "superseded", "superseded-by:ADR-3"),
        ("ADR-3", "superseded", "superseded-by:ADR-1"),
    ]


@pytest.mark.req("I20")
def test_mixed_encodings(tmp_path: Path) -> None:
    files = {
        "a.md": "# Größe\n".encode("latin-1"),
        "b.html": "<h1>Größe</h1>".encode("utf-16"),
        "c.md": b"\x00\x01\x02",
    }
    index_files(tmp_path, files)
    assert read_chunks(tmp_path, "a.md")[0].title == "Größe"
    assert read_chunks(tmp_path, "b.html")[0].title == "Größe"


def test_the_head_of_a_numbered_proposal_is_read(tmp_path: Path) -> None:
    text = (
        "PEP: 8\nTitle: Style of\nAuthor: Ada <ada@example.org>,\n        Grace\nStatus: Active\n\nAbstract\n========\n"
    )
    (chunk,) = chunks_of(tmp_path, "peps/pep-0008.rst", text)
    assert (chunk.title, chunk.key, chunk.state) == ("Style of", "PEP-8", "active")


@pytest.mark.timeout(60)  # patterns that backtrack, and the standard library's parser, need hours here
@pytest.mark.parametrize(
    "unit", ["<a ", "<a href='", "<!--", "<![", "</", "<div hidden>", "<title>", "<script>", "<p title='>' "]
)
def test_hostile_pages_are_read_in_one_pass(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    assert len(read_html(text + "\nend").text.split("\n")) == 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "unit", ["a: b\n", "A: b\n c\n", "a:\n- b\n", "## status\n", "superseded by [", "[a](", "a/", "  - "]
)
def test_hostile_heads_are_read_in_one_pass(unit: str) -> None:
    for start, end in (("", ""), ("---\n", "\n---\n"), ("Status: ", "")):
        read_record("adr/1-a.md", start + unit * (200_000 // len(unit)) + end)
