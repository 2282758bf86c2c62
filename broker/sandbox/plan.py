"""What one server may see: a verified artifact, the user's grants and a constructed environment become a SandboxSpec.

This is the only maker of a `SandboxSpec`, and for a server it takes only a `NamedArtifact`.  A tool that gets
packages has a box of its own kind.  Nothing is inherited: what is not named here does not exist inside.  Pure: whoever
calls answers what real paths are.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from broker.errors import SandboxError
from broker.model import Grants, Limits, Mount, NamedArtifact, SandboxSpec, ServerName
from broker.sandbox.browsing import OPENER, asks_for_pages
from broker.sandbox.hosts import PROXY_PORT, HostRules
from broker.sandbox.inspection import Inspected, placeholder

HOME: Final = Path("/home/mcp")

ENVIRONMENT: Final = MappingProxyType(
    {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(HOME),
        "USER": "mcp",
        "LOGNAME": "mcp",
        "SHELL": "/bin/sh",
        "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own, fresh and empty
        "LANG": "C.UTF-8",
    }
)
OURS_TO_SET: Final = frozenset(ENVIRONMENT) - {"LANG"} | {"PWD"}
"""The user's value of these is left out: it would name folders that do not exist inside."""

_PROXY: Final = f"http://127.0.0.1:{PROXY_PORT}"
_NO_PROXY: Final = "localhost,127.0.0.1,::1"
OF_THE_NETWORK: Final = MappingProxyType(
    {
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), _PROXY),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), _NO_PROXY),
        "NODE_USE_ENV_PROXY": "1",
    }
)
"""What a server with hosts is told of its proxy.  Programs that do not look at it are captured all the same.

The proxy speaks SOCKS too, but is not named so: httpx does not even start then without a package of its own.
"""

