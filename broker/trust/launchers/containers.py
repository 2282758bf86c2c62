"""docker, podman and nerdctl run: which image a line names, and what it hands to it.

The image runs in a sandbox of ours, without an engine.  What would open it to the machine is refused by its name, and
what only an engine can give is refused too; values given with `-e` are read and never kept in the line.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launchers.words import Line, program_name
from broker.trust.variables import NAME, refusal

_IGNORED: Final = frozenset(
    {"interactive", "rm", "init", "read-only", "sig-proxy", "no-healthcheck", "quiet", "name", "hostname", "pull",
     "label", "memory", "memory-swap", "cpus", "cpu-shares", "pids-limit", "ulimit", "shm-size", "stop-timeout",
     "stop-signal", "log-driver", "log-opt", "cap-drop", "user", "cidfile", "restart", "tty", "security-opt",
     "network", "net", "ipc", "uts", "pid", "userns", "cgroupns"}
)  # fmt: skip
"""What the sandbox does anyway, or does in its own way; the last of them only where they ask for nothing more."""
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
_USED: Final = frozenset({"env", "volume", "mount", "tmpfs", "workdir", "entrypoint", "platform"})
_ONCE: Final = ("workdir", "entrypoint", "platform")
_SHORT: Final = MappingProxyType(
    {"i": "interactive", "t": "tty", "d": "detach", "P": "publish-all", "q": "quiet", "e": "env", "v": "volume",
     "u": "user", "w": "workdir", "p": "publish", "h": "hostname", "l": "label", "m": "memory", "c": "cpu-shares"}
)  # fmt: skip
_ENGINE_VALUED: Final = frozenset({"-H", "--host", "-c", "--context", "--config", "-l", "--log-level"})
_SOCKET = re.compile(r"(?:docker|podman|containerd|crio|nerdctl|buildkitd)[\w.-]*\.sock")
_HOST: Final = frozenset({"network", "net", "pid", "ipc", "uts", "userns", "cgroupns"})
_OWN: Final = frozenset({"none", "bridge", "default", "private", "shareable", "slirp4netns", "pasta", ""})
"""Networks and namespaces of its own: the sandbox has them, and hosts are granted with --host."""
_ALWAYS: Final = frozenset({"privileged", "cap-add", "device", "volumes-from", "runtime"})
_UNCONFINED = re.compile(r"unconfined|label[=:]disable|no-new-privileges[=:]false|systempaths")
_IMAGE = re.compile(r"[a-z0-9][\w./:-]{0,254}(?:@sha256:[0-9a-f]{64})?", re.IGNORECASE)
_NO_IMAGE: Final = "no image will get these; "
_RESERVED: Final = tuple(map(PurePosixPath, ("/proc", "/dev", "/sys", "/.bulkhead")))


@dataclass(frozen=True, slots=True)
class ContainerRun:
    """A `run` line.  An inherited variable has no value.  `escapes` would hand over the machine.

    `mounts` are folders of this machine and where the image sees them; `scratch` is empty and writable in it.
    """

    image: str
    args: tuple[str, ...]
    env: tuple[tuple[str, str | None], ...]
    mounts: tuple[tuple[str, str], ...]
    scratch: tuple[str, ...]
    escapes: tuple[str, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]
    once: Mapping[str, str]

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
    escapes += [_spoken(name, value) for name, value in given if _escapes(name, value)]
    unknown = [_spoken(name, value) for name, value in given if _beyond(name, value)]
    pairs = [value.partition("=") for name, value in given if name == "env"]
    mounts, scratch, notes = _places(given) if not escapes else ([], [], [])
    return ContainerRun(
        image=rest[0],
        args=rest[1:],
        env=tuple((name, value if equals else None) for name, equals, value in pairs),
        mounts=tuple(mounts),
        scratch=tuple(scratch),
        escapes=tuple(dict.fromkeys(escapes)),
        unknown=tuple(dict.fromkeys(unknown)),
        notes=tuple(notes),
        once={name: _once(given, name) for name in _ONCE},
    )


def parse(line: Line) -> LaunchRequest:
    """The image and what it is given.  The line is kept without the values of its variables.

    Raises:
        LaunchLineError: an option would open the image to the machine, or is nothing a sandbox can give.
    """
    engine = program_name(line.words[0])
    found = read_run(engine, line.words[1:])
    if found.escapes:
        raise LaunchLineError(
            f"the image {found.image!r} is refused: {', '.join(found.escapes)[:300]} would hand it the whole machine",
            hint=_NO_IMAGE + "leave them out if the server does not need them",
        )
    if found.unknown:
        raise LaunchLineError(
            f"the image {found.image!r} is refused: a sandbox has nothing for {', '.join(found.unknown)[:300]}",
            hint="leave it out if the server does not need it; hosts are granted with --host",
        )
    env = dict(line.variables)
    for name, value in found.env:
        if not NAME.fullmatch(name):
            raise LaunchLineError(f"{name[:80]!r} is no name for a variable")
        if reason := refusal(name):
            raise LaunchLineError(f"the variable {name} is refused: {reason}", hint="leave it out of the launch line")
        if value is not None:
            env[name] = value
    return LaunchRequest(
        argv=_without_values(line, found),
        runner=f"{engine} run",
        kind="image",
        requirement=found.image,
        args=found.args,
        bin=found.once["entrypoint"] or None,
        extra=tuple(filter(None, (found.once["platform"],))),
        env=tuple(env.items()),
        paths=tuple(dict.fromkeys(host for host, _ in found.mounts)),
        floating=found.floating,
        warnings=found.notes,
        cwd=found.once["workdir"] or None,
        mounts=found.mounts,
        scratch=found.scratch,
    )


def _without_values(line: Line, found: ContainerRun) -> tuple[str, ...]:
    """`-e NAME=VALUE` as `-e NAME`, which means: from the environment, and there the values are kept."""
    assigned = {f"{name}={value}": name for name, value in found.env if value is not None}
    options = len(line.words) - len(found.args) - 1
    return (*(_named(word, assigned) for word in line.words[:options]), *line.words[options:])


def _named(word: str, assigned: Mapping[str, str]) -> str:
    for pair, name in assigned.items():
        before = word.removesuffix(pair)
        if word.endswith(pair) and (before in {"", "--env="} or _is_cluster(before)):
            return before + name
    return word


def _is_cluster(word: str) -> bool:
    """`-e`, `-ie`, `-e=`: switches and the option for a variable."""
    return bool(re.fullmatch(r"-[itdPq]*e=?", word))


def _places(given: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    mounts, scratch, notes = [], [], []
    for name, value in given:
        if name == "tmpfs":
            scratch.append(_inside(value.partition(":")[0]))
        elif name in {"volume", "mount"}:
            source, target, writable = _volume(value) if name == "volume" else _mount(value)
            if source.startswith("/"):
                mounts.append((_plain(source), target))
                if writable:
                    notes.append(f"the line gives it {source} for writing; it gets that only if you say so (--write)")
            elif not source or re.fullmatch(r"[A-Za-z0-9][\w.-]*", source):
                scratch.append(target)
                notes.append(f"nothing it writes to {target} is kept when it ends")
            else:
                raise LaunchLineError(f"{source[:80]!r} is not an absolute path", hint="give the folder's whole path")
    return mounts, scratch, notes


def _volume(value: str) -> tuple[str, str, bool]:
    parts = value.split(":")
    if len(parts) == 1:
        return "", _inside(parts[0]), True
    if len(parts) > 3:
        raise LaunchLineError(f"the volume {value[:80]!r} is not understood", hint="-v /FOLDER:/INSIDE[:ro]")
    options = parts[2].split(",") if len(parts) == 3 else []
    return parts[0], _inside(parts[1]), "ro" not in options


def _mount(value: str) -> tuple[str, str, bool]:
    fields = {key: found for key, _, found in (each.partition("=") for each in value.split(","))}
    kind = fields.get("type", "volume")
    source = next((fields[key] for key in ("source", "src") if key in fields), "")
    target = next((fields[key] for key in ("target", "dst", "destination") if key in fields), "")
    if kind not in {"bind", "volume", "tmpfs"} or (kind == "bind" and not source):
        raise LaunchLineError(f"the mount {value[:80]!r} is not understood", hint="--mount type=bind,src=/A,dst=/B")
    writable = not any(fields.get(key, "false") in {"", "true", "1"} for key in ("readonly", "ro"))
    return source if kind == "bind" else "", _inside(target), writable


def _inside(path: str) -> str:
    """Where an image may see something: not in the places a sandbox makes itself."""
    plain = PurePosixPath(_plain(path))
    if plain == PurePosixPath("/") or any(plain.is_relative_to(own) for own in _RESERVED):
        raise LaunchLineError(f"{path[:80]!r} is a place the sandbox keeps for itself", hint="mount it elsewhere")
    return str(plain)


def _plain(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/"):
        raise LaunchLineError(f"{path[:80]!r} is not an absolute, plain path", hint="give the folder by its whole path")
    return str(PurePosixPath("/" + path.lstrip("/")))


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


def _once(given: list[tuple[str, str]], name: str) -> str:
    values = [value for each, value in given if each == name]
    if len(values) > 1:
        raise LaunchLineError(f"--{name} is given twice")
    return _plain(values[0]) if values and name == "workdir" else (values or [""])[0]


def _escapes(name: str, value: str) -> bool:
    if name in _ALWAYS:
        return True
    if name in {"volume", "mount"}:
        source = value.partition(":")[0]
        return bool(_SOCKET.search(value)) or source == "/" or bool(re.search(r"(?:source|src)=/(?:,|$)", value))
    if name in _HOST:
        return value == "host" or value.startswith("container:")
    return name == "security-opt" and bool(_UNCONFINED.search(value))


def _beyond(name: str, value: str) -> bool:
    """What is neither an escape nor something a sandbox has."""
    if name in _HOST:
        return value.partition(":")[0] not in _OWN
    return name not in _IGNORED | _USED | _ALWAYS


def _spoken(name: str, value: str) -> str:
    return f"--{name}{'=' if value else ''}{value}"


def _unknown(engine: str, word: str) -> LaunchLineError:
    return LaunchLineError(
        f"{engine} option {word!r} is not understood",
        hint="remove it if the server does not need it; whether it takes the next word is never guessed",
    )


LAUNCHERS: Final[Mapping[str, Callable[[Line], LaunchRequest]]] = MappingProxyType(
    {"docker": parse, "podman": parse, "nerdctl": parse}
)
