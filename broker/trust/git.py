"""Git repositories: what a ref means now, and exactly that commit's files, each checked against the commit.

git only lists, fetches and packs.  It runs no hook, reads no configuration but ours, and speaks only https; every file
is compared with its name in the commit's tree before it is written by our own strict rules.
"""

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from broker.errors import TrustError
from broker.pin import GitSource
from broker.trust.interpreters import located
from broker.trust.launchers.git import COMMIT, GitAddress
from broker.trust.members import MAX_FILES, MAX_TREE, Unpacking
from broker.trust.openpgp_signature import Checked, check
from broker.trust.programs import in_system
from broker.trust.run import MAX_OUTPUT, Command, Finished, Run, host_and_port, tool_environment
from broker.trust.signed_objects import signature_of
from broker.trust.tree import Entry, Listing, tree_hash

ASKING = 60.0  # seconds; a second is usual
FETCHING = 600.0  # seconds; one commit of a large repository on a slow line
READING = 120.0
MAX_PACK = 1 << 30  # bytes; what one commit may bring over the network
MAX_LINK = 4096
_LOOK = 0.5  # seconds between two looks at how much has come
_SPARE = 16 * 1024 * 1024  # a tar's headers and padding beside the files, and the longest list of names
_LARGE_FILES: Final = b"version https://git-lfs.github.com/spec/"
_ROW = re.compile(r"([0-7]{6}) (blob|commit|tree) ([0-9a-f]{40})\s+(-|\d+)\t(.+)", re.DOTALL)
_AS_IT_IS: Final = "* -text -eol -ident -filter -working-tree-encoding -export-ignore -export-subst -crlf\n"
_SETTINGS: Final = (
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "core.symlinks=false", "credential.helper=",
    "fetch.fsckObjects=true", "transfer.fsckObjects=true", "fetch.recurseSubmodules=false", "gc.auto=0",
    "maintenance.auto=false", "protocol.version=2", "submodule.recurse=false", "tar.umask=0022",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a ref means now; `tag` is the tag object of an annotated tag."""

    commit: str
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A commit's files as they were written, and what was noticed."""

    folder: Path
    source: GitSource
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    mode: str
    object: str
    size: int


class GitClient:
    """git, shut in."""

    def __init__(self, environment: Mapping[str, str], work: Path, run: Run) -> None:
        self._work, self._run, self._repository = work, run, work / "repository"
        self._environment = environment
        self._program = str(located("git", environment))
        real = Path(self._program).resolve()
        self._reads = () if in_system(real) else (Path(self._program), real.parent.parent)
        env = tool_environment(environment, work)
        if "SSL_CERT_FILE" in env:
            env["GIT_SSL_CAINFO"] = env["SSL_CERT_FILE"]
        self._env = {
            **env,
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_ATTR_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": "https", "GIT_PROTOCOL_FROM_USER": "0", "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0",
            "LC_ALL": "C",
        }  # fmt: skip

    async def meaning(self, address: GitAddress) -> Meaning:
        """Which commit the address means now.

        Raises:
            TrustError: the repository cannot be asked, has no such ref, or has a branch and a tag of that name.
        """
        if address.is_exact:
            return Meaning(address.ref)
        ref = address.ref
        wanted = [ref] if ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"] if ref else ["HEAD"]
        asked = [pattern for each in wanted for pattern in (each, f"{each}^{{}}")]
        done = await self._git(("ls-remote", "--quiet", "--", address.url, *asked), ASKING, url=address.url)
        if done.code != 0:
            raise _unreached(address, done)
        found: dict[str, str] = {}
        for line in done.stdout.decode("utf-8", "replace").splitlines():
            commit, _, name = line.partition("\t")
            if name in asked and COMMIT.fullmatch(commit):
                found[name] = commit
        named = [each for each in wanted if each in found]
        if not named:
            hint = "name a branch, a tag, or a commit with all its 40 digits"
            raise TrustError(f"{address.url} has no branch or tag {ref or 'HEAD'!r}", hint=hint)
        if len(named) > 1:
            raise TrustError(f"{ref!r} is a branch and a tag of {address.url}",
                             hint=f"say which: {named[0]} or {named[1]}")  # fmt: skip
        peeled = found.get(f"{named[0]}^{{}}")
        return Meaning(peeled, found[named[0]]) if peeled else Meaning(found[named[0]])

    async def checkout(self, address: GitAddress, meaning: Meaning) -> Checkout:
        """Fetch exactly one commit and write its files below `work`.

        Raises:
            TrustError: it cannot be had, is not what was named, or holds what cannot be pinned.
        """
        await self._made("init", "--quiet", "--bare", "--template=", str(self._repository))
        (self._repository / "info").mkdir(exist_ok=True)
        (self._repository / "info/attributes").write_text(_AS_IT_IS)
        await self._fetch(address, meaning)
        tag_text = (await self._read("cat-file", "tag", meaning.tag)).stdout if meaning.tag else b""
        peeled = await self._read("rev-parse", "--verify", f"{meaning.tag or meaning.commit}^{{commit}}")
        if peeled.stdout.decode("ascii", "replace").strip() != meaning.commit:
            raise TrustError(f"{address.url} gave another commit than {meaning.commit}")
        commit_text = (await self._read("cat-file", "commit", meaning.commit)).stdout
        rows = await self._rows(address, meaning.commit)
        packed = self._work / "commit.tar"
        top = f"{meaning.commit}:{address.folder}" if address.folder else meaning.commit
        await self._made("archive", "--format=tar", f"--output={packed}", top)
        folder = self._work / "checkout"
        writing = partial(_write, packed, rows, folder)
        sha256, findings = await anyio.to_thread.run_sync(writing)
        signature = signature_of("tag", tag_text) or signature_of("commit", commit_text)
        checked = await self._signer(signature, tag_text, commit_text)
        if checked.why:
            findings += (f"the {signature.partition(': ')[0]}'s signature was not checked: {checked.why}",)
        source = GitSource(
            url=address.url,
            ref=address.ref or "HEAD",
            commit=meaning.commit,
            sha256=sha256,
            tag=meaning.tag,
            folder=address.folder,
            signature=signature,
            signer=checked.signer,
        )
        return Checkout(folder, source, findings)

    async def _signer(self, signature: str, tag: bytes, commit: bytes) -> Checked:
        """The key of a signature that holds; one of a kind nothing here knows is not checked."""
        kind, _, how = signature.partition(": ")
        text = tag if kind == "tag" else commit
        if how == "OpenPGP":
            return await check(kind, text, self._environment, self._work, self._run)
        if how == "SSH":
            from broker.trust.ssh_signature import signer_of

            return Checked(await anyio.to_thread.run_sync(signer_of, kind, text))
        return Checked(why=f"nothing here checks {how}" if how else "")

    async def _fetch(self, address: GitAddress, meaning: Meaning) -> None:
        words = ("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head",
                 "--no-auto-gc", "--", address.url, meaning.tag or meaning.commit)  # fmt: skip
        too_much = False
        done, failed = Finished(1, b"", b""), None

        async def watch(scope: anyio.CancelScope) -> None:
            nonlocal too_much
            while not too_much:
                await anyio.sleep(_LOOK)
                too_much = await anyio.to_thread.run_sync(_size_of, self._repository) > MAX_PACK
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, tasks.cancel_scope)
            try:
                done = await self._git(("-C", str(self._repository), *words), FETCHING, url=address.url)
            except TrustError as cause:  # it would leave a task group inside another exception
                failed = cause
            tasks.cancel_scope.cancel()
        if too_much:
            raise TrustError(f"{address.url} sends more than {MAX_PACK} bytes for one commit")
        if failed is not None:
            raise failed
        if done.code != 0:
            raise _unreached(address, done)

    async def _rows(self, address: GitAddress, commit: str) -> dict[str, _Row]:
        """The files of a commit by path; everything that is no file, or too much, is refused before it is read."""
        top = f"{commit}:{address.folder}" if address.folder else commit
        listed = await self._git(
            ("-C", str(self._repository), "ls-tree", "-r", "-z", "-l", "--full-tree", top), READING, limit=_SPARE
        )
        if listed.code != 0:
            raise TrustError(f"commit {commit} of {address.url} has no folder {address.folder!r}")
        rows: dict[str, _Row] = {}
        size = 0
        for line in listed.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]:
            match = _ROW.fullmatch(line)
            if match is None:
                raise TrustError(f"the commit holds an entry that cannot be read: {line[-120:]!a}")
            mode, kind, object, length, path = match.groups()
            if kind == "commit":
                raise TrustError(f"{path!a} is a submodule, another repository that nobody pinned",
                                 hint="ask its author for a package, or add it as a local project")  # fmt: skip
            if kind != "blob" or mode not in {"100644", "100755", "120000"}:
                raise TrustError(f"{path!a} is no plain file (mode {mode})")
            size += int(length)
            rows[path] = _Row(mode, object, int(length))
        if len(rows) > MAX_FILES or size > MAX_TREE:
            raise TrustError(f"the commit holds {len(rows)} files and {size} bytes, too much for a server")
        return rows

    async def _read(self, *words: str) -> Finished:
        done = await self._git(("-C", str(self._repository), *words), READING)
        if done.code != 0:
            raise TrustError(f"git does not find what was fetched: {words[-1]!a} (it ended with {done.code})")
        return done

    async def _made(self, *words: str) -> None:
        inside = () if words[0] == "init" else ("-C", str(self._repository))
        done = await self._git((*inside, *words), READING)
        if done.code != 0:
            raise TrustError(f"git {words[0]} failed (it ended with {done.code})", hint="update git")

    async def _git(self, words: tuple[str, ...], seconds: float, *, url: str = "", limit: int = MAX_OUTPUT) -> Finished:
        settings = tuple(word for each in _SETTINGS for word in ("-c", each))
        argv = (self._program, "--no-pager", *settings, *words)
        hosts = (host_and_port(url),) if url else ()
        return await self._run(Command(argv, self._work, self._work, self._env, hosts, seconds, limit, self._reads))


