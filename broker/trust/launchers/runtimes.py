"""java -jar and dotnet: a built program of this machine and the runtime that runs it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launchers.words import Line, file_of_project

_JAVA_FLAGS: Final = (
    "-Xmx", "-Xms", "-Xss", "-XX:MaxRAMPercentage=", "-Dfile.encoding=", "-Dspring.ai.mcp.", "-Dspring.main.",
    "-Dlogging.pattern.", "-Dlogging.level.",
)  # fmt: skip
"""Sizes, and settings that reach only the program; an agent, a class path or an argument file is none of these."""


def parse_java(line: Line) -> LaunchRequest:
    """`java [-Xmx...] -jar /FILE.jar [ARGUMENT...]`"""
    flags: list[str] = []
    for word in line.words[1:]:
        if word == "-jar":
            break
        if not word.startswith(_JAVA_FLAGS):
            raise LaunchLineError(f"java option {word!r} is not understood", hint="use `java -jar /FILE.jar`")
        flags.append(word)
    rest = line.words[2 + len(flags) :]
    if rest and not rest[0].endswith(".jar"):
        raise LaunchLineError(f"{rest[0]!r} is not a .jar file", hint="use `java -jar /FILE.jar`")
    return file_of_project(line, "java", (*flags, "-jar"), rest)


def parse_dotnet(line: Line) -> LaunchRequest:
    """`dotnet [exec] /FILE.dll [ARGUMENT...]`"""
    words = line.words[2:] if line.words[1:2] == ("exec",) else line.words[1:]
    if not words or not words[0].endswith(".dll"):
        word = words[0] if words else ""
        raise LaunchLineError(
            f"dotnet {word!r} is not a launch that can be pinned",
            hint="build the project, then use `dotnet /FILE.dll`",
        )
    return file_of_project(line, "dotnet", (), words)


LAUNCHERS: Final[Mapping[str, Callable[[Line], LaunchRequest]]] = MappingProxyType(
    {"java": parse_java, "dotnet": parse_dotnet}
)
