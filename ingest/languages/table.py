"""One entry per language: grammar, how its files are recognised, how its comments look.

A language with a grammar has `queries/<query>.scm`: the definitions query, whose captures are symbol kinds
(`ingest/languages/kinds.py`). A language without one is recognised and cut by lines.
"""

from __future__ import annotations

from dataclasses import dataclass

SLASHES = ("//", "/*", "*")
HASH = ("#",)
DASHES = ("--",)


@dataclass(frozen=True, slots=True)
class Language:
    """Facts about one language. `prose` names the heading style of text formats."""

    name: str
    extensions: tuple[str, ...] = ()
    filenames: tuple[str, ...] = ()  # lower-case
    interpreters: tuple[str, ...] = ()  # in a shebang line, without version digits
    comments: tuple[str, ...] = ()  # what a comment line starts with
    attributes: tuple[str, ...] = ()  # what a line above a definition that belongs to it starts with, comments apart
    grammar: str = ""  # module of the grammar wheel
    capsule: str = "language"
    query: str = ""
    docs: str = "above"  # above: comment lines | docstring: first string of the body | attribute: @doc | description
    clauses: bool = False  # a definition may consist of several clauses in a row
    flat: bool = False  # names are not qualified by what stands around them
    unscoped: tuple[str, ...] = ()  # ... names of these kinds
    tests: str = ""  # pattern of file names that are tests in this language alone (the common ones: roles.py)
    prose: str = ""  # markdown | rst | asciidoc | text


def _code(name: str, *extensions: str, **facts: object) -> Language:
    """Return a language with a grammar wheel; unless said otherwise wheel and query carry its name."""
    defaults: dict[str, object] = {"grammar": f"tree_sitter_{name}", "query": name, "comments": SLASHES}
    return Language(name, extensions, **{**defaults, **facts})  # type: ignore[arg-type]


def _plain(name: str, *extensions: str, comments: tuple[str, ...] = HASH, **facts: object) -> Language:
    return Language(name, extensions, comments=comments, **facts)  # type: ignore[arg-type]


TYPESCRIPT_WHEEL = "tree_sitter_typescript"

CODE: tuple[Language, ...] = (
    _code("python", "py", "pyi", "pyw", comments=HASH, interpreters=("python", "pypy"), docs="docstring"),
    _code("javascript", "js", "jsx", "mjs", "cjs", interpreters=("node", "nodejs"), attributes=("@",)),
    _code("typescript", "ts", "mts", "cts", grammar=TYPESCRIPT_WHEEL, capsule="language_typescript",
          interpreters=("deno", "ts-node", "bun"), attributes=("@",)),
    _code("tsx", "tsx", grammar=TYPESCRIPT_WHEEL, capsule="language_tsx", query="typescript", attributes=("@",)),
    _code("go", "go"),
    _code("rust", "rs", attributes=("#[",)),
    _code("java", "java", attributes=("@",)),
    # Functions and types of C are global, also where the parser nests them for a macro that it does not know.
    _code("c", "c", "h", unscoped=("function", "declaration", "struct", "enum", "type", "macro")),
    _code("cpp", "cc", "cpp", "cxx", "c++", "hh", "hpp", "hxx", "h++", "ipp", "inl", "tpp", attributes=("[[",)),
    _code("csharp", "cs", "csx", grammar="tree_sitter_c_sharp", attributes=("[",)),
    _code("ruby", "rb", "rake", "gemspec", "ru", "podspec", comments=HASH, interpreters=("ruby",),
          filenames=("rakefile", "gemfile", "guardfile", "capfile", "vagrantfile", "podfile", "fastfile", "brewfile")),
    _code("php", "php", "phtml", "php5", "php7", "phps", capsule="language_php", comments=(*SLASHES, "#"),
          interpreters=("php",), attributes=("#[",)),
    _code("kotlin", "kt", "kts", attributes=("@",), interpreters=("kotlin", "kotlinc")),
    _code("swift", "swift", attributes=("@",), interpreters=("swift",)),
    _code("scala", "scala", "sc", "sbt", attributes=("@",), interpreters=("scala", "scala-cli", "amm"),
          tests=r"(?:Suite|Props|Properties)\.scala$"),
    _code("bash", "sh", "bash", "zsh", "ksh", "bats", comments=HASH,
          interpreters=("sh", "bash", "zsh", "ksh", "dash", "bats"), tests=r"\.bats$",
          filenames=(".bashrc", ".bash_profile", ".profile", ".zshrc", "gradlew", "configure", "pkgbuild", "apkbuild")),
    _code("lua", "lua", "rockspec", comments=(*DASHES, "--[["), interpreters=("lua", "luajit", "resty"),
          filenames=(".luacheckrc", ".busted")),
    _code("elixir", "ex", "exs", comments=HASH, attributes=("@",), interpreters=("elixir",), docs="attribute",
          clauses=True),
    _code("haskell", "hs", "hs-boot", comments=(*DASHES, "{-"), attributes=("{-#",), clauses=True,
          interpreters=("runhaskell", "runghc", "stack", "cabal")),
    _code("zig", "zig"),
)  # fmt: skip