def _write(packed: Path, rows: Mapping[str, _Row], folder: Path) -> tuple[str, tuple[str, ...]]:
    """Write what is in the tree and nothing else; its hash over all files, and what was noticed."""
    folder.mkdir(mode=0o700)
    unpacking = Unpacking(folder)
    entries: list[Entry] = []
    findings: list[str] = []
    links: dict[str, str] = {}
    data: bytes
    seen: set[str] = set()
    try:
        with tarfile.open(packed, mode="r:", errors="surrogateescape", encoding="utf-8") as archive:
            for member in archive:
                if member.isdir():
                    continue
                row = rows.get(member.name)
                if row is None or member.name in seen:
                    raise TrustError(f"git packed {member.name!a}, which is not in the commit")
                seen.add(member.name)
                if member.issym():
                    data = member.linkname.encode("utf-8", "surrogateescape")
                else:
                    content = archive.extractfile(member) if member.isreg() else None
                    data = content.read(row.size + 1) if content is not None else b""
                blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
                if member.issym() != (row.mode == "120000") or blob != row.object:
                    raise TrustError(f"git packed other bytes for {member.name!a} than the commit names")
                if member.issym():
                    links[member.name] = data.decode("utf-8", "surrogateescape")
                    continue
                path = unpacking.place(member.name)
                unpacking.take(len(data), path)
                unpacking.write(path, data, executable=row.mode == "100755")
                entries.append(Entry("f", row.mode == "100755", path, hashlib.sha256(data).hexdigest()))
                if data.startswith(_LARGE_FILES):
                    findings.append(f"{path!a} stands for a large file kept elsewhere, which was not fetched")
    except (tarfile.TarError, EOFError) as cause:
        raise TrustError("git packed an archive that cannot be read") from cause
    if missing := sorted(rows.keys() - seen):
        raise TrustError(f"git did not pack {missing[0]!a}, which is in the commit")
    for name, target in sorted(links.items()):
        findings += _follow(name, target, folder, unpacking, entries)
    listing = Listing(tuple(sorted(entries, key=lambda entry: entry.path.encode())), unpacking.size)
    return tree_hash(listing.text()), tuple(findings)


