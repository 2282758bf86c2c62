"""How much, how long, how often: counts of a daemon, and the text Prometheus reads.

Names never change; a label is a word of ours or the name of a server, never text from a message.
"""

import os
import resource
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""A name and its labels; made once and used often."""
BOUNDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0)  # seconds
MAX_SERIES: Final = 1000
_HELP: Final[Mapping[str, tuple[str, str]]] = {
    "bulkhead_requests_total": ("counter", "requests answered, by server and outcome"),
    "bulkhead_holds_total": ("counter", "calls that waited for a person, by server"),
    "bulkhead_launches_total": ("counter", "servers started, by server"),
    "bulkhead_restarts_total": ("counter", "servers started again for the same link, by server"),
    "bulkhead_exits_total": ("counter", "servers that ended before their link, by server"),
    "bulkhead_request_seconds": ("histogram", "how long clients waited for their answers"),
}
COUNTERS: Final = tuple(name for name, (kind, _) in _HELP.items() if kind == "counter")


def key(name: str, **labels: str) -> Key:
    return name, tuple(sorted(labels.items()))


@dataclass(slots=True)
class Numbers:
    """Counts since the daemon started.  `gauges` are asked when somebody looks."""

    gauges: Mapping[str, Callable[[], float]] = field(default_factory=dict)
    _counts: Counter[Key] = field(default_factory=Counter)
    _buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    _seconds: float = 0.0

    def count(self, key: Key) -> None:
        """One more of it, unless there are too many series already."""
        if key in self._counts or len(self._counts) < MAX_SERIES:
            self._counts[key] += 1

    def took(self, seconds: float) -> None:
        """A client waited so long for an answer."""
        self._seconds += seconds
        self._buckets[bisect_left(BOUNDS, seconds)] += 1

    def totals(self) -> Iterator[tuple[str, dict[str, str], int]]:
        """Every count: its name, its labels, and how much."""
        for (name, labels), count in sorted(self._counts.items()):
            yield name, dict(labels), count

    def prometheus(self) -> str:
        """All of it in the text format 0.0.4."""
        lines: list[str] = []
        told: set[str] = set()
        for name, labels, count in self.totals():
            lines += _head(name, told)
            lines.append(f"{name}{{{','.join(f'{key}={_quoted(value)}' for key, value in labels.items())}}} {count}")
        name, running = "bulkhead_request_seconds", 0
        lines += _head(name, told)
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._buckets, strict=True):
            running += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {running}')
        lines += [f"{name}_sum {self._seconds}", f"{name}_count {running}"]
        for gauge, ask in self.gauges.items():
            lines += [f"# TYPE bulkhead_{gauge} gauge", f"bulkhead_{gauge} {ask()}"]
        return "\n".join(lines) + "\n"


def resident() -> float:
    """Bytes of this process that are in memory; where the system does not say, the most there ever were."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _head(name: str, told: set[str]) -> list[str]:
    if name in told:
        return []
    told.add(name)
    kind, text = _HELP[name]
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
