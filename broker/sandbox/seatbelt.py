"""A SandboxSpec as a Seatbelt profile for macOS, and the line that starts a program under it.

Everything is denied that is not listed, and what no server may have is denied once more at the very end, where nothing
overrules it: the last rule that matches wins.  No path is ever part of the profile's text: paths are parameters, so
none can be read as a rule.  Pure, and unverified: nobody has run it on that system yet.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from broker.errors import SandboxError
from broker.model import SandboxSpec
from broker.sandbox.hosts import PROXY_PORT
from broker.sandbox.protect import GUARDED, GUARDED_IN_GIT

PROGRAM: Final = "/usr/bin/sandbox-exec"
UNVERIFIED: Final = "unverified on this OS"

REAL_PLACES: Final = ("/tmp", "/var", "/etc")  # noqa: S108 - on macOS these are links into /private, and rules need real paths
PROGRAMS: Final = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/libexec")
READABLE: Final = (
    *("/usr/lib", "/usr/share", "/System/Library", "/System/Cryptexes", "/System/Volumes/Preboot/Cryptexes"),
    *("/Library/Apple", "/private/var/db/dyld", "/private/var/db/timezone", "/private/etc/ssl"),
)
READABLE_FILES: Final = (
    *("/", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/dtracehelper"),
    *("/private/etc/localtime", "/private/etc/services", "/private/etc/protocols"),
)
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/dtracehelper")
SYSCTLS: Final = (
    *("kern.ostype", "kern.osrelease", "kern.osversion", "kern.osproductversion", "kern.version", "kern.hostname"),
    *(
        "kern.argmax",
        "kern.ngroups",
        "kern.maxfilesperproc",
        "kern.bootargs",
        "vm.loadavg",
        "security.mac.lockdown_mode_state",
    ),
)
MACH_SERVICES: Final = (
    "com.apple.system.opendirectoryd.libinfo",  # who the user is
    "com.apple.system.notification_center",  # that the time zone changed
    "com.apple.system.logger",
)
"""The few system services programs ask as they start; each one more is a way out of the box."""

KEYCHAIN_SERVICES: Final = (
    *("com.apple.SecurityServer", "com.apple.securityd", "com.apple.securityd.xpc", "com.apple.securityd.general"),
    *("com.apple.securityd.system", "com.apple.secd", "com.apple.security.agent", "com.apple.security.authhost"),
    *("com.apple.security.keychainproxy", "com.apple.ctkd.token-client", "com.apple.CredentialStorage"),
    *("com.apple.accountsd.accountmanager", "com.apple.tccd", "com.apple.tccd.system"),
)
SESSION_SERVICES: Final = (
    *("com.apple.pasteboard.1", "com.apple.windowserver.active", "com.apple.coreservices.appleevents"),
    *("com.apple.coreservices.launchservicesd", "com.apple.lsd.open", "com.apple.cfprefsd.agent"),
    *("com.apple.cfprefsd.daemon", "com.apple.mDNSResponder", "com.apple.xpc.smd", "com.apple.dt.xcsecurity"),
)
"""The clipboard, the screen, other programs, their settings, and the name service, which would carry data out."""
KEYCHAIN_FOLDERS: Final = r"/Library/Keychains(/|$)"


@dataclass(frozen=True, slots=True)
class Profile:
    """The rules, and what their parameters stand for."""

    text: str
    parameters: tuple[tuple[str, str], ...]

    def argv(self, program: tuple[str, ...]) -> tuple[str, ...]:
        """The line that runs `program` under these rules."""
        given = (word for name, value in self.parameters for word in ("-D", f"{name}={value}"))
        return (PROGRAM, "-p", self.text, *given, "--", *program)


def profile(spec: SandboxSpec, home: Path, tmp: Path) -> Profile:
    """The rules of `spec`, whose places are named as they are on the machine; `home` and `tmp` belong to its link.

    Raises:
        SandboxError: it is an image, or one of its places cannot be a parameter.
    """
    if spec.image is not None:
        raise SandboxError(f"{spec.server} is an image, and Seatbelt cannot hold one")
    parameters: list[tuple[str, str]] = []

    def parameter(name: str, path: Path) -> str:
        parameters.append((name, canonical(path)))
        return f'(param "{name}")'

    lines = [*_base(), *(_network(spec))]
    grants: list[str] = []
    for number, mount in enumerate(spec.mounts):  # the outer ones first, as the plan has ordered them
        grants += _granted(parameter(f"GRANT_{number}", mount.source), mount.source, writable=mount.writable)
    for name, path in (("HOME", home), ("TMP", tmp)):
        place = parameter(name, path)
        grants += [f"(allow file-read* file-write* (subpath {place}))", f"(allow process-exec (subpath {place}))"]
        if spec.unix_sockets:
            grants.append(f"(allow network-bind network-inbound network-outbound (subpath {place}))")
    above = sorted({folder for _, value in parameters for folder in map(str, PurePosixPath(value).parents)} - {"/"})
    ways = [parameter(f"ABOVE_{number}", Path(folder)) for number, folder in enumerate(above)]
    lines += [f"(allow file-read-metadata (literal {way}))" for way in ways]
    return Profile("\n".join((*lines, *grants, *_never())) + "\n", tuple(parameters))


def canonical(path: Path) -> str:
    """The path as the kernel of macOS names it.

    Raises:
        SandboxError: it is not absolute, not plain, or the whole machine.
    """
    text = str(path)
    if not path.is_absolute() or ".." in path.parts or "\0" in text or text == "/":
        raise SandboxError(f"{text!r:.200} cannot be named in a Seatbelt profile", hint="name an absolute, plain path")
    text = "/" + text.lstrip("/")
    return f"/private{text}" if any(text == link or text.startswith(f"{link}/") for link in REAL_PLACES) else text


def quoted(text: str) -> str:
    """`text` as a string of the profile's language.

    Raises:
        SandboxError: it holds what a line of a profile should not.
    """
    if not text.isprintable() or not text.isascii():
        raise SandboxError(f"{text!r:.80} cannot stand in a Seatbelt profile")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _base() -> Iterator[str]:
    yield "(version 1)"
    yield "(deny default)"
    yield "(allow process-fork)"
    yield "(allow process-info* (target same-sandbox))"
    yield "(allow signal (target same-sandbox))"
    yield _rule("allow process-exec", "subpath", PROGRAMS)
    yield _rule("allow file-read* file-map-executable", "subpath", (*PROGRAMS, *READABLE))
    yield _rule("allow file-read*", "literal", READABLE_FILES)
    yield _rule("allow file-write-data file-ioctl", "literal", DEVICES)
    yield _rule("allow file-read-metadata", "literal", REAL_PLACES)
    yield _rule("allow sysctl-read", "sysctl-name", SYSCTLS)
    yield _rule("allow sysctl-read", "sysctl-name-prefix", ("hw.",))
    yield _rule("allow mach-lookup", "global-name", MACH_SERVICES)


def _network(spec: SandboxSpec) -> Iterator[str]:
    """Nothing but the proxy, and that only for a server with hosts."""
    if spec.hosts:
        yield f'(allow network-outbound (remote ip "localhost:{PROXY_PORT}"))'


def _granted(place: str, path: Path, *, writable: bool) -> Iterator[str]:
    yield f"(allow file-read* file-map-executable (subpath {place}))"
    yield f"(allow process-exec (subpath {place}))"
    if not writable:
        yield f"(deny file-write* (subpath {place}))"  # also where it lies in one that may be written
        return
    yield f"(allow file-write* (subpath {place}))"
    in_git = path.name.lower() == ".git"
    for name in GUARDED_IN_GIT if in_git else (*GUARDED, ".git"):
        yield f"(deny file-write* (require-all (subpath {place}) (regex {_named(name)})))"
    yield f"(deny file-write-unlink file-write-mode (literal {place}))"


def _never() -> Iterator[str]:
    """Denied whatever was said before."""
    yield _rule("deny mach-lookup", "global-name", (*KEYCHAIN_SERVICES, *SESSION_SERVICES))
    yield f'(deny file-read* file-write* (regex #"{_any_case(KEYCHAIN_FOLDERS)}"))'
    yield "(deny appleevent-send)"
    yield "(deny file-write-setugid)"
    yield "(deny process-info* (target others))"
    yield "(deny signal (target others))"


def _rule(what: str, kind: str, names: tuple[str, ...]) -> str:
    return f"({what} {' '.join(f'({kind} {quoted(name)})' for name in names)})"


def _named(name: str) -> str:
    """A pattern for a file or folder of this name, and all below it."""
    return f'#"/{_any_case(re.escape(name))}(/|$)"'


def _any_case(pattern: str) -> str:
    """File names on macOS are the same in capitals, and a rule's pattern is not."""
    return "".join(f"[{c.lower()}{c.upper()}]" if c.isascii() and c.isalpha() else c for c in pattern)