TRUST: Final = Path("/etc/bulkhead/trust.pem")
OF_INSPECTION: Final = MappingProxyType(
    dict.fromkeys(
        (
            *("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"),
            *("GIT_SSL_CAINFO", "AWS_CA_BUNDLE", "DENO_CERT", "CARGO_HTTP_CAINFO", "npm_config_cafile"),
            *("HTTPLIB2_CA_CERTS", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"),
        ),
        str(TRUST),
    )
)
"""What tells programs which authority to trust where connections are looked into."""

VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
MAX_ENVIRONMENT: Final = 128 * 1024  # what Linux takes for a single string of it; servers need a few KiB in all

LOADERS: Final = frozenset(
    {
        *("BASH_ENV", "ENV", "IFS", "PS4", "SHELLOPTS", "BASHOPTS"),
        *("GCONV_PATH", "GLIBC_TUNABLES", "HOSTALIASES", "LOCPATH", "NLSPATH", "RESOLV_HOST_CONF"),
        *("NODE_OPTIONS", "NODE_PATH", "NODE_REPL_EXTERNAL_MODULE"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONINSPECT", "PYTHONBREAKPOINT"),
        *("PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "PYTHONPYCACHEPREFIX", "PYTHONWARNINGS"),
        *("PERL5LIB", "PERL5OPT", "PERLLIB", "RUBYLIB", "RUBYOPT", "CLASSPATH", "DOTNET_STARTUP_HOOKS"),
        *("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"),
        *("OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES"),
    }
)
LOADER_PREFIXES: Final = ("LD_", "DYLD_", "NPM_CONFIG_", "COR_", "CORECLR_")
"""Variables that make a verified program load something else."""

TOOL_LIMITS: Final = Limits(processes=1024)
"""Compiling ahead starts a process for each processor."""

SYSTEM_FOLDERS: Final = tuple(Path(p) for p in ("/run", "/var/run", "/proc", "/sys", "/dev", "/etc"))
PROGRAM_FOLDERS: Final = tuple(Path(p) for p in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/boot"))
PRIVATE_IN_HOME: Final = (
    *(".config", ".local", ".mozilla", ".thunderbird", ".var", "snap", ".pki", ".dbus"),
    *("Library/Keychains", "Library/Cookies", "Library/Application Support"),
    *(".azure", ".cargo", ".terraform.d", ".netrc", ".npmrc", ".pypirc", ".pgpass", ".git-credentials", ".gitconfig"),
    *(".bashrc", ".bash_profile", ".bash_history", ".profile", ".zshrc", ".zprofile", ".zshenv", ".zsh_history"),
    *(".claude", ".claude.json", ".codex", ".cursor", ".gemini", ".vscode"),
)
"""Settings, keyrings, browsers, credentials, what shells and assistants run: no grant, nor anything below."""
PRIVATE_ANYWHERE: Final = frozenset({".ssh", ".gnupg", ".aws", ".docker", ".kube", ".password-store", "keyrings"})

OWN_TARGETS: Final = tuple(
    Path(p) for p in ("/", "/proc", "/dev", "/sys", "/etc", "/run", "/usr", "/bin", "/sbin", "/lib", "/lib64")
)


def plan(
    artifact: NamedArtifact,
    grants: Grants,
    limits: Limits,
    *,
    env: Mapping[str, str],
    home: Path,
    protected: Sequence[Path],
    realpath: Callable[[Path], Path],
    cwd: Path = HOME,
    state: Path | None = None,
) -> SandboxSpec:
    """Compose the sandbox of one server.  `state` is the folder it keeps, its home from then on.

    `env` is the user's own environment for this server (and `TZ`); `home` the user's home; `protected` Bulkhead's own
    folders, client configurations and whatever else no server may be granted.  Names in `OURS_TO_SET` keep our value.

    Raises:
        SandboxError: a grant, a host, a variable or the artifact's own layout may not be; the message names it.
    """
    server = artifact.server
    code = _code_mounts(artifact)
    forbidden = [*map(realpath, protected), *(path for mount in code for path in (mount.source, mount.target))]
    forbidden += [artifact.image.source] if artifact.image else []
    for path, writable in (*((p, False) for p in grants.read), *((p, True) for p in grants.write)):
        check_grant(server, path, writable, home=realpath(home), forbidden=forbidden, realpath=realpath)
    granted = {path: Mount(path, _place(artifact, path, realpath)) for path in grants.read}
    granted |= {path: Mount(path, _place(artifact, path, realpath), writable=True) for path in grants.write}
    _check_argv(artifact)
    check_sockets(server, grants)
    if grants.unix_sockets and artifact.kind in ("project", "binary"):
        raise SandboxError(
            f"{server} cannot have unix sockets: it runs from a folder of yours and could reach sockets there",
            hint=f"bulkhead sandbox {server} --unix-sockets off",
        )
    rules = HostRules.of(grants.hosts)
    rules.check_company(server, [str(path) for path in granted], list(env))
    environment = {**_environment(artifact, env), **(OF_THE_NETWORK if rules.rules else {})}
    if asks_for_pages(rules.texts, grants.listen, artifact.image is not None, grants.boxed):
        environment |= {"BROWSER": str(OPENER), "PATH": f"{OPENER.parent}:{environment['PATH']}"}
    secrets: dict[str, str] = {}
    inspection = grants.inspection if rules.rules else None
    if inspection is not None:
        inspected = Inspected.of(server, inspection, rules, env)
        secrets = {secret.name: secret.value for secret in inspected.secrets}
        environment |= {**OF_INSPECTION, **{name: placeholder(name) for name in secrets}}
    if cwd == HOME and artifact.cwd is not None:
        cwd = artifact.cwd
    in_image = artifact.image is not None and cwd == artifact.cwd
    if cwd != HOME and not in_image and not any(_lies_in(cwd, path) for path in (*granted, *(m.target for m in code))):
        raise SandboxError(f"{server} cannot start in {cwd}: it is not in a granted folder", hint="grant it first")
    return SandboxSpec(
        server=server,
        argv=artifact.argv,
        env=MappingProxyType(environment),
        cwd=cwd,
        mounts=tuple(sorted((*code, *granted.values()), key=_outer_first)),
        limits=limits,
        state=state,
        image=artifact.image,
        boxed=grants.boxed,
        unix_sockets=grants.unix_sockets,
        listen=grants.listen,
        hosts=rules.texts,
        inspection=inspection,
        secrets=MappingProxyType(secrets),
    )


def check_sockets(server: ServerName, grants: Grants) -> None:
    """Refuse unix sockets beside files of the user: one that a program of theirs listens on there, today or later,
    could be connected to, also where the folder is for reading only.

    Raises:
        SandboxError: it has both.
    """
    shown = [
        path for path in (*grants.read, *grants.write) if not any(_lies_in(path, each) for each in PROGRAM_FOLDERS)
    ]
    if grants.unix_sockets and grants.boxed and shown:
        raise SandboxError(
            f"{server} cannot have unix sockets and {shown[0]}: it could reach what listens on a socket there",
            hint=f"bulkhead sandbox {server} --unix-sockets off, or add it anew without the folder",
        )


def plan_tool(
    name: str,
    argv: tuple[str, ...],
    *,
    env: Mapping[str, str],
    cwd: Path,
    work: Path,
    reads: Sequence[Path],
    hosts: Sequence[str],
    home: Path,
    realpath: Callable[[Path], Path],
) -> SandboxSpec:
    """Compose the box of a tool that gets packages: it writes into `work`, reads `reads`, and reaches `hosts` only.

    `reads` are the tool's own runtime and what its settings name; paths that are links are shown under both names.

    Raises:
        SandboxError: one of them is or holds the user's home, or a host can be no registry.
    """
    shown: dict[Path, Mount] = {}
    for path in reads:
        real = realpath(path)
        if _lies_in(realpath(home), real):
            raise SandboxError(f"{name} cannot run in a box: it would need {path}, which is or holds your home folder",
                               hint=f"install {name} into a folder of its own")  # fmt: skip
        if not any(_lies_in(path, folder) for folder in (*PROGRAM_FOLDERS, work)):
            shown |= {target: Mount(real, target) for target in (path, real)}
    spare = [target for target in shown if any(other in target.parents for other in shown)]
    kept = [mount for target, mount in shown.items() if target not in spare or mount.source != target]
    return SandboxSpec(
        server=ServerName(name),
        argv=argv,
        env=MappingProxyType(dict(env)),
        cwd=cwd,
        mounts=tuple(sorted((*kept, Mount(realpath(work), work, writable=True)), key=_outer_first)),
        limits=TOOL_LIMITS,
        hosts=HostRules.of_registries(hosts).texts if hosts else (),
        tool=True,
    )


def rules_of(spec: SandboxSpec) -> HostRules:
    """What a sandbox may reach: a server what it was granted, a tool the registries it was configured for."""
    return HostRules.of_registries(spec.hosts) if spec.tool else HostRules.of(spec.hosts)


def plan_probe(argv: tuple[str, ...]) -> SandboxSpec:
    """The sandbox without a server, a grant or a secret in it, for finding out whether this machine can build one."""
    return SandboxSpec(
        server=ServerName("probe"),
        argv=argv,
        env=ENVIRONMENT,
        cwd=HOME,
        mounts=(),
        limits=Limits(),
    )


def check_grant(
    server: ServerName,
    path: Path,
    writable: bool,
    *,
    home: Path,
    forbidden: Sequence[Path],
    realpath: Callable[[Path], Path],
) -> None:
    """Refuse what no server is ever shown.  Raises SandboxError, which says why."""

    def refuse(reason: str, hint: str = "grant a folder that holds only what this server needs") -> SandboxError:
        return SandboxError(f"{path} cannot be granted to {server}: {reason}", hint=hint)

    if not path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise refuse("it is not an absolute, plain path")
    if (real := realpath(path)) != path:
        raise refuse(f"it is a link to {real}", hint=f"grant {real} if that is what you mean")
    if path == Path("/"):
        raise refuse("it is the whole machine")
    if _lies_in(home, path):
        raise refuse("it is your home folder or holds it")
    for folder in SYSTEM_FOLDERS:
        if _overlap(path, folder):
            raise refuse(f"it overlaps the system folder {folder}")
    for name in PRIVATE_IN_HOME:
        if _lies_in(path, home / name):
            raise refuse(f"~/{name} holds settings or credentials")
    for part in path.parts:
        if part in PRIVATE_ANYWHERE:
            raise refuse(f"{part} holds credentials")
    if writable and any(_lies_in(path, folder) for folder in PROGRAM_FOLDERS):
        raise refuse("programs of the system live there", hint="grant it for reading, or another folder for writing")
    for other in forbidden:
        if _overlap(path, other):
            raise refuse(f"it overlaps {other}, which belongs to Bulkhead, to a client or to a server's own code")


def _place(artifact: NamedArtifact, path: Path, realpath: Callable[[Path], Path]) -> Path:
    """Where a granted path is seen: at its own place, or where the line of an image says."""
    if artifact.image is None:
        return path
    for source, target in artifact.image.places:
        if realpath(source) == path:  # the line may name it through a link
            return target
    raise SandboxError(
        f"{path} has no place in the image of {artifact.server}", hint=f"name it on its line: -v {path}:/PLACE"
    )


def _code_mounts(artifact: NamedArtifact) -> tuple[Mount, ...]:
    for mount in artifact.mounts:
        what = f"the code of {artifact.server} cannot be shown at {mount.target}"
        if mount.writable:
            raise SandboxError(f"{what}: it would be writable")
        if not mount.source.is_absolute() or not mount.target.is_absolute() or ".." in mount.target.parts:
            raise SandboxError(f"{what}: not an absolute, plain path")
        if any(_lies_in(own, mount.target) for own in (*OWN_TARGETS, HOME)):
            raise SandboxError(f"{what}: the sandbox keeps that place for itself")
    return artifact.mounts


def _check_argv(artifact: NamedArtifact) -> None:
    if not artifact.argv or not artifact.argv[0].startswith("/"):
        raise SandboxError(f"the program of {artifact.server} has no absolute path")
    if any("\0" in argument for argument in artifact.argv):
        raise SandboxError(f"an argument of {artifact.server} holds a NUL")


def _environment(artifact: NamedArtifact, wanted: Mapping[str, str]) -> dict[str, str]:
    """Ours, then the user's, then what the ecosystem needs; the later wins.  An image's come before the user's."""
    server, needed = artifact.server, artifact.env
    for name, value in wanted.items():
        if not VARIABLE_NAME.fullmatch(name):
            raise SandboxError(f"{name!r:.80} is no name for an environment variable of {server}")
        if name.upper() in LOADERS or name.upper().startswith(LOADER_PREFIXES):
            raise SandboxError(
                f"the environment variable {name} would make {server} load code that was not verified",
                hint=f"remove {name} from the environment of {server}",
            )
        if "\0" in value:
            raise SandboxError(f"the environment variable {name} of {server} holds a NUL")
    if sum(len(name) + len(value) + 2 for name, value in wanted.items()) > MAX_ENVIRONMENT:
        raise SandboxError(f"the environment of {server} is larger than {MAX_ENVIRONMENT} bytes")
    chosen = {name: value for name, value in wanted.items() if name not in OURS_TO_SET}
    return {**ENVIRONMENT, **needed, **chosen} if artifact.image else {**ENVIRONMENT, **chosen, **needed}


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether `path` is `folder` or below it."""
    return path == folder or folder in path.parents


def _overlap(one: Path, other: Path) -> bool:
    return _lies_in(one, other) or _lies_in(other, one)


def _outer_first(mount: Mount) -> tuple[int, str]:
    """A mount inside another must come after it, or it would be hidden."""
    return len(mount.target.parts), str(mount.target)
