"""What an image wants of whoever runs it: program, variables, folder, user; and what of that a sandbox gives it."""

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from broker.errors import TrustError
from broker.pin import LaunchRequest
from broker.trust.oci_tree import File, Folder, ImageTree

MAX_WORDS: Final = 512
MAX_TEXT: Final = 128 * 1024
MAX_SCRATCH: Final = 32
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "AMD64": "amd64"}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_OURS: Final = frozenset({"HOME", "USER", "LOGNAME", "TMPDIR", "PWD", "SHELL", "HOSTNAME"})
"""Variables that name what the sandbox has in its own way."""
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # what engines set if an image does not

# What every sandbox puts over the image: the folders and files must be there, for a read-only tree grows none.
_FOLDERS: Final = ("/proc", "/dev", "/tmp", "/run", "/etc", "/home/mcp", "/.bulkhead")  # noqa: S108 - in the image
_FILES: Final = ("passwd", "group", "nsswitch.conf", "hosts", "resolv.conf", "host.conf")
_TEMPORARY: Final = "/var/tmp"  # noqa: S108 - in the image
_COVERED: Final = ("/tmp", "/run", "/home/mcp")  # noqa: S108 - in the image


@dataclass(frozen=True, slots=True)
class Wishes:
    """An image's settings, as far as they mean something here.  `diff_ids` are the digests of its unpacked layers."""

    env: tuple[tuple[str, str], ...]
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    user: str
    cwd: str
    volumes: tuple[str, ...]
    diff_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is run, where it lies in the tree, and the places that stay writable or show a folder; none is a link."""

    program: tuple[str, ...]
    entry: str
    cwd: str
    scratch: tuple[str, ...]
    mounts: tuple[tuple[str, str], ...]


def this_platform() -> str:
    """The platform images are taken for: the sandbox runs Linux programs of this machine's processor."""
    return f"linux/{_MACHINES.get(platform.machine(), platform.machine())}"


def read_wishes(document: Mapping[str, Any], wanted: str) -> Wishes:
    """Read an image's settings.

    Raises:
        TrustError: they are for another machine, or not shaped like settings.
    """
    found = f"{document.get('os')}/{document.get('architecture')}"
    if found != wanted:
        raise TrustError(f"it is made for {ascii(found)[1:60]}, and this machine is {wanted}")
    config, rootfs = document.get("config") or {}, document.get("rootfs") or {}
    if not isinstance(config, dict) or not isinstance(rootfs, dict):
        raise TrustError("its settings are no settings of an image")
    volumes = config.get("Volumes") or {}
    cwd = _text(config.get("WorkingDir") or "/")
    if not isinstance(volumes, dict) or len(volumes) > MAX_SCRATCH or not cwd.startswith("/"):
        raise TrustError("its settings name folders no image has")
    return Wishes(
        env=_env(_words(config.get("Env"))),
        entrypoint=_words(config.get("Entrypoint")),
        cmd=_words(config.get("Cmd")),
        user=_text(config.get("User") or ""),
        cwd=cwd,
        volumes=tuple(map(_text, volumes)),
        diff_ids=_words(rootfs.get("diff_ids")),
    )


def fit(tree: ImageTree, wishes: Wishes, request: LaunchRequest) -> Fitted:
    """Find the program, and make the places that a sandbox covers or a line names.

    Raises:
        TrustError: there is no such program, or a place cannot be made.
    """
    for path in _FOLDERS:
        if tree.real_folder(path) != path:
            raise TrustError(f"its {path} is a link, which no sandbox can cover")
    etc = tree.folder(["etc"], 0)
    for name in _FILES:
        if not isinstance(etc.children.get(name), File):
            etc.children[name] = File(None, 0, False, 0)
    tree.folder(["etc", "bulkhead"], 0).children["trust.pem"] = File(None, 0, False, 0)
    cwd = tree.real_folder(request.cwd or wishes.cwd)
    scratch = {tree.real_folder(path) for path in (_TEMPORARY, *wishes.volumes, *request.scratch)}
    mounts = tuple((host, tree.real_folder(inside)) for host, inside in request.mounts)
    shown = {inside for _, inside in mounts}
    program = _program(wishes, request)
    argv0, entry = _found(tree, program[0], dict(wishes.env).get("PATH", _PATH), cwd)
    return Fitted(
        program=(argv0, *program[1:]),
        entry=entry.lstrip("/"),
        cwd=cwd,
        scratch=tuple(sorted(path for path in scratch if path not in {"/", *shown} and not _lies_in(path, _COVERED))),
        mounts=mounts,
    )


def as_started(wishes: Wishes, request: LaunchRequest) -> Wishes:
    """With the program a line names instead of the image's own."""
    return replace(wishes, entrypoint=(request.bin,), cmd=()) if request.bin else wishes


def _program(wishes: Wishes, request: LaunchRequest) -> tuple[str, ...]:
    words = (*wishes.entrypoint, *(request.args or wishes.cmd))
    if not words or not words[0]:
        raise TrustError("it says nothing to run", hint="name a program after the image")
    return words


def _found(tree: ImageTree, name: str, path: str, cwd: str) -> tuple[str, str]:
    """The program's absolute path, and where it really lies."""
    if "/" in name:
        candidates = [name if name.startswith("/") else f"{cwd.rstrip('/')}/{name}"]
    else:
        candidates = [f"{folder.rstrip('/')}/{name}" for folder in path.split(":") if folder.startswith("/")]
    for candidate in candidates:
        real, node = tree.walk(candidate)
        if isinstance(node, File) and node.executable:
            return candidate, real
        if isinstance(node, File | Folder) and "/" in name:
            raise TrustError(f"{ascii(name)[:120]} in it cannot be run")
    raise TrustError(f"there is no program {ascii(name)[:120]} in it")


def _env(words: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if not _NAME.fullmatch(name):
            raise TrustError(f"its settings have a variable {ascii(name)[:80]}")
        if name not in _OURS:
            found[name] = value
    return tuple(found.items())


def _words(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_WORDS:
        raise TrustError("its settings are no settings of an image")
    return tuple(map(_text, value))


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or "\0" in value:
        raise TrustError("its settings hold what is no text")
    return value


def _lies_in(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
