"""uv and pip, shut in: they resolve and download, obey the user's settings and no project's, and build nothing."""

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import uv

from broker.errors import ConfigError, TrustError
from broker.files import read_bounded
from broker.pin import Interpreter
from broker.trust.code_file import gather
from broker.trust.interpreters import own_runtime, runtime_of
from broker.trust.launchers.uvx import normal
from broker.trust.pins import PACKAGE
from broker.trust.pypi_settings import PypiSettings
from broker.trust.run import MAX_OUTPUT, Command, Finished, Run
from broker.trust.wheel import SITE

RESOLVING = 180.0  # seconds; 1.0 is usual
DOWNLOADING = 900.0  # seconds; a closure of 424 MB on a slow line
EXPORTING = 60.0  # seconds; 0.1 is usual
COMPILING = 300.0  # seconds; 1.8 is usual
MAX_LOCK = 32 * 1024 * 1024
MAX_PACKAGES = 2000
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.!+_-]{0,127}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)
_NAME_FIRST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ABSENT = re.compile(r"(?:Because |and |: )([\w.-]+) was not found in the package registry")
_NO_VERSION = re.compile(r"there (?:is|are) no versions? of ([\w.-]+(?:[=<>!~]=?[\w.*+!-]+)?)")
_NO_WHEEL = re.compile(r"([\w.-]+(?:[=<>!~]=?[\w.*+!-]+)?) ha(?:s|ve) no (?:usable )?wheels")
_OTHER_NAME = re.compile(r"metadata name `([^`]*)` does not match given name `([^`]*)`")
_OTHER_PYTHON = re.compile(
    r"Python>=?[\d.]+|requires-python|does not satisfy Python|current Python version", re.IGNORECASE
)
_BROKEN: Final = re.compile(r"Wheel '[\w.-]+' located at \S+ is invalid")
_UNREACHED: Final = ("error sending request", "failed to fetch", "dns error", "connection refused", "timed out",
                     "could not connect", "connection reset", "max retries exceeded", "connection error")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Release:
    """One package of the closure, and the hashes any of which its wheel must have."""

    name: str
    version: str
    hashes: frozenset[str]


class NoWheel(TrustError):
    """A package that this Python could only have by building it; `requirement` is what uv says of it."""

    def __init__(self, message: str, *, hint: str, requirement: str) -> None:
        super().__init__(message, hint=hint)
        self.requirement = requirement
        found = _NAME_FIRST.match(requirement)
        self.package = normal(found[0].rstrip(".-_")) if found else ""


