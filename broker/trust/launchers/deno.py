"""deno run: an npm package (`npm:NAME`) or a file of a local project, with the permissions the line names.

The permissions stay in the line; what holds the server is the sandbox.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launchers.npx import npm_request
from broker.trust.launchers.words import Line, file_of_project, read_options

_SWITCHES: Final = frozenset(
    {"-A", "--allow-all", "-q", "--quiet", "--no-prompt", "--no-check", "--cached-only", "--no-remote", "--no-npm"}
)
_PERMISSIONS: Final = frozenset(
    {"-R", "-W", "-N", "-E", "-S", "-I"}
    | {f"--{verb}-{what}" for verb in ("allow", "deny")
       for what in ("read", "write", "net", "env", "sys", "run", "ffi", "import")}
)  # fmt: skip
_LOADS = "it loads code or settings that are not pinned"
_REFUSED: Final = {
    "-c": _LOADS, "--config": _LOADS, "--import-map": _LOADS, "--lock": _LOADS, "--preload": _LOADS, "-r": _LOADS,
    "--reload": _LOADS, "--env-file": _LOADS, "--v8-flags": _LOADS, "--cert": _LOADS, "--location": _LOADS,
    "--inspect": "a debugger could be attached", "--inspect-brk": "a debugger could be attached",
    "--watch": "a changed file is a new pin",
}  # fmt: skip
_NPM = re.compile(r"npm:/?((?:@[^/@]+/)?[^/@]+(?:@[^/]+)?)(?:/(.+))?")


def parse_deno(line: Line) -> LaunchRequest:
    """`deno run [PERMISSION...] npm:PACKAGE|/FILE [ARGUMENT...]`"""
    if line.words[1:2] != ("run",):
        word = line.words[1] if len(line.words) > 1 else ""
        hint = "use `deno run npm:PACKAGE` or `deno run /FILE`"
        raise LaunchLineError(f"deno {word!r} is not a launch that can be pinned", hint=hint)
    options = read_options(
        "deno run", line.words[2:], switches=_SWITCHES, valued={}, refused=_REFUSED, optional=_PERMISSIONS
    )
    module = options.rest[0] if options.rest else ""
    if match := _NPM.fullmatch(module):
        found = npm_request(line, "deno run", match[1], bin=match[2], args=options.rest[1:])
        return replace(found, warnings=("it runs with node, not with deno",))
    if re.match(r"[a-z][a-z0-9+.-]*:", module):
        scheme = module.partition(":")[0]
        raise LaunchLineError(
            f"deno would fetch {scheme}: code at the start, which nobody pinned",
            hint="use an npm: package, or a file of this machine",
        )
    flags = line.words[1 : len(line.words) - len(options.rest)]
    return file_of_project(line, "deno", tuple(flag for flag in flags if flag != "--"), options.rest)


LAUNCHERS: Final[Mapping[str, Callable[[Line], LaunchRequest]]] = MappingProxyType({"deno": parse_deno})
