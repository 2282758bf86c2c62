"""What a sandbox's root is made of: folders of this machine, or an image as the whole file system, all read-only.

Nothing of an image runs before the gate: the few programs that stand between bwrap and the server are this machine's
own, shown with their libraries in a folder that no image has.
"""

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import SandboxError
from broker.model import ImageRoot, Limits, SandboxSpec

OWN: Final = Path("/.bulkhead")
OWN_SIZE: Final = 64 << 10  # mount points and nothing else
_SEARCH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_ASKING: Final = 10.0  # seconds; it takes milliseconds
_LIBRARY: Final = re.compile(r"^\s*(?:(\S+) => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Programs:
    """Files of this machine and their names in `OWN`; `loader` starts each of them with the libraries beside it."""

    files: tuple[tuple[Path, str], ...] = ()
    loader: str = ""
    plain: tuple[tuple[str, str], ...] = ()

    def start(self, name: str) -> tuple[str, ...]:
        """The words that start one of the programs inside."""
        if not self.files:
            return (dict(self.plain)[name],)
        if not self.loader:
            return (str(OWN / name),)
        return (str(OWN / self.loader), "--library-path", str(OWN), str(OWN / name))


def programs_for(spec: SandboxSpec, setpriv: Path | None, listener: Path | None) -> Programs:
    """The programs between bwrap and the server: those every sandbox sees under /usr, or an image's own folder of them.

    Raises:
        SandboxError: they cannot be shown in an image.
    """
    if spec.image is None:
        return Programs(plain=(("sh", "/bin/sh"), ("chown", "chown"), ("setpriv", str(setpriv))))
    if listener is not None and spec.hosts:
        raise SandboxError(
            f"{spec.server} is an image and may reach hosts, and this machine cannot filter its network (tier A')",
            hint="bulkhead doctor says what a full sandbox needs here; without hosts it starts",
        )
    as_root = [setpriv, Path(shutil.which("chown", path=_SEARCH) or "/bin/chown")] if setpriv is not None else []
    return programs(Path("/bin/sh"), *as_root)


def seen_at(spec: SandboxSpec, path: Path) -> Path:
    """Where a path in a writable grant is inside."""
    for mount in spec.mounts:
        if mount.writable and (path == mount.source or mount.source in path.parents):
            return mount.target / path.relative_to(mount.source)
    return path


@functools.cache
def programs(*paths: Path) -> Programs:
    """What must be shown so that these programs of this machine run inside an image.

    Raises:
        SandboxError: their libraries cannot be found out.
    """
    files = {path.name: path.resolve() for path in paths}
    loader = ""
    for path in paths:
        listed = _libraries(path)
        for wanted, library in listed:
            name = wanted or Path(library).name
            files[name] = Path(library).resolve()
            if not wanted or name.startswith("ld-"):
                loader = name
    return Programs(tuple((path, name) for name, path in files.items()), loader)


def machine_words() -> list[str]:
    """bwrap's options for the programs of this machine; everything else starts empty."""
    options = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib64", "lib32"):
        path = Path("/", name)
        if path.is_symlink():
            options += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    options += ["--dir", "/run", "--dir", "/var"]
    return [*options, "--symlink", "../tmp", "/var/tmp", "--symlink", "../run", "/var/run"]  # noqa: S108


def image_words(image: ImageRoot, number: str, own: Programs, limits: Limits) -> list[str]:
    """bwrap's options for everything below the grants; the image is descriptor `number`."""
    options = ["--ro-bind-fd", number, "/"]
    for path in (Path("/run"), *image.scratch):
        options += ["--perms", "1777", "--size", str(limits.tmp_size), "--tmpfs", str(path)]
    options += ["--perms", "0755", "--size", str(OWN_SIZE), "--tmpfs", str(OWN)]
    for path, name in own.files:
        options += ["--ro-bind", str(path), str(OWN / name)]
    return [*options, "--remount-ro", str(OWN)]


def _libraries(path: Path) -> list[tuple[str, str]]:
    """What `ldd` lists: the name a program asks for, and the file it gets; the loader has no such name."""
    try:
        done = subprocess.run(
            ["ldd", str(path)], env={"PATH": _SEARCH, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=_ASKING, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise SandboxError(f"images cannot be run here: the libraries of {path} cannot be found out",
                           hint="install ldd, which comes with the C library") from cause  # fmt: skip
    return _LIBRARY.findall(done.stdout)  # nothing for a program that needs none
