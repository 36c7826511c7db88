"""C and C++ where macros hide the structure from the grammar: every symbol stands where its name is, with its owner."""

from __future__ import annotations

import pytest

from ingest.chunking.braces import read_braces
from tests.ingest.chunking.test_definitions import read_symbols

HEADER = """#ifdef __cplusplus
extern "C" {
#endif

#define REQ_FIELDS                     \\
  /* public */                         \\
  void* data;                          \\
  REQ_PRIVATE_FIELDS                   \\

/* The base (of all requests). */
struct req_s {
  REQ_FIELDS
};

typedef enum {
#define XX(code, _) E_ ## code = E__ ## code,
  ERROR_MAP(XX)
#undef XX
  E_PRIVATE
  E_LAST
} error_t;

struct timer_s {
  HANDLE_FIELDS
  /* Don't touch. */
  TIMER_PRIVATE_FIELDS
};

EXTERN int timer_start(timer_t* handle);

typedef enum {
  FS_UNKNOWN = -1,
  FS_OPEN,
  FS_CLOSE
} fs_type;

typedef struct {
  int sec;
  fs_type kind;
} usage_t;

/* fs_type again */
struct fs_s {
  REQ_FIELDS
  fs_type fs_type;
  void* loop;
};

#ifdef __cplusplus
extern "C++" {
inline int start(timer_t* handle) {
  return start(handle, static_cast<mode_t>(0));
}
}

}
#endif
"""
WIDGET = """class Widget : public Base {
  W_OBJECT
  W_PROPERTY(int size READ size)
public:
  Widget();
  int size() const;
private:
  enum Mode { FAST, SLOW };
  Mode mode_;
};

void after();
"""
BRANCHES = """struct parts_s {
  int a;
#ifdef ONE
  struct {
#else
  union {
#endif
  int c;
  } u;
  int d;
};
struct next_s {
  int b;
};

void last(void) {
}
"""
UNEVEN = """void poll(void) {
#ifdef ONE
  if (x)
#else
  for (;;) {
#endif
    go();
#ifndef ONE
  }
#endif
}
"""
LOWER = "struct a_s {\n  int x;\n  fields_of(a)\n  more_of\n};\n"


@pytest.mark.parametrize(
    ("path", "code"), [("a.h", HEADER), ("a.hpp", HEADER), ("a.hpp", WIDGET), ("a.h", BRANCHES), ("a.h", LOWER)]
)
def test_a_symbol_starts_where_its_name_is_or_ends_with_it(path, code):
    lines = code.split("\n")
    for symbol in read_symbols(path, code):
        assert symbol.name in lines[symbol.start_line - 1] or symbol.name in lines[symbol.end_line - 1], symbol


def test_members_of_an_enum_behind_structs_full_of_macros_belong_to_its_name():
    found = {symbol.name: symbol for symbol in read_symbols("a.h", HEADER)}
    assert (found["FS_OPEN"].qualname, found["FS_OPEN"].start_line) == ("fs_type.FS_OPEN", 33)
    assert (found["E_LAST"].qualname, found["E_LAST"].start_line) == ("error_t.E_LAST", 20)
    assert found["sec"].qualname == "usage_t.sec"
    assert found["loop"].qualname == "fs_s.loop"


def test_a_type_is_defined_at_its_typedef_from_its_first_line_to_its_name():
    found = [s for s in read_symbols("a.h", HEADER) if s.qualname in ("fs_type", "req_s", "timer_s", "usage_t")]
    assert [(s.qualname, s.kind, s.start_line, s.end_line, s.signature) for s in found] == [
        ("req_s", "struct", 11, 13, "struct req_s"),
        ("timer_s", "struct", 23, 27, "struct timer_s"),
        ("fs_type", "type", 31, 35, "typedef enum { … } fs_type"),
        ("usage_t", "type", 37, 40, "typedef struct { … } usage_t"),
    ]


def test_macros_that_stand_for_members_of_a_class_hide_none_of_them():
    assert [symbol.qualname for symbol in read_symbols("a.hpp", WIDGET)] == [
        "Widget", "Widget.Widget", "Widget.size", "Widget.Mode", "Widget.Mode.FAST", "Widget.Mode.SLOW",
        "Widget.mode_", "after",
    ]  # fmt: skip


def test_what_the_grammar_cannot_read_ends_at_its_brace():
    found = {symbol.name: symbol for symbol in read_symbols("a.c", BRANCHES)}
    assert (found["parts_s"].end_line, found["next_s"].start_line) == (11, 12)


def test_braces_that_branches_leave_uneven_end_nothing_early():
    (symbol,) = read_symbols("a.c", UNEVEN)
    assert symbol.end_line == 11


def test_a_member_that_the_grammar_joined_with_a_macro_stands_on_its_own_line():
    (symbol,) = [symbol for symbol in read_symbols("a.h", LOWER) if symbol.name == "more_of"]
    assert symbol.start_line == 4


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("BIG_TYPE\nmake(int x)\n{\n  return x;\n}\n@@\n", "make"),  # the type of a function
        ("enum e {\n  ONE_A,\n  ONE_B\n};\nstruct s {\n  SOME_FIELDS\n  int a;\n};\n", "ONE_B"),
        ("TEST_ONE(timer)\n{\n  run();\n}\nstruct s {\n  SOME_FIELDS\n  int a;\n};\n", "timer"),
    ],
)
def test_names_in_capitals_that_are_no_macros_stay(code, names):
    assert names in [symbol.name for symbol in read_symbols("a.c", code)]


@pytest.mark.parametrize(
    "part", [b"{", b"'\\", b'"\\', b"A_B(a\n", b"ABC_DEF (", b"#if x\n{\n", b"#define A \\\n", b"enum {A_B,\n", b"A_B "]
)
def test_a_file_that_no_person_wrote_is_read_in_a_moment(part: bytes) -> None:
    read = read_braces(part * (400_000 // len(part)))  # in a time that grows with its square: minutes
    assert len(read.closings) == 0
