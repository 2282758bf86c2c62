"""Rooms for tests that need a real sandbox: a throw-away yard, and a way to be root or an ordinary user in it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import pytest

HERE = Path(__file__).parent
BROKER = HERE.parent.parent / "broker"
ORDINARY_USER = 61_234  # has no entry, no home and no rights
PYTHON_INSIDE = "/usr/bin/python3"  # what the sandboxed toys run on
LIMIT = 120.0


@dataclass(frozen=True)
class Yard:
    """A folder of its own for one user: `home`, `work`, and a copy of the code that user can read."""

    who: str
    path: Path
    python: str

    @property
    def home(self) -> Path:
        return self.path / "home"

    @property
    def work(self) -> Path:
        return self.path / "work"

    def file(self, name: str, text: str = "", mode: int = 0o644) -> Path:
        """A file in `work`, belonging to the yard's user."""
        path = self.work / name
        missing = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        for made in (path, *missing):
            self.give(made)
        return path

    def folder(self, name: str, mode: int = 0o755) -> Path:
        path = self.file(f"{name}/.keep").parent
        path.chmod(mode)
        return path

    def give(self, path: Path) -> None:
        if self.who == "user" and os.getuid() == 0:
            os.chown(path, ORDINARY_USER, ORDINARY_USER, follow_symlinks=False)

    def popen(self, wish: dict[str, Any], **env: str) -> subprocess.Popen[str]:
        drop: dict[str, Any] = {}
        if self.who == "user" and os.getuid() == 0:
            drop = {"user": ORDINARY_USER, "group": ORDINARY_USER, "extra_groups": []}
        process = subprocess.Popen(
            [self.python, "-B", "-m", "tests.sandbox.stage"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.path,
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "HOME": str(self.home),
                "PYTHONPATH": str(self.path / "lib"),
                "LANG": "C.UTF-8",
                **env,
            },
            **drop,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(wish) + "\n")
        process.stdin.flush()
        return process

    def ask(self, wish: dict[str, Any], **env: str) -> dict[str, Any]:
        """Run the stage to its end and return what it said."""
        with self.popen(wish, **env) as process:
            try:
                out, err = process.communicate(timeout=LIMIT)
            except BaseException:
                process.kill()
                raise
        assert process.returncode == 0, err
        answer = json.loads(out)
        assert isinstance(answer, dict)
        return answer

    def run(self, argv: list[str], **job: Any) -> dict[str, Any]:
        """Run one program in a sandbox."""
        (result,) = self.ask({"jobs": [{"argv": argv, **job}]})["results"]
        assert isinstance(result, dict)
        return result


def _readable_by_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o1 for folder in path.resolve().parents)


def _python_for(who: str) -> str:
    """An interpreter the yard's user can run: ours, unless it lies in a private home."""
    if who == "root" or os.getuid() != 0:
        return sys.executable
    standard_library = Path(sysconfig.get_path("stdlib"))
    if _readable_by_all(Path(sys.executable)) and _readable_by_all(standard_library):
        return sys.executable
    system = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    code = "import sys; sys.exit(sys.version_info < (3, 11))"
    if system is None or subprocess.run([system, "-c", code], check=False).returncode != 0:
        pytest.skip("no Python 3.11 or newer that an ordinary user of this machine can run")
    return system


def make_yard(who: str) -> Yard:
    if who == "root" and os.getuid() != 0:
        pytest.skip("only root can be root")
    path = Path(tempfile.mkdtemp(prefix="bulkhead-yard-", dir="/tmp"))
    path.chmod(0o755)
    library = path / "lib"
    library.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(BROKER, library / "broker", ignore=ignore)
    shutil.copytree(Path(platformdirs.__file__).parent, library / "platformdirs", ignore=ignore)
    shutil.copytree(HERE, library / "tests" / "sandbox", ignore=ignore)
    (library / "tests" / "__init__.py").touch()
    yard = Yard(who, path, _python_for(who))
    for folder in (yard.home, yard.work):
        folder.mkdir()
        yard.give(folder)
    for made in library.rglob("*"):
        made.chmod(0o755 if made.is_dir() else 0o644)
    library.chmod(0o755)
    return yard


@pytest.fixture(scope="module", params=["user", "root"])
def yard(request: pytest.FixtureRequest) -> Iterator[Yard]:
    """The same test as an ordinary user and as root."""
    made = make_yard(request.param)
    try:
        yield made
    finally:
        shutil.rmtree(made.path)


@pytest.fixture(scope="module")
def user_yard() -> Iterator[Yard]:
    made = make_yard("user")
    try:
        yield made
    finally:
        shutil.rmtree(made.path)


@pytest.fixture(scope="module")
def root_yard() -> Iterator[Yard]:
    made = make_yard("root")
    try:
        yield made
    finally:
        shutil.rmtree(made.path)


@pytest.fixture
def held() -> Iterator[Callable[[Yard, dict[str, Any]], tuple[subprocess.Popen[str], dict[str, Any]]]]:
    """Start a stage that stays, and read the first thing it says; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def hold(yard: Yard, wish: dict[str, Any]) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        process = yard.popen(wish)
        started.append(process)
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        return process, json.loads(line)

    yield hold
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
