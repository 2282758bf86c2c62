"""One sandbox's control group: the kernel itself keeps its limits, counts all it uses, and can hold it still.

Every process of a sandbox is in its group before it is executed, so none was ever outside.  A server that is held still
in a group of version 1 cannot even be killed, so whoever kills thaws first.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Literal

from broker.errors import SandboxError
from broker.model import Limits
from broker.sandbox.limits import Use

OUTER: Final = 1  # bwrap itself, which is in the group and no process of the server
MAX_READ: Final = 65_536
REMOVE_LIMIT: Final = 5.0  # the dead leave their group a moment after they are gone
FREEZE_LIMIT: Final = 5.0  # a process that the kernel holds on a slow disk takes that long
STEP: Final = 0.005
KILL_ROUNDS: Final = 200


@dataclass(frozen=True, slots=True)
class Places:
    """The folder that holds each thing; in version 2 they are one and the same."""

    version: Literal[1, 2]
    memory: Path
    pids: Path
    processor: Path
    freezer: Path | None = None

    def below(self, name: str) -> "Places":
        """The same of a group in this one."""
        return Places(
            self.version,
            self.memory / name,
            self.pids / name,
            self.processor / name,
            self.freezer / name if self.freezer is not None else None,
        )

    @property
    def folders(self) -> tuple[Path, ...]:
        """Each once."""
        found = (getattr(self, each.name) for each in fields(self)[1:])
        return tuple(dict.fromkeys(folder for folder in found if folder is not None))


class Group:
    """The group of one sandbox."""

    def __init__(self, places: Places) -> None:
        self._places = places

    @classmethod
    def make(cls, places: Places, limits: Limits) -> "Group":
        """A new one with these limits.  Raises OSError: it cannot be made, and nothing of it is left."""
        made = cls(places)
        try:
            for folder in places.folders:
                folder.mkdir()
            made._limit(limits)
        except OSError:
            made._remove_folders()
            raise
        return made

    @property
    def entries(self) -> tuple[str, ...]:
        """Files into which a process writes itself to be in the group."""
        return tuple(str(folder / "cgroup.procs") for folder in self._places.folders)

    @property
    def thawing(self) -> str:
        """The file that lets what is held still be killed; empty where the kernel kills it anyway."""
        held = self._places.version == 1 and self._places.freezer is not None
        return str(self._places.freezer / "freezer.state") if held and self._places.freezer is not None else ""

    @property
    def freezes(self) -> bool:
        """Whether it can be held still."""
        return self._places.freezer is not None

    def use(self) -> Use:
        """What all of it uses now, and whether the kernel had to kill for want of memory."""
        memory, ours = self._places.memory, self._places.version == 2
        now = _number(memory / ("memory.current" if ours else "memory.usage_in_bytes"))
        killed = _fields(memory / ("memory.events" if ours else "memory.oom_control")).get("oom_kill", 0)
        count = max(0, _number(self._places.pids / "pids.current") - OUTER)
        return Use(now, count, self._seconds(), out_of_memory=killed > 0)

    def freeze(self) -> None:
        """Hold every process of it still; return when they are.

        Raises:
            SandboxError: this kernel cannot, or one of them does not come to rest; then all go on.
        """
        if self._places.freezer is None:
            raise SandboxError("a sandbox cannot be held still here", hint="bulkhead doctor says how limits are kept")
        try:
            self._turn(frozen=True)
            end = time.monotonic() + FREEZE_LIMIT
            while not self._frozen():
                if time.monotonic() > end:
                    raise SandboxError(f"its processes did not come to rest within {FREEZE_LIMIT:.0f} s")
                time.sleep(STEP)
        except OSError as cause:
            raise SandboxError(f"it cannot be held still: {cause.strerror}") from cause
        except SandboxError:
            self.thaw()
            raise

    def thaw(self) -> None:
        """Let them go on.  Idempotent."""
        if self._places.freezer is not None:
            with contextlib.suppress(OSError):  # it is gone, and nothing is in it
                self._turn(frozen=False)

    def end(self) -> None:
        """Kill whatever is in it and remove it; what cannot be is left to the next start."""
        for _ in range(KILL_ROUNDS):
            self.thaw()
            if not self._kill():
                break
            time.sleep(STEP)
        end = time.monotonic() + REMOVE_LIMIT
        while not self._remove_folders() and time.monotonic() < end:
            time.sleep(STEP)

    def _limit(self, limits: Limits) -> None:
        memory, pids = self._places.memory, self._places.pids
        if self._places.version == 1:
            _write(memory / "memory.limit_in_bytes", limits.memory)
            _write_if_there(memory / "memory.memsw.limit_in_bytes", limits.memory)
        else:
            _write(memory / "memory.max", limits.memory)
            _write_if_there(memory / "memory.swap.max", 0)
            _write(memory / "memory.oom.group", 1)  # half a server is of no use
        _write(pids / "pids.max", limits.processes + OUTER)

    def _seconds(self) -> float:
        if self._places.version == 1:
            return _number(self._places.processor / "cpuacct.usage") / 1e9
        return _fields(self._places.processor / "cpu.stat").get("usage_usec", 0) / 1e6

    def _turn(self, *, frozen: bool) -> None:
        assert self._places.freezer is not None
        if self._places.version == 1:
            _write_if_there(self._places.freezer / "freezer.state", "FROZEN" if frozen else "THAWED")
        else:
            _write_if_there(self._places.freezer / "cgroup.freeze", int(frozen))

    def _frozen(self) -> bool:
        assert self._places.freezer is not None
        if self._places.version == 1:
            return _read(self._places.freezer / "freezer.state").strip() == "FROZEN"
        return _fields(self._places.freezer / "cgroup.events").get("frozen", 0) == 1

    def _kill(self) -> bool:
        """Whether there was anything to kill."""
        found = set(self._processes())
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    def _processes(self) -> Iterator[int]:
        for entry in self.entries:
            yield from (int(word) for word in _read(Path(entry)).split() if word != "0")  # 0: not of our namespace

    def _remove_folders(self) -> bool:
        """Whether all of them are gone."""
        for folder in self._places.folders:
            try:
                folder.rmdir()
            except FileNotFoundError:  # it went the first time
                continue
            except OSError:  # somebody is dying in there
                return False
        return True


def _write(path: Path, value: object) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(str(value).encode())


def _write_if_there(path: Path, value: object) -> None:
    """For what not every kernel has, or what is gone already."""
    if path.exists():
        _write(path, value)


def _read(path: Path) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(MAX_READ).decode("ascii", "replace")
    except OSError:  # removed meanwhile
        return ""


def _number(path: Path) -> int:
    text = _read(path).strip()
    return int(text) if text.isdecimal() else 0


def _fields(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    lines = (line.split() for line in _read(path).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdecimal()}
