"""How much of the machine one sandbox may use: the names of the limits, how they are written, and what over one means.

A server over a limit is ended with a sentence that names the limit and how to raise it.  Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from broker.errors import ConfigError
from broker.model import Limits

Unit: TypeAlias = Literal["bytes", "count", "seconds"]
SIZE: Final = re.compile(r"([0-9]{1,15})([KMGT]?)(?:i?B)?", re.IGNORECASE)
SHIFTS: Final = MappingProxyType({"": 0, "K": 10, "M": 20, "G": 30, "T": 40})
HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class LimitKind:
    """One limit: its field of `Limits`, its name for people, and the range that makes sense."""

    field: str
    flag: str
    unit: Unit
    least: int
    most: int
    meaning: str


KINDS: Final[Mapping[str, LimitKind]] = MappingProxyType(
    {
        kind.flag: kind
        for kind in (
            LimitKind("memory", "memory", "bytes", 16 << 20, 1 << 40, "memory of all its processes together"),
            LimitKind("processor", "processor", "seconds", 1, 3600 * 1024, "seconds of processor time per hour"),
            LimitKind("processes", "processes", "count", 8, 32_768, "processes and threads"),
            LimitKind("open_files", "open-files", "count", 32, 1 << 20, "open files of each process"),
            LimitKind("file_size", "file-size", "bytes", 1 << 20, 1 << 42, "size of one file it writes"),
            LimitKind("home_size", "home-size", "bytes", 1 << 20, 1 << 36, "its home in memory, gone with the link"),
            LimitKind("tmp_size", "tmp-size", "bytes", 1 << 20, 1 << 36, "its /tmp, in memory"),
            LimitKind("shm_size", "shm-size", "bytes", 1 << 20, 1 << 36, "its /dev/shm, in memory"),
            LimitKind("state_size", "state-size", "bytes", 1 << 20, 1 << 42, "what it may keep on the disk"),
            LimitKind("connections", "connections", "count", 4, 4096, "connections at once"),
            LimitKind("bytes_out", "bytes-out", "bytes", 1 << 16, 1 << 42, "what a link sends out in all"),
            LimitKind("message", "message-size", "bytes", 64 << 10, 64 << 20, "one message, either way"),
            LimitKind("idle", "idle", "seconds", 0, 31 * 86_400, "seconds unused until it rests (0: as labelled)"),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Use:
    """What a sandbox uses at one moment; `processor` is the seconds it has used since it started."""

    memory: int = 0
    processes: int = 0
    processor: float = 0.0
    state: int = 0
    out_of_memory: bool = False
    """The kernel had to end one of its processes for want of memory."""


@dataclass(frozen=True, slots=True)
class Overrun:
    """The limit that was passed, and the sentence about it."""

    flag: str
    text: str


class Meter:
    """Holds what is used against the limits.  Processor time may be saved up for an hour, as in a leaking bucket."""

    def __init__(self, server: str, limits: Limits) -> None:
        self._server = server
        self._limits = limits
        self._level = self._processor = self._at = 0.0

    def over(self, use: Use, now: float) -> Overrun | None:
        """The limit that `use` passes at `now` (seconds since the start), if there is one."""
        spent, passed = max(0.0, use.processor - self._processor), max(0.0, now - self._at)
        self._level = max(0.0, self._level - passed * self._limits.processor / HOUR) + spent
        self._processor, self._at = max(use.processor, self._processor), now
        limits = self._limits
        if use.memory > limits.memory or use.out_of_memory:
            return overrun(self._server, limits, "memory")
        # The kernel refuses the next one already; a server that stands at this wall does not work any more.
        if use.processes >= limits.processes:
            return overrun(self._server, limits, "processes")
        if use.state > limits.state_size:
            return overrun(self._server, limits, "state-size")
        return overrun(self._server, limits, "processor") if self._level > limits.processor else None


def overrun(server: str, limits: Limits, flag: str) -> Overrun:
    """The sentence about a passed limit."""
    kind = KINDS[flag]
    allowed = written(kind, getattr(limits, kind.field))
    return Overrun(
        flag,
        f"it was over its limit of {allowed} ({kind.meaning}) and was ended; "
        f"if it needs more: bulkhead limits {server} --{flag} {more(limits, kind)}",
    )


def refusal(server: str, limits: Limits, flag: str) -> str:
    """The sentence about a limit that refuses more and ends nothing."""
    kind = KINDS[flag]
    allowed = written(kind, getattr(limits, kind.field))
    raised = f"bulkhead limits {server} --{flag} {more(limits, kind)}"
    return f"it is at its limit of {allowed} ({kind.meaning}); if it needs more: {raised}"


def changed(limits: Limits, texts: Mapping[str, str]) -> Limits:
    """`limits` with those a person wrote, by flag.

    Raises:
        ConfigError: there is no such limit, or the value is none, too small or too large.
    """
    values: dict[str, int] = {}
    for flag, text in texts.items():
        if flag not in KINDS:
            raise ConfigError(f"there is no limit {flag!r:.40}", hint=f"limits are {', '.join(KINDS)}")
        values[KINDS[flag].field] = parsed(KINDS[flag], text)
    return replace(limits, **values)


def parsed(kind: LimitKind, text: str) -> int:
    """The number that `text` means.  Raises ConfigError."""
    found = SIZE.fullmatch(text.strip())
    if found is None or (found[2] and kind.unit != "bytes"):
        form = "a size such as 512M or 2G" if kind.unit == "bytes" else "a whole number"
        raise ConfigError(f"{text!r:.40} is not a limit of {kind.flag}", hint=f"write {form}")
    value = int(found[1]) << SHIFTS[found[2].upper()]
    if not kind.least <= value <= kind.most:
        least, most = written(kind, kind.least), written(kind, kind.most)
        raise ConfigError(f"the limit {kind.flag} cannot be {text[:40]}", hint=f"between {least} and {most}")
    return value


def written(kind: LimitKind, value: int) -> str:
    """As a person would write it, exactly."""
    if kind.unit != "bytes":
        return str(value)
    for mark in ("T", "G", "M", "K"):
        if value and value % (1 << SHIFTS[mark]) == 0:
            return f"{value >> SHIFTS[mark]}{mark}"
    return str(value)


def differing(limits: Limits) -> dict[str, str]:
    """The limits that are not our own choice, by flag, as text: what a server's document says."""
    ours = asdict(Limits())
    return {
        kind.flag: written(kind, getattr(limits, kind.field))
        for kind in KINDS.values()
        if getattr(limits, kind.field) != ours[kind.field]
    }


def more(limits: Limits, kind: LimitKind) -> str:
    """Twice as much, as far as it goes."""
    return written(kind, min(kind.most, 2 * int(getattr(limits, kind.field))))
