"""Packages an index has no wheel of: their sources are found and read, so that a person can be asked for a build.

Here nothing of them is run.  uv resolves with a stand-in that holds what the source says it needs.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import anyio.to_thread
from pip._vendor.packaging.requirements import InvalidRequirement, Requirement
from pip._vendor.packaging.utils import InvalidSdistFilename, parse_sdist_filename
from pip._vendor.packaging.version import Version

from broker.errors import TrustError
from broker.pin import Build, PackageRef
from broker.trust.launchers.uvx import normal
from broker.trust.npm_settings import origin
from broker.trust.pypi_client import NoWheel, PypiClient, Release
from broker.trust.pypi_package import WheelFile
from broker.trust.pypi_settings import Index, PypiSettings
from broker.trust.sdist import Sdist, stand_in, unpack_sdist

MAX_SOURCES: Final = 8  # packages of one closure; a closure that has to be built whole is none for a yes
MAX_SDIST: Final = 256 << 20
SOURCES, TOOLS, WHEELS = "sources", "tools", "wheels"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Source:
    """One source distribution that was fetched: what it says, its file, and the SHA-256 of its stand-in."""

    sdist: Sdist
    file: WheelFile
    stand_in: str


@dataclass(slots=True)
class Sources:
    """Resolves a closure some packages of which exist as sources only."""

    client: PypiClient
    settings: PypiSettings
    environment: Mapping[str, str]
    work: Path
    found: dict[str, Source] = field(default_factory=dict)

    async def lock(self, requirements: list[str], progress: Callable[[str], None]) -> list[Release]:
        """Exact releases; those of `found` have to be built.

        Raises:
            TrustError: there is no solution, or a source cannot be had or says too little.
        """
        links = self.work / "links"
        links.mkdir(mode=0o700)
        while True:
            try:
                return await self.client.lock(requirements, links if self.found else None)
            except NoWheel as cause:
                if cause.package in self.found or len(self.found) >= MAX_SOURCES:
                    raise
                progress(f"reading the source of {cause.package}")
                source = await self._fetch(cause, requirements)
                if source is None:
                    raise
                path = await anyio.to_thread.run_sync(stand_in, source[0], links)
                self.found[cause.package] = Source(source[0], source[1], hashlib.sha256(path.read_bytes()).hexdigest())

    async def makings(self, releases: list[Release], wheels: Mapping[Path, str], tree: Path) -> tuple[Build, ...]:
        """Everything the builds take, verified and in one folder; what is to be built, and exactly with what."""
        for folder in (SOURCES, TOOLS, WHEELS):
            (tree / folder).mkdir(parents=True)
        for path in wheels:
            path.rename(tree / WHEELS / path.name)
        builds = []
        for name, source in sorted(self.found.items()):
            if next(each.hashes for each in releases if each.name == name) != {source.stand_in}:
                raise TrustError(f"the index has a wheel of {name} after all", hint="try again")
            (self.work / source.file.file).rename(tree / SOURCES / source.file.file)
            (tree / TOOLS / name).mkdir()
            tools = await self._tools(source.sdist, tree / TOOLS / name)
            sdist, sha256 = source.sdist, source.file.sha256
            builds.append(Build(name, sdist.version, f"sha256:{sha256}", sdist.backend, tools))
        (tree / "closure.json").write_text(json.dumps([[each.name, each.source] for each in builds]))
        return tuple(builds)

    async def _tools(self, sdist: Sdist, folder: Path) -> tuple[PackageRef, ...]:
        """The packages a build takes, themselves never built."""
        if not sdist.build_needs:
            return ()
        client = self.client.another(f"tools-{sdist.name}")
        try:
            releases = await client.lock(list(sdist.build_needs))
        except TrustError as cause:
            raise TrustError(f"{cause} (which building {sdist.name} takes)", hint=cause.hint) from cause
        wheels = await client.download(releases)
        owners = {sha256: each for each in releases for sha256 in each.hashes}
        for path, sha256 in wheels.items():
            if sha256 not in owners:
                raise TrustError(f"{path.name[:120]!a} has other bytes than were resolved")
            path.rename(folder / path.name)
        return tuple(
            PackageRef(owners[sha256].name, owners[sha256].version, f"sha256:{sha256}", path.name)
            for path, sha256 in wheels.items()
        )

    async def _fetch(self, wanted: NoWheel, requirements: list[str]) -> tuple[Sdist, WheelFile] | None:
        from broker.trust.fetch import download, reader, segment  # a client for HTTP is loaded only to fetch a source
        from broker.trust.pypi_hosts import SIMPLE, access_to, own_default

        for index in self.settings.indexes or (Index(own_default(), default=True),):
            if urlsplit(index.url).scheme not in {"http", "https"}:
                continue
            access = access_to(index, self.settings, self.environment)
            async with reader(access) as listing:
                answer = await listing.ask(f"{segment(wanted.package)}/", accept=SIMPLE)
            if answer.state == "absent":
                continue
            best = _newest(answer.document, wanted, requirements)
            if best is None:  # the first index that has a name, or cannot say, is the only one that supplies it
                return None
            url = urljoin(f"{index.url.rstrip('/')}/{segment(wanted.package)}/", str(best["url"]))
            if not self.settings.may_serve(url):
                raise TrustError(f"{wanted.package} would come over a connection that is not protected",
                                 hint="use an index with https")  # fmt: skip
            data = await download(access, url, MAX_SDIST, known=origin(url) == origin(index.url))
            if data is None or hashlib.sha256(data).hexdigest() != best["hashes"]["sha256"]:
                raise TrustError(f"the index served other bytes than it announced for the source of {wanted.package}",
                                 hint="try again; if it stays so, tell the owner of the index")  # fmt: skip
            room = self.work / f"read-{len(self.found)}"
            sdist = await anyio.to_thread.run_sync(unpack_sdist, data, wanted.package, room)
            (self.work / best["filename"]).write_bytes(data)
            file = WheelFile(wanted.package, sdist.version, best["filename"], best["hashes"]["sha256"])
            return sdist, file
        return None


def _newest(document: Any, wanted: NoWheel, requirements: list[str]) -> Mapping[str, Any] | None:
    """The newest release that fits the line and has its source as a `.tar.gz` with a SHA-256."""
    files = document.get("files") if isinstance(document, dict) else None
    fits = _specifiers(wanted, requirements)
    found: list[tuple[Version, Mapping[str, Any]]] = []
    for each in files if isinstance(files, list) else []:
        name = each.get("filename") if isinstance(each, dict) else None
        hashes = each.get("hashes") if isinstance(each, dict) else None
        if not isinstance(name, str) or not isinstance(hashes, dict) or each.get("yanked"):
            continue
        try:
            package, version = parse_sdist_filename(name)
        except InvalidSdistFilename:
            continue
        whole = name.endswith(".tar.gz") and _SHA256.fullmatch(str(hashes.get("sha256")))
        if whole and package == wanted.package and fits.contains(version):
            found.append((version, each))
    return max(found, key=lambda one: one[0])[1] if found else None


def _specifiers(wanted: NoWheel, requirements: list[str]) -> Any:
    """What the line itself asks of the package; else the versions uv's complaint is about."""
    for text in (*requirements, wanted.requirement):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if normal(requirement.name) == wanted.package:
            return requirement.specifier
    return Requirement(wanted.package).specifier
