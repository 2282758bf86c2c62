"""Brings the authorization servers, starts them, and ends them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.conformance.installed import node
from tests.fakes.launchers import node_environment, node_wheel

HERE: Final = Path(__file__).parent
WITHIN: Final = 300.0
KEY: Final = ec.generate_private_key(ec.SECP256R1())
"""Of the client `robot`, which signs in without a person."""


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """The issuers by what they are like; see `issuers.mjs` and `authlib_server.py`."""
    with tempfile.TemporaryDirectory(prefix="bh-issuers-") as name, ExitStack() as ends:
        folder = Path(name)
        with ThreadPoolExecutor() as both:
            for done in (both.submit(_by_npm, folder), both.submit(_by_uv, folder)):
                done.result()
        commands = (
            (
                node(folder / "issuers.mjs"),
                {**node_environment(os.environ), "ROBOT": ECAlgorithm.to_jwk(KEY.public_key())},
            ),
            ([sys.executable, str(HERE / "authlib_server.py")], {**os.environ, "PYTHONPATH": str(folder / "python")}),
        )
        yield {key: url for argv, given in commands for key, url in ends.enter_context(_started(argv, given)).items()}


@contextmanager
def _started(argv: list[str], environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A program that prints its issuers as its first line, until the block is left."""
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        assert program.stdout is not None
        try:
            said: dict[str, str] = json.loads(program.stdout.readline())
            yield said
        finally:
            program.kill()


def _by_npm(folder: Path) -> None:
    for name in ("package.json", "package-lock.json", "issuers.mjs"):
        shutil.copyfile(HERE / name, folder / name)
    npm = node_wheel() / "lib/node_modules/npm/bin/npm-cli.js"
    _done([*node(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)])


def _by_uv(folder: Path) -> None:
    uv = [str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    _done([*uv, "--python", sys.executable, "--target", str(folder / "python"), "-r", str(HERE / "authlib.lock")])


def _done(argv: list[str]) -> None:
    environment = node_environment(os.environ)
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=WITHIN, check=False)
    assert done.returncode == 0, f"{argv[:3]}: {(done.stderr or done.stdout)[-2000:]}"
