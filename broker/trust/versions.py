"""Which of two versions is the older one, in npm's order and in Python's.

An answer only where both are understood: a version that cannot be read is neither older nor newer.
"""

import re
from typing import Any, Final

_NPM = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_PYTHON = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<stage>alpha|beta|preview|pre|rc|a|b|c)[-_.]?(?P<stage_number>\d*))?"
    r"(?:-(?P<implicit>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post>\d*))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<dev_number>\d*))?(?:\+[a-z0-9._-]+)?",
    re.IGNORECASE,
)
_STAGES: Final = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_FINAL: Final = 3


def older(kind: str, one: str, other: str) -> bool:
    """Whether `one` comes before `other`."""
    first, second = order(kind, one), order(kind, other)
    return first is not None and second is not None and first < second


def order(kind: str, version: str) -> tuple[Any, ...] | None:
    """What versions of one ecosystem are sorted by; None if this is no version."""
    if kind == "image":
        return None  # digests have no order
    return _npm_order(version) if kind == "npm" else _python_order(version)


def _npm_order(version: str) -> tuple[Any, ...] | None:
    if (match := _NPM.fullmatch(version)) is None:
        return None
    numbers = tuple(int(part) for part in match.groups()[:3])
    if match[4] is None:
        return (*numbers, (1,))
    # Numbers come before words, and a version before a release comes before it.
    words = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in match[4].split("."))
    return (*numbers, (0, words))


def _python_order(version: str) -> tuple[Any, ...] | None:
    if (match := _PYTHON.fullmatch(version)) is None:
        return None
    release = [int(part) for part in match["release"].split(".")]
    while release and release[-1] == 0:
        release.pop()
    dev = int(match["dev_number"] or 0) if match["dev"] else None
    after = match["implicit"] or match["post"]
    post = int(after or 0) if after is not None else -1
    if match["stage"]:
        stage = (_STAGES[match["stage"].lower()], int(match["stage_number"] or 0))
    else:  # a development version of a release comes before all its stages
        stage = (-1, 0) if dev is not None and post < 0 else (_FINAL, 0)
    return int(match["epoch"] or 0), release, stage, post, (0, dev) if dev is not None else (1, 0)
