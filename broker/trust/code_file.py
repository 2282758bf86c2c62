"""The compiled code of all Python packages of a tree in one file: a start reads it at once, a hash opens fewer files.

Python's own caches, one beside each source, are taken apart for it and removed.  What is in the file is what Python
would have read from the cache, and nothing that something else beside the source comes before.
"""

import marshal
import os
from pathlib import Path
from typing import Final

from broker.trust.wheel import SITE

CODE: Final = "code.bin"
_CACHE: Final = "__pycache__"
_HEADER: Final = 16  # bytes of a .pyc before the code
_LENGTH: Final = 8
_EXTENSIONS: Final = (".so", ".pyd")
_PLAIN: Final = 2  # the version of marshal's format that writes the same bytes for the same value

Folders = dict[str, dict[str, tuple[int, int, bool]]]
"""Of each folder below `SITE`, its modules: where their code begins, how long it is, and whether it is a package."""


def gather(tree: Path) -> None:
    """Move every cache of `tree` into its one file of code."""
    folders: Folders = {}
    pieces: list[bytes] = []
    end = 0
    for path, names, files in sorted(os.walk(tree / SITE)):
        if os.path.basename(path) == _CACHE:
            continue
        beside = {name.partition(".")[0] for name in files if name.endswith(_EXTENSIONS)}
        inside = os.path.relpath(path, tree / SITE)
        for cached in sorted(os.listdir(Path(path, _CACHE))) if _CACHE in names else []:
            module = cached.partition(".")[0]
            if f"{module}.py" not in files or module in beside or (module in names and _is_package(path, module)):
                continue
            code = Path(path, _CACHE, cached).read_bytes()[_HEADER:]
            package = module == "__init__"
            above, name = os.path.split(inside) if package else (inside, module)
            if inside != "." or not package:
                folders.setdefault("" if above == "." else above, {})[name] = (end, len(code), package)
                pieces.append(code)
                end += len(code)
    index = marshal.dumps(folders, _PLAIN)
    (tree / CODE).write_bytes(len(index).to_bytes(_LENGTH, "little") + index + b"".join(pieces))
    for path, names, _ in os.walk(tree / SITE):
        if _CACHE in names:
            names.remove(_CACHE)
            for cached in os.listdir(Path(path, _CACHE)):
                Path(path, _CACHE, cached).unlink()
            Path(path, _CACHE).rmdir()


def _is_package(path: str, name: str) -> bool:
    """Whether the folder of this name comes before a file of the same."""
    return any(each.partition(".")[0] == "__init__" for each in os.listdir(Path(path, name)))