# What these define is keys, sections, selectors and ids: the upper levels only, and at most KEY_LIMIT a file.
CONFIG: tuple[Language, ...] = (
    _code("json", "json", "jsonc", "webmanifest", "ipynb", "har", "geojson", "code-workspace",
          filenames=(".babelrc", ".eslintrc", ".prettierrc", ".jshintrc", ".swcrc", "composer.lock", "flake.lock")),
    _code("yaml", "yaml", "yml", comments=HASH, filenames=(".clang-format", ".clang-tidy", ".clangd", ".yamllint")),
    _code("toml", "toml", comments=HASH, filenames=("pipfile", "cargo.lock", "poetry.lock", "uv.lock", "pdm.lock")),
    _code("hcl", "tf", "tfvars", "hcl", "nomad", comments=("#", *SLASHES), docs="description",
          tests=r"\.tf(?:test|mock)\.hcl$", filenames=(".terraform.lock.hcl",)),
    _code("html", "html", "htm", "xhtml", comments=("<!--",), flat=True),
    _code("css", "css", flat=True),
)  # fmt: skip

PROSE: tuple[Language, ...] = (
    Language("markdown", ("md", "markdown", "mdx", "mdown", "mkd", "qmd", "rmd"), prose="markdown"),
    Language("rst", ("rst", "rest"), prose="rst"),
    Language("asciidoc", ("adoc", "asciidoc", "asc"), prose="asciidoc"),
    Language("text", ("txt", "text"), prose="text", filenames=(
        "readme", "license", "licence", "copying", "notice", "authors", "contributors", "changelog", "changes", "news",
        "todo", "install", "maintainers", "codeowners", "version")),
)  # fmt: skip

