"""What the runs need, brought by npm and pip into one folder: pinned versions, no install scripts."""

import os
import subprocess
import sys
import tarfile
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.fakes.launchers import node_environment, node_wheel

SUITE: Final = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
INSTALL_WITHIN: Final = 600.0
EVERYTHING: Final = "examples/servers/everything-server/mcp_everything_server"
CLIENT: Final = ".github/actions/conformance/client.py"

# The fixture speaks HTTP when it is run; behind Bulkhead it is wanted on standard input and output.
ON_STDIO: Final = "from mcp_everything_server.server import mcp\n\nmcp.run('stdio')\n"
BY_HTTP: Final = "from mcp_everything_server.server import main\n\nmain()\n"


def node(*arguments: str | Path) -> list[str]:
    """`node ARGUMENTS`, of the wheel; needs `node_environment()`."""
    return [str(node_wheel() / "bin/node"), *map(str, arguments)]


def install(folder: Path, packages: Iterable[str]) -> None:
    """Install npm packages into a folder.

    Raises:
        SystemExit: npm could not.
    """
    npm = node_wheel() / "lib/node_modules/npm/bin/npm-cli.js"
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    _done([*node(npm), "install", *options, *packages])


def install_python(folder: Path, packages: Iterable[str]) -> None:
    """Install Python packages into an environment of their own.

    Raises:
        SystemExit: pip could not.
    """
    venv.create(folder, symlinks=True)
    uv = [str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--python", str(folder / "bin/python")]
    _done([*uv, *packages])


@dataclass(frozen=True, slots=True)
class Fixtures:
    """The SDK's own server and client for the suite."""

    project: Path
    """The server as a local project: `uv --directory PROJECT run serve.py` speaks on standard input and output."""
    client: Path

    @property
    def by_http(self) -> Path:
        return self.project / "by_http.py"


def fixtures(folder: Path) -> Fixtures:
    """Take the SDK's fixtures from the source distribution of the very release the tests use.

    Raises:
        SystemExit: it cannot be had.
    """
    sdk = version("mcp")
    options = ["--quiet", "--no-deps", "--no-binary", "mcp", "--dest", str(folder)]
    _done([sys.executable, "-m", "pip", "download", *options, f"mcp=={sdk}"])
    with tarfile.open(folder / f"mcp-{sdk}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    source, project = folder / f"mcp-{sdk}", folder / "everything"
    project.mkdir()
    (source / EVERYTHING).rename(project / "mcp_everything_server")
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "everything"\nversion = "1"\nrequires-python = ">=3.11"\n'
        f'dependencies = ["mcp=={sdk}", "click"]\n'
    )
    (project / "serve.py").write_text(ON_STDIO)
    (project / "by_http.py").write_text(BY_HTTP)
    return Fixtures(project, source / CLIENT)


def _done(argv: list[str]) -> None:
    environment = node_environment(os.environ)
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=INSTALL_WITHIN, check=False)
    if done.returncode:
        raise SystemExit(f"{argv[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