def _follow(name: str, target: str, folder: Path, unpacking: Unpacking, entries: list[Entry]) -> list[str]:
    """A link to a file of the commit becomes a copy of it; no link is ever written.

    Raises:
        TrustError: it leads out of the commit.
    """
    inside = os.path.normpath(os.path.join(os.path.dirname(name), target))
    if target.startswith("/") or inside == ".." or inside.startswith("../") or len(target) > MAX_LINK:
        raise TrustError(f"{name!a} is a link to {target[:120]!a}, which is not in what would be pinned")
    source = folder / inside
    try:
        status = os.lstat(source)
    except OSError:
        return [f"the link {name!a} leads nowhere and was left out"]
    if not stat.S_ISREG(status.st_mode):
        return [f"the link {name!a} leads to a folder and was left out"]
    data, executable = source.read_bytes(), bool(status.st_mode & 0o100)
    path = unpacking.place(name)
    unpacking.take(len(data), path)
    unpacking.write(path, data, executable=executable)
    entries.append(Entry("f", executable, path, hashlib.sha256(data).hexdigest()))
    return []


def _size_of(folder: Path) -> int:
    size = 0
    for path, _, files in os.walk(folder):
        for file in files:
            try:
                size += os.lstat(os.path.join(path, file)).st_size
            except FileNotFoundError:
                continue  # git renames its packs
    return size


def _unreached(address: GitAddress, done: Finished) -> TrustError:
    complaint = done.complaint.lower()
    if "not our ref" in complaint or "unadvertised object" in complaint:
        return TrustError(f"{address.url} has no commit {address.ref}", hint="check the commit's 40 digits")
    if "fsck" in complaint or "bad object" in complaint or "corrupt" in complaint:
        return TrustError(f"{address.url} sent objects that are not sound")
    if "no space left" in complaint:
        return TrustError("no space left for the repository", hint="free some space, then try again")
    if "transport" in complaint and "not allowed" in complaint:
        return TrustError(f"{address.url} leads to a way of connecting that is not allowed")
    if "could not read username" in complaint or "authentication failed" in complaint or "not found" in complaint:
        hint = "check the address; a repository that needs a login cannot be pinned yet"
        return TrustError(f"{address.url} has no repository that anybody may read", hint=hint)
    hint = f"try by hand: git ls-remote {address.url}"
    return TrustError(f"{address.url} cannot be read by git (it ended with {done.code})", hint=hint)