class PypiClient:
    """uv and pip with configuration files of our own and no cache but their own."""

    def __init__(
        self,
        python: Interpreter,
        pip: tuple[str, ...],
        settings: PypiSettings,
        env: Mapping[str, str],
        work: Path,
        run: Run,
        *,
        beside: str = "",
    ) -> None:
        self._python, self._pip, self._settings = python, pip, settings
        self._work, self._run, self._given = work, run, env
        self._hosts: tuple[str, ...] = ()
        self._reads = (*own_runtime(), Path(uv_program()), *runtime_of(python), *settings.reads)
        self._project, self._wheels = work / f"{beside}project", work / f"{beside}wheels"
        for folder in (self._project, self._wheels):
            folder.mkdir(mode=0o700)
        self._env = {
            **env,
            **settings.variables,
            **settings.pip_variables(),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "UV_HTTP_RETRIES": "1",  # npm is told the same; a person waits for the answer
            "PYTHONHASHSEED": "0",  # the order of a set of constants in compiled code follows it
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._config = work / "uv.toml"
        self._config.touch(mode=0o600)
        self._config.write_text(settings.uv_file())

    def another(self, name: str) -> "PypiClient":
        """The same beside this one, for what has nothing to do with the closure."""
        given = (self._python, self._pip, self._settings, self._given, self._work, self._run)
        return PypiClient(*given, beside=f"{name}-")

    async def lock(self, requirements: list[str], links: Path | None = None) -> list[Release]:
        """Resolve to exact releases.  `links` is a folder with wheels of our own beside those of the indexes.

        Raises:
            NoWheel: a package exists as its source only.
            TrustError: there is no solution, or one that cannot be pinned.
        """
        wanted, locked = self._project / "wanted.in", self._project / "pylock.toml"
        wanted.write_text("".join(f"{each}\n" for each in requirements))
        argv = (
            uv_program(), "pip", "compile", str(wanted), "--format", "pylock.toml", "--only-binary", ":all:",
            "--no-sources", "--no-header", "--no-progress", "--quiet", "--no-python-downloads",
            "--config-file", str(self._config), "--cache-dir", str(self._work / "cache"),
            "--python", str(self._python.path), "--output-file", str(locked),
            *(("--find-links", str(links)) if links else ()),
        )  # fmt: skip
        if package := _NAME_FIRST.match(requirements[0] if requirements else ""):
            from broker.trust.pypi_hosts import hosts_of  # it loads a client for HTTP: only where something is pinned

            self._hosts = await hosts_of(self._settings, normal(package[0]), self._env)
        finished = await self._tool(argv, RESOLVING, self._hosts)
        if finished.code != 0:
            raise self._failure(finished, "uv")
        try:
            lock = tomllib.loads(read_bounded(locked, MAX_LOCK).decode())
        except (FileNotFoundError, ConfigError, ValueError, RecursionError) as cause:
            raise TrustError("uv wrote no lock file that can be read", hint="update uv") from cause
        return read_lock(lock, self._settings, links)

    async def export(self, project: Path) -> str:
        """What the `uv.lock` in a folder says, for every platform; nothing is fetched or built.

        Raises:
            TrustError: lock and project do not belong together.
        """
        argv = (
            uv_program(), "export", "--frozen", "--format", "requirements.txt", "--no-emit-project", "--no-dev",
            "--no-header", "--no-annotate", "--no-progress", "--quiet", "--no-python-downloads", "--offline",
            "--config-file", str(self._config), "--cache-dir", str(self._work / "cache"),
            "--python", str(self._python.path), "--project", str(project),
        )  # fmt: skip
        finished = await self._tool(argv, EXPORTING, limit=MAX_LOCK)
        if finished.code != 0:
            raise TrustError(f"uv cannot read the project's uv.lock (it ended with {finished.code})",
                             hint="try by hand in the project: uv lock --check")  # fmt: skip
        return finished.stdout.decode("utf-8", "replace")

    async def download(self, packages: list[Release]) -> dict[Path, str]:
        """Fetch one wheel for each release; pip may only bring files with a locked hash.  Each with its SHA-256."""
        wanted = self._project / "wanted.txt"
        wanted.write_text("".join(
            f"{each.name}=={each.version} {' '.join(f'--hash=sha256:{value}' for value in sorted(each.hashes))}\n"
            for each in packages
        ))  # fmt: skip
        argv = (
            *self._pip, "--python", str(self._python.path),
            "download", "--quiet", "--no-input", "--no-deps", "--require-hashes", "--only-binary", ":all:",
            "--no-cache-dir", "--progress-bar", "off", "--retries", "2",
            "--dest", str(self._wheels), "--requirement", str(wanted),
        )  # fmt: skip
        finished = await self._tool(argv, DOWNLOADING, self._hosts)
        if finished.code != 0:
            raise self._failure(finished, "pip")
        return await anyio.to_thread.run_sync(hashed, self._wheels)

    async def compile(self, tree: Path) -> None:
        """Compile ahead, into one file: the store is read-only, and without it every start would compile anew.

        Files of other Python versions that do not compile are left as they are; Python would not import them either.
        """
        argv = (
            str(self._python.path), "-S", "-s", "-m", "compileall", "-q", "-j", "0",
            "--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", PACKAGE, str(tree / SITE),
        )  # fmt: skip
        finished = await self._tool(argv, COMPILING)
        if finished.code not in {0, 1}:  # 1: some file did not compile
            raise TrustError(f"compiling failed (it ended with {finished.code})", hint="check that this Python works")
        await anyio.to_thread.run_sync(gather, tree)

    async def _tool(
        self, argv: tuple[str, ...], seconds: float, hosts: tuple[str, ...] = (), limit: int = MAX_OUTPUT
    ) -> Finished:
        tool = "" if argv[0] == uv_program() else "pip" if argv[: len(self._pip)] == self._pip else "python"
        return await self._run(
            Command(argv, self._work, self._project, self._env, hosts, seconds, limit, self._reads, tool=tool)
        )

    def _failure(self, finished: Finished, tool: str) -> TrustError:
        complaint = " ".join(finished.complaint.split())
        where, python = self._settings.shown(), ".".join(self._python.version.split(".")[:2])
        if "no space left" in complaint.lower() or "os error 28" in complaint:
            return TrustError(f"no space left for {tool}'s download", hint="free some space, then try again")
        if match := _ABSENT.search(complaint):
            hint = "check the spelling of the package's name"
            return TrustError(f"{where} has no package {match[1][:120]!r}", hint=hint)
        if match := _NO_WHEEL.search(complaint):
            return NoWheel(
                f"{match[1][:120]!r} has no wheel for Python {python} here, and building it would run its code",
                hint="choose another version, or another Python with --python",
                requirement=match[1],
            )
        if match := _OTHER_NAME.search(complaint):
            said = f"serves for {match[2][:120]!r} a wheel that calls itself otherwise, {match[1][:120]!a}"
            return TrustError(f"{where} {said}", hint="do not use this version; tell the owner of the index")
        lowered = complaint.lower()
        if "certificate" in lowered or "tls" in lowered.split():
            hint = "set SSL_CERT_FILE, or the certificate in uv's and pip's configuration"
            return TrustError(f"the certificate of {where} cannot be checked", hint=hint)
        if _BROKEN.search(complaint):
            hint = "try again; if it stays so, tell the package's author or the index's owner"
            return TrustError(f"{where} served a wheel that cannot be unpacked", hint=hint)
        if "unexpected json" in lowered or "unexpected html" in lowered:
            hint = "open its address in a browser; an index that leads to itself looks like this too"
            return TrustError(f"{where} answers with something that is no list of files", hint=hint)
        if "404" in complaint:
            hint = "try again; if it stays so, tell the index's owner"
            return TrustError(f"{where} does not have a file it lists", hint=hint)
        if any(word in lowered for word in _UNREACHED):
            return TrustError(f"{where} cannot be reached", hint="check the network, and your uv configuration")
        if _OTHER_PYTHON.search(complaint):
            return TrustError(
                f"a package needs another Python than {python}", hint="ask for one: uvx --python 3.12 ..."
            )
        if match := _NO_VERSION.search(complaint):
            return TrustError(f"{where} has no version {match[1][:120]!r}", hint="check the version in the launch line")
        if "do not match the hashes" in lowered:
            hint = "try again; if it stays so, do not use this index until its owner has looked into it"
            return TrustError(f"{where} served other bytes than it announced", hint=hint)
        if "401" in complaint or "403" in complaint:
            return TrustError(f"{where} refuses access", hint="check the credentials in your uv configuration")
        if "unsatisfiable" in lowered:
            hint = "ask for other versions in the launch line"
            return TrustError("the packages of the launch line cannot be had together in these versions", hint=hint)
        hint = "try the launch line by hand to see its words"
        return TrustError(f"{tool} found no solution (it ended with {finished.code})", hint=hint)


def uv_program() -> str:
    try:
        return uv.find_uv_bin()
    except FileNotFoundError as cause:
        raise TrustError("uv, which resolves Python packages, is not installed", hint="pip install uv") from cause


def read_lock(lock: Mapping[str, Any], settings: PypiSettings, links: Path | None = None) -> list[Release]:
    """Judge what uv resolved: only wheels of indexes, or of our own folder `links`, each with a SHA-256.

    Raises:
        TrustError: the first package that is not acceptable, and why.
    """
    listed = lock.get("packages")
    if not isinstance(listed, list) or len(listed) > MAX_PACKAGES:
        raise TrustError(f"uv's lock names no packages, or more than {MAX_PACKAGES}")
    packages: dict[str, Release] = {}
    for each in listed:
        if not isinstance(each, dict):
            raise TrustError("uv's lock holds something that is no package")
        name, version = str(each.get("name", "")), str(each.get("version", ""))
        if not _NAME.fullmatch(name) or not _VERSION.fullmatch(version):
            raise TrustError(f"{name[:80]!a} {version[:80]!a} is not a release of an index")
        if {"vcs", "directory", "archive"} & each.keys():
            raise TrustError(f"{name} {version} comes from git, a folder or an address, not from an index")
        if normal(name) in packages:
            raise TrustError(f"{name} is needed in two versions")
        packages[normal(name)] = Release(normal(name), version, _hashes(each, settings, links))
    return list(packages.values())


def _hashes(package: Mapping[str, Any], settings: PypiSettings, links: Path | None) -> frozenset[str]:
    name, hashes = package["name"], set()
    for wheel in package.get("wheels", []):
        sha256 = wheel.get("hashes", {}).get("sha256", "")
        if not _SHA256.fullmatch(sha256):
            raise TrustError(f"{name} has no SHA-256 in the index, so its bytes cannot be checked")
        where = str(wheel.get("url", wheel.get("path", "")))
        if not settings.may_serve(where) and not (links and where.startswith(f"{links.as_uri()}/")):
            raise TrustError(f"{name} would come over a connection that is not protected",
                             hint="use an index with https")  # fmt: skip
        hashes.add(sha256)
    if not hashes:
        raise TrustError(f"{name} has no wheel, and building it would run its code")
    return frozenset(hashes)


def hashed(folder: Path) -> dict[Path, str]:
    """The files of a folder, each with its SHA-256."""
    found = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            found[path] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
