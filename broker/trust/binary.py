"""Programs of this machine: a binary by its hash, an interpreter with a script by the hashes of both.

What a program loads beside itself is not covered by these hashes, and that is said.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio.to_thread

from broker.errors import TrustError
from broker.pin import LaunchRequest, PinnedArtifact
from broker.trust.interpreters import ask_node, ask_python, located
from broker.trust.launchers.program import NODE, REFUSED
from broker.trust.launchers.uvx import PYTHON
from broker.trust.mounts import VENV_MARK
from broker.trust.programs import fingerprint
from broker.trust.run import Run
from broker.trust.store import Store

_SHEBANG = re.compile(rb"#!\s*(/[^\s]+)(?:[ \t]+([^\s]+))?[ \t]*\r?\n?")
_ALONE: Final = "only this file is pinned: modules it loads from its own folder need a read grant and are not pinned"


async def resolve_program(
    request: LaunchRequest, *, store: Store, environment: Mapping[str, str], run: Run
) -> PinnedArtifact:
    """Pin the program or script the line names.

    Raises:
        TrustError: it is missing, not executable, or somebody else may change it.
    """
    with store.staging() as work:
        if request.kind == "script":
            runner = located(request.bin or request.runner, environment)
            return await _script(Path(request.requirement), runner, environment, work, run)
        found = await anyio.to_thread.run_sync(_program, request.requirement, environment)
        real, interpreter = found
        if interpreter is not None:
            return await _script(real, interpreter, environment, work, run, executable=True)
        sha256 = await anyio.to_thread.run_sync(_hash, real, True)
        return PinnedArtifact(
            kind="binary", name=real.name, version=sha256[:12], entry=str(real), files=((str(real), sha256),)
        )


async def _script(
    script: Path, runner: Path, environment: Mapping[str, str], work: Path, run: Run, *, executable: bool = False
) -> PinnedArtifact:
    sha256 = await anyio.to_thread.run_sync(_hash, script, executable)
    files, findings = [(str(script), sha256)], [_ALONE]
    if NODE.fullmatch(runner.name):
        interpreter = (await ask_node(runner, environment, work, run))[0]
    else:
        python = await ask_python(runner, environment, work, run)
        interpreter = python.interpreter
        if python.environment is not None:
            mark = python.environment / VENV_MARK
            files.append((str(mark), await anyio.to_thread.run_sync(_hash, mark, False)))
            findings.append(f"the packages of the virtual environment {python.environment} are not pinned")
            # Python finds the environment only when it is started through the environment's own path
            interpreter = replace(interpreter, path=runner)
    return PinnedArtifact(
        kind="script",
        name=script.name,
        version=sha256[:12],
        entry=str(script),
        files=tuple(files),
        interpreter=interpreter,
        findings=tuple(findings),
    )


def _hash(path: Path, executable: bool) -> str:
    return fingerprint(path, executable=executable)


def _program(word: str, environment: Mapping[str, str]) -> tuple[Path, Path | None]:
    real = located(word, environment).resolve()
    return real, _shebang(real, environment)


def _shebang(program: Path, environment: Mapping[str, str]) -> Path | None:
    """The interpreter of a program that is a text; None for a real binary.

    Raises:
        TrustError: it is run by something that is neither python nor node.
    """
    try:
        with program.open("rb") as file:
            first = file.readline(512)
    except OSError as cause:
        raise TrustError(f"{program} cannot be read: {cause.strerror}", hint="check the path") from cause
    if not first.startswith(b"#!"):
        return None
    match = _SHEBANG.fullmatch(first)
    words = [word.decode("utf-8", "replace") for word in match.groups() if word] if match else []
    if words and words[0].endswith("/env"):
        words = words[1:]
    runner = words[0] if words else ""
    name = runner.rpartition("/")[2]
    if len(words) != 1 or not (PYTHON.fullmatch(name) or NODE.fullmatch(name)):
        what = name or "something that cannot be read"
        raise TrustError(f"{program} is a text that is run by {what[:60]!a}",
                         hint=REFUSED.get(name, "only python and node run scripts"))  # fmt: skip
    return located(runner, environment)
