"""Tables of the documentation that are made from the code, so that they cannot lag behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ingest.config import SourceConfig
from mcp_server.config import PriceConfig, Settings

BEGIN, END = "<!-- generated: {name} -->", "<!-- end of {name} -->"


def settings_table() -> str:
    """Return every setting with type and default."""
    rows = ["| key | type | default |", "|---|---|---|"]
    rows += [f"| `{key}` | {kind} | {default} |" for key, kind, default in settings_rows(Settings)]
    rows += [f"| `[[llm.price]] {key}` | {kind} | {default} |" for key, kind, default in settings_rows(PriceConfig)]
    rows += [f"| `[[source]] {key}` | {kind} | {default} |" for key, kind, default in settings_rows(SourceConfig)]
    return "\n".join(rows)


def settings_rows(model: type[BaseModel], at: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield key, type and default of a settings model, tables in depth."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_rows(field.annotation, f"{at}{name}.")
        elif name not in ("source", "price"):
            default = "required" if field.is_required() else f"`{json.dumps(plain(field.default))}`"
            yield f"{at}{name}", describe_type(field.annotation), default


def describe_type(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    """Return a type as users write it."""
    text = getattr(annotation, "__name__", None) if isinstance(annotation, type) else None
    if text and not hasattr(annotation, "__args__"):
        return {
            "str": "text",
            "int": "whole number",
            "float": "number",
            "bool": "true or false",
            "Path": "path",
            "Decimal": "number",
        }[text]
    arguments = getattr(annotation, "__args__", ())
    if getattr(annotation, "__origin__", None) is dict:
        return "table of texts"
    if Decimal in (annotation, *arguments):
        return "number"
    if arguments and all(isinstance(argument, str) for argument in arguments):
        return ", ".join(f"`{argument}`" for argument in arguments)
    return "list of lists of texts" if any(hasattr(argument, "__args__") for argument in arguments) else "list of texts"


def plain(value: Any) -> Any:  # noqa: ANN401 - any default
    """Return a default as a JSON value."""
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


def tool_tables(tools: list[dict[str, Any]]) -> str:
    """Return each tool's description and arguments, from what `tools/list` says."""
    parts = []
    for tool in tools:
        required = tool["inputSchema"].get("required", [])
        rows = ["| argument | type | default |", "|---|---|---|"]
        for name, schema in tool["inputSchema"]["properties"].items():
            default = "required" if name in required else f"`{json.dumps(schema.get('default'))}`"
            rows.append(f"| `{name}` | {describe_schema(schema)} | {default} |")
        parts.append(f"### {tool['name']}\n\n{tool['description']}\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def describe_schema(schema: dict[str, Any]) -> str:
    """Return a JSON schema in a few words."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    bounds = [
        f"{schema[low]} to {schema[high]:,}" + (" characters" if "Length" in low else "")
        for low, high in (("minimum", "maximum"), ("minLength", "maxLength"))
        if low in schema and high in schema
    ]
    kind = {"string": "text", "integer": "whole number", "array": "list of texts"}[schema["type"]]
    return ", ".join((kind, *bounds, *([schema["description"]] if "description" in schema else [])))


def replace_block(text: str, name: str, content: str) -> str:
    """Return a document with the block of that name replaced."""
    begin, end = BEGIN.format(name=name), END.format(name=name)
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"
