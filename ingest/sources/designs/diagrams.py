"""Diagrams: Mermaid and PlantUML as they are written, draw.io and Excalidraw as their labels and arrows."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from ingest.sources.designs.draft import Draft, UnreadableDesign, lay_out
from ingest.sources.designs.html import read_html
from ingest.sources.designs.notebook import load_object

MAX_PAGE_BYTES = 32_000_000  # of one unpacked draw.io page
TITLE = re.compile(r"^[ \t]*(?:(?:title|@startuml)[ \t]+|title:[ \t]*)\"?(\S[^\n\"]*)", re.MULTILINE)
UNSAFE_XML = re.compile(r"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)


def read_source(text: str) -> Draft:
    """Return a diagram that is written as text: Mermaid, PlantUML."""
    match = TITLE.search(text)
    return Draft(text, match[1].strip() if match else "")


# -- draw.io -----------------------------------------------------------------------------------------------------------


def read_drawio(text: str) -> Draft:
    """Return labels and arrows by page. Raises UnreadableDesign."""
    root = _parse(text)
    pages = root.findall("diagram") if root.tag == "mxfile" else [root]
    body, parts = lay_out((f"page {page.get('name') or number}", _draw(page)) for number, page in enumerate(pages, 1))
    if not parts:
        raise UnreadableDesign("no_text")
    return Draft(body, parts=parts)


def _parse(text: str) -> ElementTree.Element:
    if UNSAFE_XML.search(text):
        raise UnreadableDesign("malformed", "XML with entities of its own")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise UnreadableDesign("malformed", str(error)) from error


def _draw(page: ElementTree.Element) -> str:
    model = page if page.tag == "mxGraphModel" else page.find("mxGraphModel")
    if model is None:
        packed = (page.text or "").strip()
        model = _parse(_unpack(packed)) if packed else page
    labels: dict[str, str] = {}
    arrows: list[tuple[str, str, str]] = []
    for element in model.iter():
        cell = element if element.tag == "mxCell" else element.find("mxCell")
        if cell is None or (element.tag == "mxCell" and not element.get("id")):
            continue  # the cell inside of an object: the object has the label
        number = element.get("id", "")
        label = _label(element.get("label") or element.get("value") or "")
        if cell.get("edge"):
            arrows.append((cell.get("source", ""), cell.get("target", ""), label))
        elif label:
            labels[number] = label
    return "\n".join((*labels.values(), *describe_arrows(arrows, labels)))


def _unpack(packed: str) -> str:
    """Return the XML of a compressed page: base64 of raw deflate of percent-encoded text."""
    try:
        inflater = zlib.decompressobj(-15)
        data = inflater.decompress(base64.b64decode(packed), MAX_PAGE_BYTES)
    except (ValueError, zlib.error) as error:
        raise UnreadableDesign("malformed", f"compressed page: {error}") from error
    if inflater.unconsumed_tail:
        raise UnreadableDesign("malformed", f"a page of more than {MAX_PAGE_BYTES} bytes")
    return unquote(data.decode("utf-8", "replace"))


def _label(value: str) -> str:
    return " ".join((read_html(value).text if "<" in value or "&" in value else value).split())


def describe_arrows(arrows: Iterable[tuple[str, str, str]], labels: Mapping[str, str]) -> Iterator[str]:
    """Yield `a -> b: label` for the arrows that join something named or have a label."""
    for source, target, label in arrows:
        ends = [labels.get(source, ""), labels.get(target, "")]
        if any(ends):
            yield " -> ".join(end or "?" for end in ends) + (f": {label}" if label else "")
        elif label:
            yield label


# -- Excalidraw --------------------------------------------------------------------------------------------------------


def read_excalidraw(text: str) -> Draft:
    """Return labels and arrows by frame. Raises UnreadableDesign."""
    elements = load_object(text).get("elements")
    if not isinstance(elements, list):
        raise UnreadableDesign("malformed", "no elements")
    live = [item for item in elements if isinstance(item, dict) and not item.get("isDeleted")]
    names = {item.get("id"): f"frame {item.get('name')}" for item in live if item.get("type") == "frame"}
    labels: dict[str, str] = {}
    for item in live:
        said = item.get("text")
        if item.get("type") == "text" and isinstance(said, str):
            # A text inside of a box or on an arrow is that element's label.
            labels[str(item.get("containerId") or item.get("id"))] = " ".join(said.split())
    sections: dict[str, list[str]] = {}
    for item in live:
        for line in _describe(item, labels):
            sections.setdefault(names.get(item.get("frameId"), "canvas"), []).append(line)
    body, parts = lay_out((anchor, "\n".join(lines)) for anchor, lines in sections.items())
    if not parts:
        raise UnreadableDesign("no_text")
    return Draft(body, parts=parts)


def _describe(item: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[str]:
    if item.get("type") == "arrow":
        ends = [_bound(item.get("startBinding")), _bound(item.get("endBinding"))]
        yield from describe_arrows([(ends[0], ends[1], labels.get(str(item.get("id")), ""))], labels)
    elif item.get("type") != "text" or not item.get("containerId"):
        said = labels.get(str(item.get("id")))
        yield from (said,) if said else ()


def _bound(binding: Any) -> str:  # noqa: ANN401 - JSON
    return str(binding.get("elementId", "")) if isinstance(binding, dict) else ""


READERS: Mapping[str, Callable[[str], Draft]] = {
    **dict.fromkeys((".mmd", ".mermaid", ".puml", ".plantuml", ".pu", ".iuml", ".wsd"), read_source),
    **dict.fromkeys((".drawio", ".dio", ".drawio.xml"), read_drawio),
    ".excalidraw": read_excalidraw,
}
