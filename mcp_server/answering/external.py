"""Names that belong to others: the standard library, builtins, the methods of builtin types."""

from __future__ import annotations

import builtins
import re
import sys

BUILTIN_TYPES = (str, bytes, bytearray, dict, list, set, frozenset, tuple, int, float, object, type, Exception)
BUILTINS = frozenset(dir(builtins)) | {name for kind in BUILTIN_TYPES for name in dir(kind)}
# Roots of qualified names in other languages than Python.
ROOTS = sys.stdlib_module_names | frozenset(
    """std fmt console process Object Array JSON Math Promise Map Set window document System java javax kotlin scala
    libc boost chrono serde tokio Symbol Reflect Number String Buffer""".split()
)
SPECIAL = frozenset(
    """__init__ __name__ __main__ __file__ __all__ __version__ __slots__ __dict__ __doc__ __module__ __path__
    __package__ __enter__ __exit__ __aenter__ __aexit__ __call__ __getattr__ __getitem__ __setitem__
    __delitem__ __contains__ __iter__ __next__ __aiter__ __anext__ __len__ __bool__ __await__ __set_name__
    __get__ __set__ __delete__ __missing__ __future__ __cause__ __context__ __traceback__ __suppress_context__
    __notes__ __post_init__ __annotations__ __wrapped__ __del__ __qualname__ __globals__ __closure__ __code__
    __defaults__ __kwdefaults__ __mro__ __bases__ __origin__ __args__ __class_getitem__ __copy__ __deepcopy__
    __getstate__ __setstate__ __index__ __import__ __loader__ __spec__""".split()
)


def is_external(name: str) -> bool:
    """Tell whether a name is a builtin, a dunder of the language, or begins with a module of a standard library."""
    parts = re.split(r"\.|::|->|#", name)
    if len(parts) == 1:
        return name in SPECIAL or name in BUILTINS or name in sys.stdlib_module_names
    return parts[0] in ROOTS or (parts[0] in BUILTINS and parts[-1] in BUILTINS | SPECIAL)
