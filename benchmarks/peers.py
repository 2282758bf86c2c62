"""What else stands between a client and a server: other people's proxies, in environments of their own.

`python -m benchmarks.peers FOLDER` installs those that can be had here; `python -m benchmarks.calls --peers FOLDER`
measures whatever it finds there.
"""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FASTMCP: Final = """
from fastmcp.server import create_proxy
create_proxy({"mcpServers": {"echo": {"command": %r, "args": []}}}).run(transport="stdio", show_banner=False)
"""
_TOONER: Final = "@chaindead/tooner_linux_amd64"


@dataclass(frozen=True, slots=True)
class Peer:
    """A proxy: what installs it into a folder, and the line that puts it in front of a server there."""

    name: str
    install: Callable[[Path], Sequence[Sequence[str]]]
    line: Callable[[Path, Path], Sequence[str]]


def _python(*packages: str) -> Callable[[Path], Sequence[Sequence[str]]]:
    return lambda folder: (
        ("uv", "venv", "--quiet", str(folder)),
        ("uv", "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *packages),
    )


def _fastmcp(folder: Path, server: Path) -> Sequence[str]:
    return str(folder / "bin" / "python"), "-c", _FASTMCP % str(server)


PEERS: Final = (
    Peer("mcp-firewall 0.1.0", _python("mcp-firewall==0.1.0"),
         lambda folder, server: (str(folder / "bin" / "mcp-firewall"), "wrap", "--", str(server))),
    Peer("FastMCP 4.1.2", _python("fastmcp==4.1.2"), _fastmcp),
    Peer("tooner 0.2.6",
         lambda folder: (("npm", "install", "--silent", "--prefix", str(folder), f"{_TOONER}@0.2.6"),),
         lambda folder, server: (str(folder / "node_modules" / _TOONER / "tooner"), str(server))),
)  # fmt: skip


def home_of(peer: Peer, folder: Path) -> Path:
    return folder / peer.name.split()[0].lower()


def found(folder: Path) -> tuple[Peer, ...]:
    """Those that are installed there."""
    return tuple(peer for peer in PEERS if home_of(peer, folder).is_dir())


def main() -> int:
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for peer in PEERS:
        if peer in found(folder):
            continue
        for command in peer.install(home_of(peer, folder)):
            done = subprocess.run(command, check=False)
            if done.returncode != 0:
                sys.stderr.write(f"{peer.name} cannot be had here: {shlex.join(command)}\n")
                shutil.rmtree(home_of(peer, folder), ignore_errors=True)
                break
    return 0


if __name__ == "__main__":
    sys.exit(main())
