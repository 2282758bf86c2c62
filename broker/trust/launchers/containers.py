"""docker, podman and nerdctl run: which image a line names, and what it hands to it.

Images cannot be run in a sandbox of ours yet, so every line ends in a refusal; it names the image, and whatever on the
line would open the container to the whole machine.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Never

from broker.errors import LaunchLineError
from broker.trust.launchers.words import Line, program_name

_SWITCHES: Final = frozenset(
    {"interactive", "tty", "rm", "detach", "init", "read-only", "publish-all", "sig-proxy", "no-healthcheck", "quiet",
     "privileged", "oom-kill-disable"}
)  # fmt: skip
_VALUED: Final = frozenset(
    {"env", "env-file", "volume", "mount", "name", "hostname", "user", "workdir", "entrypoint", "publish", "expose",
     "network", "net", "network-alias", "add-host", "dns", "pull", "platform", "label", "memory", "memory-swap",
     "cpus", "cpu-shares", "pids-limit", "ulimit", "shm-size", "tmpfs", "restart", "stop-timeout", "stop-signal",
     "log-driver", "log-opt", "cap-add", "cap-drop", "device", "security-opt", "userns", "pid", "ipc", "uts",
     "cgroupns", "volumes-from", "group-add", "gpus", "runtime", "sysctl", "cidfile", "ip", "mac-address"}
)  # fmt: skip
_SHORT: Final = MappingProxyType(
    {"i": "interactive", "t": "tty", "d": "detach", "P": "publish-all", "q": "quiet", "e": "env", "v": "volume",
     "u": "user", "w": "workdir", "p": "publish", "h": "hostname", "l": "label", "m": "memory", "c": "cpu-shares"}
)  # fmt: skip
_ENGINE_VALUED: Final = frozenset({"-H", "--host", "-c", "--context", "--config", "-l", "--log-level"})
_SOCKET = re.compile(r"(?:docker|podman|containerd|crio|nerdctl|buildkitd)[\w.-]*\.sock")
_HOST: Final = frozenset({"network", "net", "pid", "ipc", "uts", "userns", "cgroupns"})
_ALWAYS: Final = frozenset({"privileged", "cap-add", "device", "volumes-from", "runtime"})
_UNCONFINED = re.compile(r"unconfined|label[=:]disable|no-new-privileges[=:]false|systempaths")
_IMAGE = re.compile(r"[a-z0-9][\w./:-]{0,254}(?:@sha256:[0-9a-f]{64})?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ContainerRun:
    """A `run` line.  `env` holds names; an inherited one has an empty value.  `escapes` would hand over the machine."""

    image: str
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    mounts: tuple[str, ...]
    escapes: tuple[str, ...]

    @property
    def floating(self) -> bool:
        return "@sha256:" not in self.image


def read_run(engine: str, words: tuple[str, ...]) -> ContainerRun:
    """Read what follows the engine's name.

    Raises:
        LaunchLineError: it is no `run`, or an option is not understood.
    """
    rest, escapes = _engine_options(engine, words)
    if rest[:1] == ("container",):
        rest = rest[1:]
    if rest[:1] != ("run",):
        word = rest[0] if rest else ""
        raise LaunchLineError(
            f"{engine} {word!r} is not a launch that can be pinned", hint=f"only `{engine} run IMAGE`"
        )
    given, rest = _options(engine, rest[1:])
    if not rest or not _IMAGE.fullmatch(rest[0]):
        raise LaunchLineError(f"{engine} run is given no image", hint=f"for example: {engine} run -i --rm IMAGE")
    pairs = [value.partition("=") for name, value in given if name == "env"]
    escapes += [f"--{name}{'=' if value else ''}{value}" for name, value in given if _escapes(name, value)]
    return ContainerRun(
        image=rest[0],
        args=rest[1:],
        env=tuple((name, value) for name, _, value in pairs),
        mounts=tuple(value for name, value in given if name in {"volume", "mount"}),
        escapes=tuple(dict.fromkeys(escapes)),
    )


def refuse(line: Line) -> Never:
    """Say which image the line names and what stands against it.

    Raises:
        LaunchLineError: always.
    """
    engine = program_name(line.words[0])
    found = read_run(engine, line.words[1:])
    sentence = f"the image {found.image!r} cannot be run in a sandbox yet"
    hint = "use the server's npm or Python package, if it has one"
    if found.escapes:
        sentence += f", and {', '.join(found.escapes)[:300]} would hand it the whole machine"
        hint = "no image will get these; " + hint
    raise LaunchLineError(sentence, hint=hint)


def _engine_options(engine: str, words: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    escapes, index = [], 0
    while index < len(words) and words[index].startswith("-"):
        name, equals, _ = words[index].partition("=")
        if name not in _ENGINE_VALUED:
            raise _unknown(engine, words[index])
        if name in {"-H", "--host", "-c", "--context"}:
            escapes.append(name)
        index += 1 if equals else 2
    return words[index:], escapes


def _options(engine: str, words: tuple[str, ...]) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    given: list[tuple[str, str]] = []
    index = 0
    while index < len(words) and words[index].startswith("-"):
        word = words[index]
        index += 1
        if word == "--":
            break
        name, value = _long(engine, word, given) if word.startswith("--") else _cluster(engine, word, given)
        if not name:
            continue
        if value is None:
            if index == len(words):
                raise LaunchLineError(f"{engine} run option {word!r} lacks its value")
            value = words[index]
            index += 1
        given.append((name, value))
    return given, words[index:]


def _long(engine: str, word: str, given: list[tuple[str, str]]) -> tuple[str, str | None]:
    """The name of an option that takes a value, and the value if it stands in the same word; a switch is noted."""
    name, equals, value = word[2:].partition("=")
    if name in _SWITCHES and (not equals or value in {"true", "false"}):
        if value != "false":
            given.append((name, ""))
        return "", None
    if name not in _VALUED:
        raise _unknown(engine, word)
    return name, value if equals else None


def _cluster(engine: str, word: str, given: list[tuple[str, str]]) -> tuple[str, str | None]:
    """`-it`, `-ie NAME`, `-eNAME=value`: switches, then at most one option with a value."""
    for at, letter in enumerate(word[1:], start=1):
        name = _SHORT.get(letter)
        if name is None:
            raise _unknown(engine, word)
        if name in _VALUED:
            value = word[at + 1 :].removeprefix("=")
            return name, value or None
        given.append((name, ""))
    if word == "-":
        raise _unknown(engine, word)
    return "", None


def _escapes(name: str, value: str) -> bool:
    if name in _ALWAYS:
        return True
    if name in {"volume", "mount"}:
        source = value.partition(":")[0]
        return bool(_SOCKET.search(value)) or source == "/" or bool(re.search(r"(?:source|src)=/(?:,|$)", value))
    if name in _HOST:
        return value == "host" or value.startswith("container:")
    return name == "security-opt" and bool(_UNCONFINED.search(value))


def _unknown(engine: str, word: str) -> LaunchLineError:
    return LaunchLineError(
        f"{engine} option {word!r} is not understood",
        hint="remove it if the server does not need it; whether it takes the next word is never guessed",
    )


LAUNCHERS: Final[Mapping[str, Callable[[Line], Never]]] = MappingProxyType(
    {"docker": refuse, "podman": refuse, "nerdctl": refuse}
)
