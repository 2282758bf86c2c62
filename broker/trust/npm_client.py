"""npm, shut in: it resolves and downloads, obeys the user's settings and no project's, and runs no script."""

import json
import re
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from broker.errors import TrustError
from broker.files import read_bounded
from broker.trust.interpreters import Node
from broker.trust.npm_settings import NpmSettings
from broker.trust.run import Command, Finished, Run

RESOLVING = 180.0  # seconds; 2.8 is usual
ANSWERING = 60_000  # milliseconds
DOWNLOADING = 900.0  # seconds; a closure of 424 MB on a slow line
MAX_LOCK = 32 * 1024 * 1024
_CODE = re.compile(r"npm (?:error|ERR!) code (\w+)")
_NAMED = re.compile(
    r"(?:No match(?:ing version)? found for|'|/)\s*((?:@[\w.~-]+(?:/|%2f))?[\w.~-]+@[^\s']+)", re.IGNORECASE
)
_DAMAGED: Final = frozenset({"TAR_BAD_ARCHIVE", "TAR_ENTRY_ERROR", "Z_DATA_ERROR", "Z_BUF_ERROR", "ZLIB_ERROR"})
_FORBIDDEN: Final = frozenset({"EALLOWGIT", "EALLOWREMOTE", "EALLOWFILE", "EALLOWDIRECTORY"})
_OFFLINE: Final = frozenset(
    {
        "ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH", "EHOSTUNREACH",
        "ERR_SOCKET_TIMEOUT", "FETCH_ERROR", "EPIPE", "ENETDOWN",
    }
)  # fmt: skip


class NpmClient:
    """npm with two configuration files of our own and a cache of its own."""

    def __init__(self, node: Node, settings: NpmSettings, env: Mapping[str, str], work: Path, run: Run) -> None:
        self._work, self._run, self._project = work, run, work / "project"
        self.cache = work / "cache"
        self._project.mkdir(mode=0o700)
        user, system = work / "user.npmrc", work / "system.npmrc"  # npm refuses one file for both
        user.touch(mode=0o600)
        user.write_text(settings.text)
        system.touch(mode=0o600)
        path = f"{node.interpreter.path.parent}:{env['PATH']}"
        self._env = {**env, "PATH": path, "NO_UPDATE_NOTIFIER": "1"}
        self._argv = node.npm
        self._registry = settings.registry
        self._hosts, self._reads = settings.hosts, (*node.reads, *settings.reads)
        self._options = (
            "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--logs-max=0",
            "--loglevel=error", "--no-progress", "--fetch-retries=1", "--fetch-retry-mintimeout=500",
            f"--fetch-timeout={ANSWERING}",  # npm itself waits five minutes for a registry that says nothing
            "--fetch-retry-maxtimeout=2000", "--omit-lockfile-registry-resolved=false", "--replace-registry-host=never",
            f"--userconfig={user}", f"--globalconfig={system}", f"--cache={self.cache}", f"--prefix={self._project}",
            *(settings.guards or (f"--git={shutil.which('false') or '/nonexistent'}",)),
        )  # fmt: skip

    async def lock(self, wanted: Mapping[str, str], optional: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """Resolve into a lock file; nothing is downloaded but the registry's own documents."""
        manifest = {"name": "pinned", "version": "0.0.0", "private": True, "dependencies": dict(wanted),
                    "optionalDependencies": dict(optional or {})}  # fmt: skip
        (self._project / "package.json").write_text(json.dumps(manifest))
        await self._npm(("install", "--package-lock-only", "--package-lock"), RESOLVING)
        try:
            lock = json.loads(read_bounded(self._project / "package-lock.json", MAX_LOCK))
        except (ValueError, RecursionError, FileNotFoundError) as cause:
            raise TrustError("npm wrote no lock file that can be read", hint="update npm") from cause
        if not isinstance(lock, dict):
            raise TrustError("npm wrote no lock file that can be read", hint="update npm")
        return lock

    async def download(self) -> None:
        """Let npm fill its cache with what the lock names; what it unpacks beside is not used."""
        await self._npm(("ci", "--no-bin-links"), DOWNLOADING)
        unused = self._project / "node_modules"
        await anyio.to_thread.run_sync(partial(shutil.rmtree, unused, ignore_errors=True))

    async def _npm(self, words: tuple[str, ...], limit: float) -> None:
        argv = (*self._argv, *words, *self._options)
        finished = await self._run(
            Command(argv, self._work, self._project, self._env, self._hosts, limit, reads=self._reads, tool="npm")
        )
        if finished.code != 0:
            raise _failure(finished, self._registry)


def _failure(finished: Finished, registry: str) -> TrustError:
    complaint = finished.complaint
    match = _CODE.search(complaint)
    code = match[1] if match else ""
    named = _NAMED.search(complaint)
    what = f"{named[1].rstrip('.')[:200]!a}" if named else "a package it needs"
    if code == "E404":
        return TrustError(f"{registry} has no {what}", hint="check the spelling of the package's name")
    if code in {"ETARGET", "ENOVERSIONS"}:
        return TrustError(f"{registry} has no version that fits {what}", hint="check the version in the launch line")
    if "invalid response body" in complaint.lower() or "invalid json" in complaint.lower():
        return TrustError(f"{registry} answers with something that is no document of a registry",
                          hint="check the registry with: npm config get registry")  # fmt: skip
    if code in _DAMAGED:
        hint = "try again; if it stays so, tell the package's author or the registry's owner"
        return TrustError(f"{registry} served a tarball that cannot be unpacked ({code})", hint=hint)
    if code == "EMAXREDIRECT":
        return TrustError(f"{registry} leads elsewhere without end", hint="check it with: npm config get registry")
    if code in _OFFLINE:
        hint = "check the network, and the registry with: npm config get registry"
        return TrustError(f"the registry {registry} cannot be reached ({code})", hint=hint)
    if code == "ENOSPC" or "no space left" in complaint.lower():
        return TrustError("no space left for npm's download", hint="free some space, then try again")
    if code == "EINTEGRITY":
        hint = "try again; if it stays so, do not use this registry until its owner has looked into it"
        return TrustError(f"{registry} served other bytes than it announced", hint=hint)
    if code in _FORBIDDEN:
        return TrustError("it needs a package that comes from git, an address or a folder, not from a registry")
    if code in {"E401", "E403", "ENEEDAUTH"}:
        return TrustError(f"{registry} refuses access ({code})", hint="log in with: npm login")
    if code.startswith(("UNABLE_", "SELF_SIGNED", "CERT_", "DEPTH_ZERO", "ERR_TLS")):
        hint = "set the certificate with: npm config set cafile FILE"
        return TrustError(f"the certificate of {registry} cannot be checked ({code})", hint=hint)
    if code == "EBADENGINE":
        return TrustError("a package needs another version of node", hint="install a newer Node.js")
    return TrustError(f"npm failed ({code or finished.code})", hint="try the launch line by hand to see npm's words")
