"""`mcpb run FILE`: an MCPB bundle, which is what `bulkhead add NAME --bundle FILE` registers."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launchers.words import Line, existing_file


def parse_mcpb(line: Line) -> LaunchRequest:
    """A bundle's file by its absolute path; its manifest says the rest, so no more words are taken."""
    match line.words[1:]:
        case ("run", file) if file.endswith((".mcpb", ".dxt")):
            existing_file(line, file)
        case ("run", file, *_):
            raise LaunchLineError(f"{file!r} is not one bundle file", hint="use `mcpb run /FILE.mcpb`")
        case _:
            raise LaunchLineError("mcpb is given no bundle to run", hint="use `mcpb run /FILE.mcpb`")
    return LaunchRequest(argv=line.argv, runner="mcpb", kind="bundle", requirement=file, env=line.variables)


LAUNCHERS: Final[Mapping[str, Callable[[Line], LaunchRequest]]] = MappingProxyType({"mcpb": parse_mcpb})
