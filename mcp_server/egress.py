"""The last step before a result leaves: nobody gets what they may not see, and no text what it must not hold.

What is indexed was redacted already. It is redacted again here, because rules and policies change faster than indexes,
and because a model may write what no index holds. Retrieved prose loses what a client would load or open by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

from ingest.model import SourceInfo
from ingest.redact import redact
from ingest.untrusted import clean_text, defuse_links
from mcp_server.errors import Withheld
from mcp_server.results import AnswerEvent, AnswerResult, Citation, Claim, Hit, MissingName, SearchResult, Ungrounded

CODE = "code"
KEPT_TEXTS = 512  # that were looked through already: the same chunks come up again and again


class Sourced(Protocol):
    """What comes from a source."""

    @property
    def source(self) -> str:
        """Name of the source."""
        ...


@lru_cache(maxsize=KEPT_TEXTS)
def release(text: str, personal: bool, defuse: bool) -> str:
    """Return a text as it may leave: no secret, personal data as the policy says, nothing invisible, no live links."""
    safe = redact(clean_text(text), personal=personal).text
    return defuse_links(safe) if defuse else safe


class Outlet:
    """Lets results out to one principal. `visible`: the sources that the principal may see."""

    def __init__(self, visible: Iterable[SourceInfo]) -> None:
        self._visible = {info.name: info for info in visible}

    def search(self, result: SearchResult) -> SearchResult:
        """Return a page as it may leave. Raises Withheld."""
        return replace(
            result,
            hits=tuple(map(self.hit, result.hits)),
            not_found=tuple(map(self._missing, result.not_found)),
            notes=tuple(release(note, False, False) for note in result.notes),
        )

    def hit(self, hit: Hit) -> Hit:
        """Return a hit as it may leave. Raises Withheld."""
        info = self._source_of(hit)
        defuse = info.kind != CODE and info.trust != "high"

        def safe(text: str) -> str:
            return release(text, info.masks_personal, defuse)

        return replace(
            hit,
            path=hit.path and release(hit.path, False, False),
            key=hit.key and release(hit.key, False, False),
            title=safe(hit.title),
            text=safe(hit.text),
            context=safe(hit.context),
            why=tuple(map(safe, hit.why)),
            linked=tuple(map(safe, hit.linked)),
        )

    def answer(self, result: AnswerResult) -> AnswerResult:
        """Return an answer as it may leave; personal data is masked if one of its sources says so. Raises Withheld."""
        personal = self._masks_personal(result.citations)
        unknown = self._masks_unknown
        whole = personal or (unknown and any(not claim.citations for claim in result.claims))
        return replace(
            result,
            answer=release(result.answer, whole, True),
            claims=tuple(self._claim(claim, whole) for claim in result.claims),
            ungrounded=tuple(self._ungrounded(item, personal or unknown) for item in result.ungrounded),
            not_found=tuple(map(self._missing, result.not_found)),
            nearest=tuple(map(self.hit, result.nearest)),
        )

    def event(self, event: AnswerEvent) -> AnswerEvent:
        """Return what is told of an answer in the making as it may leave. Raises Withheld."""
        personal = self._masks_personal(event.citations) if event.citations else self._masks_unknown
        claim = event.claim and self._claim(event.claim, personal)
        return replace(event, claim=claim, places=tuple(release(place, False, False) for place in event.places))

    def document(self, source: str, text: str) -> str:
        """Return the text of a document as it may leave. Raises Withheld."""
        info = self._known(source)
        return release(text, info.masks_personal, info.kind != CODE and info.trust != "high")

    @property
    def _masks_unknown(self) -> bool:
        """Tell whether personal data is masked in what cites nothing, so that any source may be its origin."""
        return any(info.masks_personal for info in self._visible.values())

    def _masks_personal(self, citations: Iterable[Citation]) -> bool:
        return any([self._source_of(citation).masks_personal for citation in citations])  # a list: all are asserted

    def _source_of(self, item: Sourced) -> SourceInfo:
        return self._known(item.source)

    def _known(self, source: str) -> SourceInfo:
        info = self._visible.get(source)
        if info is None:
            raise Withheld(
                "The result held something that you may not see, so none is given. This is a fault: report it."
            )
        return info

    @staticmethod
    def _claim(claim: Claim, personal: bool) -> Claim:
        return replace(claim, text=release(claim.text, personal, True), reason=release(claim.reason, personal, True))

    @staticmethod
    def _ungrounded(item: Ungrounded, personal: bool) -> Ungrounded:
        nearest = tuple(release(name, personal, True) for name in item.nearest)
        text, reason = release(item.text, personal, True), release(item.reason, personal, True)
        return replace(item, text=text, reason=reason, nearest=nearest)

    @staticmethod
    def _missing(item: MissingName) -> MissingName:
        nearest = tuple(release(name, False, False) for name in item.nearest)
        return replace(item, name=release(item.name, False, False), nearest=nearest)
