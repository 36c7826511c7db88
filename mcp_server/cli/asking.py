"""`search` and `answer`: the tools of the server, in a terminal."""

from __future__ import annotations

from typing import Annotated, Literal, cast, get_args

import typer

from mcp_server.access import local_principal
from mcp_server.cli.common import (
    EXIT_NOTHING,
    EXIT_USAGE,
    CacheOption,
    ConfigOption,
    DataOption,
    DetailedOption,
    GlobOption,
    JsonOption,
    LanguageOption,
    ProductOption,
    RootOption,
    SourcesOption,
    StrictOption,
    TransformOption,
    fail,
    open_service,
    open_setup,
    print_json,
)
from mcp_server.config import TransformSetting
from mcp_server.results import AnswerRequest, SearchRequest


def search(
    query: Annotated[str, typer.Argument(help="Words, a symbol, a path or a ticket key.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=50)] = 8,
    cursor: Annotated[str, typer.Option(help="The next_cursor of the page before.")] = "",
    source: SourcesOption = None,
    product: ProductOption = "",
    path_glob: GlobOption = "",
    language: LanguageOption = "",
    mode: Annotated[str, typer.Option(help="ranked, or all: every occurrence with a true count.")] = "ranked",
    detailed: DetailedOption = False,
    strict: StrictOption = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find where something lives.

    Examples: `codecairn search "how are sessions signed"`, `codecairn search Flask.wsgi_app`,
    `codecairn search retry_limit --mode all`
    """
    from mcp_server.render import render_search, search_to_dict

    if mode not in ("ranked", "all"):
        fail(f"--mode is {mode!r}; it must be ranked or all.", EXIT_USAGE)
    wanted: Literal["ranked", "all"] = "all" if mode == "all" else "ranked"
    setup = open_setup(root, config, data, reads=True)
    request = SearchRequest(query, limit, cursor, tuple(source or ()), product, path_glob, wanted, language)
    with open_service(setup) as service:
        result = service.search(request, local_principal(setup.settings), strict=strict)
    form: Literal["concise", "detailed"] = "detailed" if detailed else "concise"
    text = render_search(result, query, form, setup.settings.server.max_result_chars)
    print_json(search_to_dict(result)) if as_json else print(text)
    if not result.hits:
        raise SystemExit(EXIT_NOTHING)


def answer(
    question: Annotated[str, typer.Argument(help="A question about the indexed sources.")],
    source: SourcesOption = None,
    product: ProductOption = "",
    path_glob: GlobOption = "",
    language: LanguageOption = "",
    detailed: DetailedOption = False,
    strict: StrictOption = None,
    cache: CacheOption = True,
    transform: TransformOption = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question; every statement cites lines, and what is not supported is listed.

    Examples: `codecairn answer "Where is the cookie signed and what is the salt?"`, `codecairn answer --no-cache "..."`
    """
    from mcp_server.render import answer_to_dict, render_answer

    setup = open_setup(root, config, data, reads=True)
    request = AnswerRequest(question, tuple(source or ()), product, path_glob, language)
    with open_service(setup) as service:
        asking, wanted = local_principal(setup.settings), check_transform(transform)
        result = service.answer(request, asking, strict=strict, use_cache=cache, transform=wanted)
    form: Literal["concise", "detailed"] = "detailed" if detailed else "concise"
    text = render_answer(result, form, setup.settings.server.max_result_chars)
    print_json(answer_to_dict(result)) if as_json else print(text)
    if result.abstained:
        raise SystemExit(EXIT_NOTHING)


def check_transform(wanted: str | None) -> TransformSetting | None:
    """Return a transform's name, or fail with the ones that there are."""
    if wanted is not None and wanted not in get_args(TransformSetting):
        fail(f"--transform is {wanted!r}; it must be one of {', '.join(get_args(TransformSetting))}.", EXIT_USAGE)
    return cast("TransformSetting | None", wanted)
