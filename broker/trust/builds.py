"""What would be built of a package on this machine, and what was: in the words a person is shown.

A build runs its author's code, so nothing here is shortened that somebody says yes to.
"""

import hashlib
from typing import Final

from broker.pin import Build, PackageRef, PinnedArtifact
from broker.trust.spoken import plain

MAX_SHOWN: Final = 8 * 1024  # characters of a script; what is longer is shown by its hash as well
AUTHORS_CODE: Final = (
    "building runs code of these packages' authors: once, in a sandbox without a network, your home or your variables"
)

FETCHES: Final = (
    "fetching runs code of these packages' authors too: once, in a sandbox that reaches only those places, without "
    "your home or your variables; what came is hashed with the rest"
)


def needs_building(artifact: PinnedArtifact) -> bool:
    """Whether there is nothing to run yet: parts of it exist as sources only."""
    return artifact.kind == "pypi" and any(not build.result for build in artifact.builds)


def about_proposed(artifact: PinnedArtifact) -> list[str]:
    """Exactly what a yes would build, and with what."""
    lines: list[str] = []
    for build in artifact.builds:
        if build.hosts:
            lines.append(f"would fetch: what {_what(build)} gets from {', '.join(build.hosts)} by {_whole(build.by)}")
            continue
        lines.append(f"would build: {_what(build)} by {_whole(build.by)}")
        lines += [f"would build it with: {_pinned(each)}" for each in build.requirements]
    fetches = [bool(build.hosts) for build in artifact.builds]
    return [*lines, *([AUTHORS_CODE] if not all(fetches) else []), *([FETCHES] if any(fetches) else [])]


def about_built(artifact: PinnedArtifact) -> list[str]:
    """What of a pinned tree was made on this machine."""
    return [_made(build) for build in artifact.builds if build.result]


def _made(build: Build) -> str:
    verb, reach = (
        ("fetched", f"that reached only {', '.join(build.hosts)}") if build.hosts else ("built", "without a network")
    )
    return (
        f"{verb} here: {_what(build)} by {plain(build.by)}, once, in a box {reach} (tier {build.tier}); "
        f"what came out has sha256 {build.result}, and nobody else vouches for it"
    )


def _what(build: Build) -> str:
    return f"{plain(build.name)} {plain(build.version)} from {build.source}"


def _pinned(package: PackageRef) -> str:
    return f"{plain(package.name)} {plain(package.version)} {package.integrity}"


def _whole(text: str) -> str:
    if len(text) <= MAX_SHOWN:
        return plain(text, MAX_SHOWN)
    return f"{plain(text, MAX_SHOWN)} (sha256 of all of it: {hashlib.sha256(text.encode()).hexdigest()})"
