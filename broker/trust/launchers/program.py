"""Programs of this machine: a binary, or an interpreter with a script.

What is pinned is the file that runs.  A program whose job is to run something else would pin nothing, so the known
ones are refused by name.
"""

import re
from types import MappingProxyType
from typing import Final

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launchers.uvx import MODULE, PYTHON
from broker.trust.launchers.words import Line, paths_among

NODE = re.compile(r"node(?:js)?")

_PYTHON_FLAGS: Final = frozenset({"-u", "-B", "-I", "-E", "-s", "-S", "-P", "-O", "-OO", "-q"})
_NODE_FLAGS: Final = frozenset({"--no-warnings", "--no-deprecation", "--enable-source-maps"})
_INLINE = "code on the command line has no file to pin"
_LOADS = "it loads code that is not pinned"
_CODE: Final = MappingProxyType(
    {
        "-c": _INLINE,
        "-e": _INLINE,
        "--eval": _INLINE,
        "-p": _INLINE,
        "-m": "the module would be searched for at every start; use uvx, or the python of a virtual environment",
        "-r": _LOADS,
        "--require": _LOADS,
        "--import": _LOADS,
        "--loader": _LOADS,
    }
)

_SHELL = "a shell runs whatever its line says; give the server's own command"
_CONTAINER = "containers cannot be run in a sandbox yet"
_RUNNER = "this launcher is not understood yet; use npx, uvx, or the absolute path of the server's program"
_WRAPPER = "it runs another program that would not be pinned; give the server's own command"
_LANGUAGE = "this interpreter is not understood yet; only python and node run scripts"

_HINTS: Final = (
    (_SHELL, "sh bash dash zsh fish ksh csh tcsh busybox toybox pwsh powershell powershell.exe cmd cmd.exe"),
    (_CONTAINER, "kubectl lxc machinectl"),
    (_RUNNER, "corepack tsx ts-node pip pip3 poetry pdm hatch rye pixi conda mamba"),
    (_RUNNER, "micromamba mise asdf volta fnm nvm cargo go make just nix nix-shell brew git"),
    (_WRAPPER, "env sudo doas su runuser setpriv chroot nice ionice chrt taskset nohup setsid timeout time stdbuf"),
    (_WRAPPER, "script xargs find parallel watch exec command eval ssh wsl wsl.exe systemd-run unshare nsenter bwrap"),
    (_WRAPPER, "firejail strace ltrace gdb valgrind flatpak snap dbus-run-session xvfb-run socat nc ncat curl wget"),
    (_WRAPPER, "direnv dotenv op doppler infisical"),
    (_LANGUAGE, "ruby perl php lua Rscript julia pypy pypy3 awk gawk tclsh guile osascript"),
)
REFUSED: Final = MappingProxyType({name: hint for hint, names in _HINTS for name in names.split()})
_LOADER = re.compile(r"ld(?:-linux|-musl|\.so).*")


def parse(line: Line) -> LaunchRequest:
    """A binary by absolute path or by a name on the PATH, or python/node with a script's absolute path."""
    word, name = line.words[0], line.words[0].rpartition("/")[2]
    if "/" in word and not word.startswith("/"):
        raise LaunchLineError(f"{word!r} is a relative path", hint="give the absolute path of the program")
    if reason := REFUSED.get(name, _WRAPPER if _LOADER.fullmatch(name) else ""):
        raise LaunchLineError(f"{name!r} is refused as a launcher", hint=reason)
    _there(line, word)
    if PYTHON.fullmatch(name):
        if (environment := _environment(line)) and "-m" in line.words[1:3]:
            return _module(line, environment)
        return _script(line, "python", _PYTHON_FLAGS)
    if NODE.fullmatch(name):
        return _script(line, "node", _NODE_FLAGS)
    return _binary(line, name)


def _script(line: Line, runner: str, known: frozenset[str]) -> LaunchRequest:
    flags: list[str] = []
    for word in line.words[1:]:
        if not word.startswith("-"):
            break
        if word not in known:
            hint = _CODE.get(word.partition("=")[0], "remove it if the server does not need it")
            raise LaunchLineError(f"{runner} option {word!r} is refused", hint=hint)
        flags.append(word)
    rest = line.words[1 + len(flags) :]
    if not rest:
        raise LaunchLineError(f"{runner} is given no script", hint="give the absolute path of the server's script")
    script = rest[0]
    if not script.startswith("/"):
        hint = "give the script's absolute path; a relative one means another file in another folder"
        raise LaunchLineError(f"the script {script!r} is not an absolute path", hint=hint)
    _there(line, script)
    return LaunchRequest(
        argv=line.argv,
        runner=runner,
        kind="script",
        requirement=script,
        args=rest[1:],
        bin=line.words[0],
        extra=tuple(flags),
        env=line.variables,
        paths=paths_among(rest[1:]),
    )


def _environment(line: Line) -> str:
    """The virtual environment whose python the line names; empty if it is another's."""
    folder, _, _ = line.words[0].rpartition("/bin/")
    return (
        folder
        if folder.startswith("/") and ".." not in folder.split("/") and line.exists(f"{folder}/pyvenv.cfg")
        else ""
    )


def _module(line: Line, environment: str) -> LaunchRequest:
    """`/ENVIRONMENT/bin/python [-u] -m MODULE [ARGUMENT...]`: what is pinned is the whole environment."""
    at = line.words.index("-m")
    flags, rest = line.words[1:at], line.words[at + 1 :]
    if flags and flags[0] not in _PYTHON_FLAGS:
        raise LaunchLineError(f"python option {flags[0]!r} is refused", hint="remove it if the server does not need it")
    if not rest or not MODULE.fullmatch(rest[0]):
        raise LaunchLineError(f"{(rest or ('nothing',))[0]!r} is not the name of a module", hint="use -m PACKAGE")
    return LaunchRequest(
        argv=line.argv,
        runner="python",
        kind="project",
        requirement=environment,
        args=rest[1:],
        bin=line.words[0],
        extra=flags,
        env=line.variables,
        paths=paths_among(rest[1:]),
        module=rest[0],
    )


def _binary(line: Line, name: str) -> LaunchRequest:
    word, args = line.words[0], line.words[1:]
    if not word.startswith("/") and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", word):
        raise LaunchLineError(f"{word!r} is not the name of a program", hint="give its absolute path")
    for arg in args:
        if arg in {"|", "||", "&", "&&", ";", ">", "<", ">>", "2>&1"}:
            raise LaunchLineError(f"the word {arg!r} belongs to a shell", hint=_SHELL)
    warnings = () if word.startswith("/") else (f"{name} is looked up on the PATH once, now",)
    return LaunchRequest(
        argv=line.argv,
        runner="program",
        kind="binary",
        requirement=word,
        args=args,
        env=line.variables,
        paths=paths_among(args),
        warnings=warnings,
    )


def _there(line: Line, path: str) -> None:
    if path.startswith("/") and not line.exists(path):
        raise LaunchLineError(f"{path} does not exist", hint="check the path")
