"""The model's generator: evidence in, claims out; where it fails, statements are taken from the evidence."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mcp_server.answering.evidence import Evidence
from mcp_server.answering.generate import Generated
from mcp_server.answering.generator import Emit, ExtractiveGenerator, Material
from mcp_server.answering.model_output import (
    ClaimReader,
    Drafter,
    ModelOutput,
    NotReadable,
    clean_parts,
    describe_problems,
    read_output,
    read_whole_claims,
)
from mcp_server.chat import LLMError, Message, Reply
from mcp_server.model_calls import ModelCalls, Prompt, Trace, serialise
from mcp_server.tokens import size_of
from prompts import Composition

QUESTION_SHARE = 0.25  # of the window; a longer question is cut in the prompt
REPAIR_CHARS = 8000  # of the unreadable reply that the model is shown again
TIMEOUT_NOTE = "I could not generate an answer in time; here are the sources."


@dataclass(frozen=True, slots=True)
class Egress:
    """What leaves this machine: redacted once more, fenced by a line that nobody who wrote the evidence can know."""

    redact_question: Callable[[str], str]
    redact_block: Callable[[Evidence], str]
    key: bytes

    def marker(self, evidence: str) -> str:
        """Return the fence of this evidence: the same for the same, so that a provider can cache the prefix."""
        return f"EVIDENCE-{hmac.new(self.key, evidence.encode('utf-8', 'replace'), hashlib.sha256).hexdigest()[:20]}"


class ModelGenerator:
    """Asks a model for claims. `calls`, `trace` and the rest belong to one query."""

    def __init__(self, calls: ModelCalls, composition: Composition, egress: Egress, trace: Trace) -> None:
        self._calls = calls
        self._composition = composition
        self._egress = egress
        self._trace = trace
        self._instead = ExtractiveGenerator()

    def generate(self, material: Material, emit: Emit) -> Generated:
        """Return the model's claims, or extractive ones under the code of what failed."""
        prompt, dropped = self.write_prompt(material)
        reader, drafter = ClaimReader(), Drafter(material.evidence, material.aspects)

        def hear(attempt: int, piece: str) -> None:
            for claim in reader.feed(attempt, piece):
                for draft in drafter.draft(claim):
                    emit(draft)

        self._set_prompt(prompt)
        try:
            schema = json.loads(self._composition.parts["output_schema"].text)
            reply = self._calls.ask("answer", prompt, schema=schema, on_text=hear, dropped=dropped)
            self._trace.set(raw_output=reply.text)
            output = self._read(prompt, reply)
        except LLMError as error:
            return self._fall_back(error.code, material)
        except NotReadable:
            return self._fall_back("parse_failed", material)
        return self._collect(output, reply, Drafter(material.evidence, material.aspects), material)

    def _fall_back(self, code: str, material: Material) -> Generated:
        note = TIMEOUT_NOTE if code == "generation_timeout" else ""
        generated = self._instead.generate(material, lambda draft: None)
        return replace(generated, degraded=(code,), note=note)

    def _collect(self, output: ModelOutput, reply: Reply, drafter: Drafter, material: Material) -> Generated:
        drafts = drafter.draft_all(output.claims)
        open_parts = clean_parts(output.not_covered)
        with self._trace.span("claims") as span:
            span.record(input={"claims": len(output.claims)}, output=describe_problems(drafter.problems))
        spoken = {draft.aspect for draft in drafts} | {drafter.aspect_of(part) for part in open_parts}
        return Generated(
            claims=drafts,
            covered=frozenset(spoken),
            mode="model",
            not_covered=open_parts,
            degraded=() if reply.is_whole else ("generation_truncated",),
        )

    def _read(self, prompt: Prompt, reply: Reply) -> ModelOutput:
        """Return the reply as claims; one that cannot be read is asked for once more. Raises NotReadable, LLMError."""
        if not reply.is_whole:
            whole = read_whole_claims(reply.text)
            if not whole.claims:
                raise NotReadable("it broke off before its first statement was whole")
            return whole
        try:
            return read_output(reply.text)
        except NotReadable as problem:
            return self._repair(prompt, reply, str(problem))

    def _repair(self, prompt: Prompt, reply: Reply, problem: str) -> ModelOutput:
        wanted = self._composition.render("repair", problem=problem).text
        again = prompt.followed_by(Message("assistant", reply.text[:REPAIR_CHARS]), Message("user", wanted))
        try:
            second = self._calls.ask("repair", again, schema=json.loads(self._composition.parts["output_schema"].text))
        except LLMError as error:
            raise NotReadable(f"{problem}; and it could not be asked for again: {error}") from error
        self._trace.set(raw_output=f"{reply.text}\n\n{second.text}")
        return read_output(second.text)

    # -- prompt ------------------------------------------------------------------------------------------------------

    def write_prompt(self, material: Material) -> tuple[Prompt, list[list[object]]]:
        """Return the prompt, and what of the evidence had no room in the model's window: id of the chunk and reason."""
        question = self._fit_question(self._egress.redact_question(material.question))
        blocks = [(block, self._egress.redact_block(block)) for block in material.evidence]
        kept = list(blocks)
        while kept and not self._fits(prompt := self._render([text for _, text in kept], question)):
            kept.pop()
        if not kept:
            prompt = self._render([], question)
        dropped: list[list[object]] = [[block.chunk.id, "window"] for block, _ in blocks[len(kept) :]]
        return prompt, dropped

    def _render(self, texts: Sequence[str], question: str) -> Prompt:
        evidence = "\n\n".join(texts)
        variables = {"marker": self._egress.marker(evidence), "evidence": evidence, "question": question}
        return Prompt(render_messages(self._composition, variables), self._composition, variables)

    def _fits(self, prompt: Prompt) -> bool:
        size = size_of(serialise(prompt.messages).decode("utf-8", "replace"))
        return self._calls.estimator.upper(size) <= self._room

    @property
    def _room(self) -> int:
        return self._calls.config.window_tokens - self._calls.config.max_output_tokens

    def _fit_question(self, question: str) -> str:
        """Return the question, its middle cut out where it is longer than its share of the window."""
        room = self._calls.estimator.bytes_within(int(self._calls.config.window_tokens * QUESTION_SHARE))
        raw = question.encode("utf-8", "replace")
        if len(raw) <= room:
            return question
        half = room // 2
        return f"{raw[:half].decode('utf-8', 'ignore')}\n[...]\n{raw[-half:].decode('utf-8', 'ignore')}"

    def _set_prompt(self, prompt: Prompt) -> None:
        composition = self._composition.prompt
        self._trace.set(
            prompt_id=composition.id,
            prompt_version=f"v{composition.version}",
            prompt_sha256=prompt.sha256,
            prompt_chars=prompt.chars,
        )


def render_messages(composition: Composition, variables: Mapping[str, str]) -> tuple[Message, ...]:
    """Return the messages of a composition; the same variables give the same bytes."""
    return (
        Message("system", composition.render("system").text),
        Message("user", composition.render("context_format", **variables).text),
    )