WITHOUT_GRAMMAR: tuple[Language, ...] = (
    _plain("groovy", "groovy", "gradle", comments=SLASHES, filenames=("jenkinsfile",)),
    _plain("solidity", "sol", comments=SLASHES),
    _plain("proto", "proto", comments=SLASHES),
    _plain("thrift", "thrift", comments=SLASHES),
    _plain("glsl", "glsl", "vert", "frag", "hlsl", "wgsl", "metal", comments=SLASHES),
    _plain("verilog", "v", "sv", "svh", comments=SLASHES),
    _plain("fsharp", "fs", "fsx", "fsi", comments=SLASHES),
    _plain("scss", "scss", "sass", "less", comments=SLASHES),
    _plain("literate-haskell", "lhs", comments=DASHES),
    _plain("dart", "dart", comments=SLASHES),
    _plain("objc", "m", "mm", comments=SLASHES),
    _plain("cuda", "cu", "cuh", comments=SLASHES),
    _plain("fish", "fish", interpreters=("fish",)),
    _plain("powershell", "ps1", "psm1", "psd1", interpreters=("pwsh",)),
    _plain("batch", "bat", "cmd", comments=("rem", "::")),
    _plain("perl", "pl", "pm", "t", interpreters=("perl",)),
    _plain("r", "r", interpreters=("rscript",)),
    _plain("julia", "jl", interpreters=("julia",)),
    _plain("nix", "nix"),
    _plain("tcl", "tcl", interpreters=("tclsh",)),
    _plain("awk", "awk", interpreters=("awk", "gawk")),
    _plain("crystal", "cr"),
    _plain("nim", "nim"),
    _plain("cython", "pyx", "pxd", "pxi"),
    _plain("starlark", "bzl", "star", filenames=("build", "build.bazel", "workspace", "tiltfile")),
    _plain("make", "mk", "mak", filenames=("makefile", "gnumakefile", "makefile.am", "makefile.in"),
           interpreters=("make",)),
    _plain("cmake", "cmake", filenames=("cmakelists.txt",)),
    _plain("meson", filenames=("meson.build", "meson_options.txt")),
    _plain("dockerfile", "dockerfile", "containerfile", filenames=("dockerfile", "containerfile")),
    _plain("ini", "ini", "cfg", "conf", "properties", "env", "editorconfig", "desktop", "service", comments=("#", ";"),
           filenames=(".editorconfig", ".gitconfig", ".npmrc", ".flake8", ".pylintrc", ".coveragerc", ".env")),
    _plain("ignore", filenames=(".gitignore", ".dockerignore", ".npmignore", ".gitattributes", ".codecairnignore",
                                ".prettierignore", ".eslintignore", ".mailmap")),
    _plain("go-module", filenames=("go.mod", "go.sum", "go.work"), comments=("//",)),
    _plain("json5", "json5", comments=("//",)),
    _plain("zon", "zon", comments=("//",)),
    _plain("graphql", "graphql", "gql"),
    _plain("sql", "sql", "ddl", "psql", "pgsql", "plsql", "pls", "pks", "pkb", "tsql", comments=(*DASHES, "/*")),
    _plain("elm", "elm", comments=DASHES),
    _plain("ada", "adb", "ads", comments=DASHES),
    _plain("vhdl", "vhd", "vhdl", comments=DASHES),
    _plain("erlang", "erl", "hrl", comments=("%",), interpreters=("escript",)),
    _plain("matlab", "mat", comments=("%",)),
    _plain("latex", "tex", "sty", "cls", "bib", comments=("%",)),
    _plain("fortran", "f", "for", "f90", "f95", "f03", "f08", comments=("!",)),
    _plain("pascal", "pas", "dpr", "pp", comments=("//",)),
    _plain("ocaml", "ml", "mli", comments=("(*",), interpreters=("ocaml",)),
    _plain("clojure", "clj", "cljs", "cljc", "edn", comments=(";",)),
    _plain("lisp", "lisp", "lsp", "el", "scm", "ss", "rkt", comments=(";",)),
    _plain("assembly", "s", "asm", "nasm", comments=(";", "#", "//")),
    _plain("vim", "vim", comments=('"',), filenames=(".vimrc",)),
    _plain("visual-basic", "vb", "vbs", "bas", comments=("'",)),
    _plain("vue", "vue", comments=SLASHES),
    _plain("svelte", "svelte", comments=SLASHES),
    _plain("astro", "astro", comments=SLASHES),
    _plain("template", "j2", "jinja", "jinja2", "erb", "haml", "slim", "liquid", "twig", "mustache", "hbs", "ejs",
           "pug", "tmpl", "tpl", comments=("<!--",)),
    _plain("xml", "xml", "xsd", "xsl", "xslt", "svg", "plist", "csproj", "vcxproj", "props", "targets", "resx",
           "xaml", "pom", comments=("<!--",)),
    _plain("diagram", "mmd", "mermaid", "puml", "plantuml", "dot", "drawio", "excalidraw", comments=("%%", "'", "//")),
    _plain("csv", "csv", "tsv", comments=()),
    _plain("diff", "diff", "patch"),
)  # fmt: skip

WITH_GRAMMAR = (*CODE, *CONFIG)
LANGUAGES: dict[str, Language] = {entry.name: entry for entry in (*WITH_GRAMMAR, *PROSE, *WITHOUT_GRAMMAR)}
BY_EXTENSION: dict[str, str] = {ext: entry.name for entry in LANGUAGES.values() for ext in entry.extensions}
BY_FILENAME: dict[str, str] = {name: entry.name for entry in LANGUAGES.values() for name in entry.filenames}
BY_INTERPRETER: dict[str, str] = {name: entry.name for entry in LANGUAGES.values() for name in entry.interpreters}
