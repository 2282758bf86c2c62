"""uv: `uv tool run`, which is uvx; `uv run` in a local project, or with packages alone.

A project is named by `--directory` or `--project`: the folder the client happens to be in is never searched.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launchers.uvx import MODULE, PYTHON, extras, program_of, python_of, read_uvx, uvx_request
from broker.trust.launchers.words import Line, Options, existing_file, paths_among, read_options

_SOURCE = "choose the index in your uv configuration, where every tool of yours sees it"
_FOLDER = "a folder has no version that stands still; name a package"
_GLOBAL_SWITCHES: Final = frozenset({"-q", "--quiet", "--no-progress", "--offline", "-n", "--no-cache"})
_GLOBAL_VALUED: Final = {"--directory": "directory", "--project": "project"}
_SWITCHES: Final = _GLOBAL_SWITCHES | {
    "-m", "--module", "--frozen", "--locked", "--no-sync", "--no-dev", "--no-project", "--isolated",
}  # fmt: skip
_VALUED: Final = {**_GLOBAL_VALUED, "-w": "with", "--with": "with", "-p": "python", "--python": "python"}
_REFUSED: Final = {
    "--index": _SOURCE, "--default-index": _SOURCE, "--index-url": _SOURCE, "-i": _SOURCE, "--extra-index-url": _SOURCE,
    "--find-links": _SOURCE, "-f": _SOURCE, "--config-file": _SOURCE, "--with-editable": _FOLDER,
    "--with-requirements": "name the packages with --with", "--env-file": "name the variables with `env NAME=VALUE`",
    "-s": "a script with its own list of packages cannot be pinned yet; name them with --with",
    "--script": "a script with its own list of packages cannot be pinned yet; name them with --with",
    "--package": "a member of a workspace cannot be pinned yet", "--extra": "name the packages with --with",
    "--all-extras": "name the packages with --with", "--group": "name the packages with --with",
    "--active": "it runs in whatever environment the client is in",
}  # fmt: skip


def parse_uv(line: Line) -> LaunchRequest:
    """`uv tool run ...` or `uv [--directory DIR] run ...`"""
    before = read_options("uv", line.words[1:], switches=_GLOBAL_SWITCHES, valued=_GLOBAL_VALUED, refused=_REFUSED)
    if before.rest[:2] == ("tool", "run") and not before.values("directory") and not before.values("project"):
        return uvx_request(line, "uv tool run", read_uvx("uv tool run", before.rest[2:]))
    if before.rest[:1] != ("run",):
        words = " ".join(before.rest[:2])
        hint = "use `uvx PACKAGE`, `uv tool run PACKAGE` or `uv --directory /FOLDER run PROGRAM`"
        raise LaunchLineError(f"uv {words!r} is not a launch that can be pinned", hint=hint)
    after = read_options("uv run", before.rest[1:], switches=_SWITCHES, valued=_VALUED, refused=_REFUSED)
    options = Options(before.given + after.given, after.rest)
    if not options.rest:
        raise LaunchLineError("uv run is given nothing to run", hint="add the script or the program")
    if "://" in options.rest[0]:
        raise LaunchLineError(f"uv would fetch {options.rest[0][:80]!r} at the start, which nobody pinned",
                              hint="download it, read it, and name the file")  # fmt: skip
    directory, project = options.once("directory"), options.once("project")
    if directory is None and project is None:
        return _with_packages(line, options)
    if options.values("--no-project") or (directory is not None and project is not None):
        raise LaunchLineError("uv run is told of more than one project, or of none", hint="use --directory alone")
    return _in_project(line, options, directory, project)


def _in_project(line: Line, options: Options, directory: str | None, project: str | None) -> LaunchRequest:
    """`uv --directory DIR run server.py` starts in DIR; with `--project` the folder it starts in stays another."""
    folder = (directory or project or "").rstrip("/")
    existing_file(line, folder)
    program, module, args = _run(options, folder)
    if program is not None and program.endswith(".py"):
        if directory is None and not program.startswith("/"):
            hint = "use --directory, or the script's absolute path"
            raise LaunchLineError(f"the script {program!r} is not an absolute path", hint=hint)
        program = program if program.startswith("/") else f"{folder}/{program.removeprefix('./')}"
        existing_file(line, program)
        if not program.startswith(f"{folder}/"):
            raise LaunchLineError(f"{program} does not lie in the project {folder}", hint="name the script's project")
    extra = extras(options)
    return LaunchRequest(
        argv=line.argv,
        runner="uv run",
        kind="project",
        requirement=folder,
        args=args,
        bin=program,
        extra=tuple(text for _, text, _ in extra),
        python=python_of(options),
        env=line.variables,
        paths=paths_among(args),
        module=module,
        cwd=folder if directory is not None else None,
    )


def _with_packages(line: Line, options: Options) -> LaunchRequest:
    """`uv run --with PACKAGE PROGRAM`: what uvx does, with a script of this machine if the line names one."""
    packages = extras(options)
    if not packages:
        raise LaunchLineError("uv run would search a project in the folder the client happens to be in",
                              hint="name the project: uv --directory /FOLDER run ...")  # fmt: skip
    program, module, args = _run(options, packages[0][1])
    if program is not None and program.endswith(".py"):
        existing_file(line, program)
    scripts = _scripts((program or "", *args))
    return LaunchRequest(
        argv=line.argv,
        runner="uv run",
        kind="pypi",
        requirement=packages[0][1],
        args=args,
        bin=program,
        extra=tuple(text for _, text, _ in packages[1:]),
        python=python_of(options),
        env=line.variables,
        paths=tuple(path for path in paths_among(args) if path.partition(":")[0] not in scripts),
        floating=not all(exact for _, _, exact in packages),
        module=module,
    )


def scripts_among(request: LaunchRequest) -> tuple[str, ...]:
    """Python files of this machine that a program of packages is given: `mcp run /FILE.py` or `/FILE.py:object`."""
    return _scripts((request.bin or "", *request.args)) if request.runner == "uv run" else ()


def _scripts(words: tuple[str, ...]) -> tuple[str, ...]:
    paths = [word.partition(":")[0] for word in words]
    return tuple(dict.fromkeys(path for path in paths if path.startswith("/") and path.endswith(".py")))


def _run(options: Options, of: str) -> tuple[str | None, str | None, tuple[str, ...]]:
    """What uv is to run: a program or a script, or a module; and its arguments."""
    words = options.rest
    if options.values("-m") or options.values("--module"):
        if not MODULE.fullmatch(words[0]):
            raise LaunchLineError(f"{words[0]!r} is not the name of a module", hint="use `uv run -m MODULE`")
        return None, words[0], words[1:]
    if PYTHON.fullmatch(words[0]) and words[1:2] and words[1].endswith(".py"):
        words = words[1:]
    if words[0].endswith(".py"):
        return words[0], None, words[1:]
    return program_of(words, of)


LAUNCHERS: Final[Mapping[str, Callable[[Line], LaunchRequest]]] = MappingProxyType({"uv": parse_uv})
