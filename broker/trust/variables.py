"""Which environment variables a launch line may not set.

The rule: a variable that makes a loader or an interpreter run or fetch other code than the pinned bytes is refused.
"""

import re
from types import MappingProxyType
from typing import Final

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_LOADER = "it makes the system loader run other code"
_INTERPRETER = "it makes the interpreter run other code"
_FETCH = "it changes where packages come from"
_SYSTEM = "it changes which programs and files are used"

_HARMLESS: Final = frozenset(
    {"NODE_ENV", "NODE_NO_WARNINGS", "PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8"}
)  # common in real configurations; none of them loads anything

_EXACT: Final = MappingProxyType({
    "BASH_ENV": _INTERPRETER, "ENV": _INTERPRETER, "ZDOTDIR": _INTERPRETER,
    "PERL5LIB": _INTERPRETER, "PERL5OPT": _INTERPRETER, "RUBYOPT": _INTERPRETER, "RUBYLIB": _INTERPRETER,
    "JAVA_TOOL_OPTIONS": _INTERPRETER, "_JAVA_OPTIONS": _INTERPRETER, "JDK_JAVA_OPTIONS": _INTERPRETER,
    "GCONV_PATH": _LOADER, "LOCPATH": _LOADER, "NLSPATH": _LOADER, "GLIBC_TUNABLES": _LOADER, "LIBPATH": _LOADER,
    "OPENSSL_CONF": _LOADER, "OPENSSL_MODULES": _LOADER, "OPENSSL_ENGINES": _LOADER,
    "PATH": _SYSTEM, "HOME": _SYSTEM, "TMPDIR": _SYSTEM, "IFS": _SYSTEM, "SHELL": _SYSTEM,
})  # fmt: skip

_PREFIXES: Final = (
    ("LD_", _LOADER),
    ("DYLD_", _LOADER),
    ("NODE_", _INTERPRETER),
    ("PYTHON", _INTERPRETER),
    ("NPM_CONFIG_", _FETCH),
    ("UV_", _FETCH),
    ("PIP_", _FETCH),
    ("BULKHEAD_", "it belongs to the broker"),
)


def refusal(name: str) -> str:
    """Why the variable is refused; empty when it is not."""
    folded = name.upper()  # npm reads its own in any case
    if folded in _HARMLESS:
        return ""
    if folded in _EXACT:
        return _EXACT[folded]
    return next((reason for prefix, reason in _PREFIXES if folded.startswith(prefix)), "")
