"""Other words for a question, written by the model: the rewriter of retrieval's transforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import prompts
from mcp_server.chat import LLMError, Message
from mcp_server.model_calls import ModelCalls, Prompt
from mcp_server.retrieval.transforms import RewriteFailed, Transform


class ModelRewriter:
    """Asks the model, with the prompt `query_rewrite/<kind>`."""

    def __init__(self, calls: ModelCalls, versions: Mapping[str, int], redact: Callable[[str], str]) -> None:
        self._calls = calls
        self._versions = versions
        self._redact = redact

    def rewrite(self, kind: Transform, question: str) -> Sequence[str]:
        """Return queries, of `hyde` one: a piece of code. Raises RewriteFailed."""
        name = f"query_rewrite/{kind}"
        composition = prompts.compose(name, self._versions[name])
        variables = {"question": self._redact(question)}
        message = Message("user", composition.render(kind, **variables).text)
        try:
            reply = self._calls.ask("transform", Prompt((message,), composition, variables))
        except LLMError as error:
            raise RewriteFailed(str(error)) from error
        text = reply.text.strip().removeprefix("```").removesuffix("```").strip()
        if not text:
            raise RewriteFailed("The model wrote nothing.")
        return [text] if kind == "hyde" else [line.lstrip("-*0123456789.) ") for line in text.splitlines()]
