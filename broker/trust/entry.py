"""The file Python starts with: it says which program of which packages runs, and where modules may come from.

It is written when the packages are stored and hashed with them.  Of a local project only sources are read: a cache
beside them was not hashed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker.pin import LaunchRequest
from broker.trust.code_file import CODE
from broker.trust.pypi_package import find_script
from broker.trust.wheel import SITE

_PACKAGES: Final = """\
import marshal
import mmap
import os
import sys
from importlib import machinery

TOP = __file__.rpartition("/")[0]
SITE = TOP + "/{site}"
with open(TOP + "/{code}", "rb") as file:
    CODE = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
FIRST = 8 + int.from_bytes(CODE[:8], "little")
KNOWN = marshal.loads(CODE[8:FIRST])


class Compiled(machinery.SourceFileLoader):
    def get_code(self, name):
        return marshal.loads(CODE[FIRST + self.start : FIRST + self.start + self.size])


class Folder(machinery.FileFinder):
    def find_spec(self, fullname, target=None):
        name = fullname.rpartition(".")[2]
        if name not in self.known:
            return super().find_spec(fullname, target)
        start, size, package = self.known[name]
        file = self.path + "/" + name + ("/__init__.py" if package else ".py")
        loader = Compiled(fullname, file)
        loader.start, loader.size = start, size
        spec = machinery.ModuleSpec(fullname, loader, origin=file, is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations.append(self.path + "/" + name)
        return spec


def folder(path):
    inside = path[len(SITE) + 1 :] if path == SITE or path.startswith(SITE + "/") else None
    if inside is None or inside not in KNOWN and not os.path.isdir(path):
        raise ImportError(path)
    found = Folder(
        path,
        (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
        (machinery.SourceFileLoader, machinery.SOURCE_SUFFIXES),
        (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
    )
    found.known = KNOWN.get(inside, {{}})
    return found


sys.path_hooks.insert(0, folder)
"""
_BESIDE: Final = """\
sys.path.append(SITE)
"""
_PROJECT: Final = """\
ROOT = {root!r}


class FreshLoader(machinery.SourceFileLoader):
    def path_stats(self, path):
        raise OSError("a cache beside the source is not read")


def finder(path):
    if path != ROOT and not path.startswith(ROOT + "/") or not os.path.isdir(path):
        raise ImportError(path)
    return machinery.FileFinder(
        path,
        (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
        (FreshLoader, machinery.SOURCE_SUFFIXES),
        (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
    )


sys.path_hooks.insert(0, finder)
sys.path[:0] = {first!r}
sys.path.append(SITE)
sys.path += {last!r}
"""
_FUNCTION: Final = """\
def run():
    import functools
    import gc
    import typing

    sys.argv[0] = {name!r}
    limits = gc.get_threshold()
    gc.set_threshold(0)
    typing.compile = functools.lru_cache(None)(compile)
    from {module} import {top} as program

    del typing.compile
    gc.freeze()
    if gc.get_threshold()[0] == 0:
        gc.set_threshold(*limits)
    sys.exit(program{rest}())


if __name__ == "__main__":
    run.__code__ = run.__code__.replace(co_stacksize=33_000)
    run()
"""
"""What modules define stays for good: looking for rubbish in it while they load was a fifth of a server's start.
Of the annotations that are text, three in four say what another said: `typing` compiles each text once meanwhile.

Python keeps its frames in pieces of 16 KiB and gives a piece back as soon as it is empty: calls at the end of one took
and gave back a thousand while modules loaded.  Below a frame that asks for much, the piece is half a MiB, and stays.
"""
_MODULE: Final = """\
if __name__ == "__main__":
    import runpy

    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
_SCRIPT: Final = """\
if __name__ == "__main__":
    import runpy

    sys.argv[0] = {script!r}
    runpy.run_path({script!r}, run_name="__main__")
"""


def entry_of_packages(request: LaunchRequest, scripts: Mapping[str, Mapping[str, str]], packages: list[str]) -> str:
    """For a line that names packages: their program, a module of theirs, or a script that is pinned beside them.

    Raises:
        TrustError: the packages have no such program.
    """
    return _PACKAGES.format(site=SITE, code=CODE) + _BESIDE + _what(request, scripts, packages)


def entry_of_project(request: LaunchRequest, scripts: Mapping[str, Mapping[str, str]], packages: list[str]) -> str:
    """For a line that names a uv project; its sources are found as after `uv sync`.

    Raises:
        TrustError: neither the project nor what it depends on has the program.
    """
    root = request.requirement
    first = [request.cwd] if request.module is not None and request.cwd is not None else []
    if request.module is None and request.bin is not None and request.bin.endswith(".py"):
        first = [request.bin.rpartition("/")[0]]
    last = [f"{root}/src"] if Path(root, "src").is_dir() else [root]
    setting = _PROJECT.format(root=root, first=first, last=last)
    return _PACKAGES.format(site=SITE, code=CODE) + setting + _what(request, scripts, packages)


def _what(request: LaunchRequest, scripts: Mapping[str, Mapping[str, str]], packages: list[str]) -> str:
    if request.module is not None:
        return _MODULE.format(module=request.module)
    if request.bin is not None and request.bin.endswith(".py"):
        return _SCRIPT.format(script=request.bin)
    name, (module, attribute) = find_script(scripts, packages, request.bin)
    top, dot, rest = attribute.partition(".")
    return _FUNCTION.format(name=name, module=module, top=top, rest=dot + rest)
