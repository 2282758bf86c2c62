"""Where a Python project keeps its own modules, read from `pyproject.toml` and from nothing that would have to run.

A build may do anything, so only layouts that common build backends would copy as they are count.  Everything else is
refused: a package laid out by a guess is not the package.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker.errors import ConfigError, TrustError
from broker.files import read_bounded
from broker.trust.launchers.uvx import normal

MAX_MANIFEST = 1024 * 1024
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:/[A-Za-z_][A-Za-z0-9_]*)*")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.!+_-]{0,127}")
_AT_LEAST = re.compile(r">=\s*3\.(\d{1,3})(?:\.\d+)?")
_BELOW = re.compile(r"<\s*3\.(\d{1,3})")
_NATIVE: Final = frozenset({".pyx", ".pxd", ".c", ".cc", ".cpp", ".h", ".rs", ".so", ".dylib", ".pyd"})
_BACKENDS: Final = {
    "hatchling.build": "hatch", "setuptools.build_meta": "setuptools", "uv_build": "uv", "flit_core.buildapi": "flit",
}  # fmt: skip
_NO_BUILD: Final = "a build runs the package's own code, and nobody can consent to that yet; use a released package"
_SETUPTOOLS: Final = frozenset(
    {"packages", "py-modules", "package-dir", "package-data", "include-package-data", "dynamic", "license-files",
     "zip-safe"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layout:
    """A project that can be laid out without a build: its modules are `modules` below `root`."""

    name: str
    version: str
    root: str
    modules: tuple[str, ...]
    scripts: Mapping[str, str]
    manifest: Mapping[str, Any]


def read_layout(folder: Path, python: str) -> Layout:
    """Read the project in a folder, for a version of Python.

    Raises:
        TrustError: it has to be built, is no project, or wants another Python.
    """
    manifest = _manifest(folder)
    project = manifest.get("project")
    if not isinstance(project, dict):
        raise TrustError("its pyproject.toml has no [project] table, so only a build would say what it needs",
                         hint=_NO_BUILD)  # fmt: skip
    name, dynamic = str(project.get("name", "")), project.get("dynamic", [])
    if not _NAME.fullmatch(name):
        raise TrustError(f"it calls itself {name[:80]!a}, which is no name of a package")
    for field in ("dependencies", "scripts", "entry-points"):
        if field in dynamic:
            raise TrustError(f"its {field} are only known to its build", hint=_NO_BUILD)
    _fits(str(project.get("requires-python", "")), python)
    scripts = project.get("scripts", {})
    if not isinstance(scripts, dict):
        raise TrustError("its [project.scripts] is no table")
    version = str(project.get("version", ""))
    backend = _backend(manifest, folder)
    root, modules = _MODULES[backend](manifest, folder, normal(name).replace("-", "_"))
    for module in modules:
        _pure(folder / root, module)
    return Layout(
        name=normal(name),
        version=version if _VERSION.fullmatch(version) else "",
        root=root,
        modules=modules,
        scripts={str(each): str(target) for each, target in scripts.items()},
        manifest=manifest,
    )


def files_of(folder: Path, layout: Layout) -> list[tuple[str, Path]]:
    """Each file a build would copy: its place among the packages, and where it is now."""
    base = folder / layout.root
    found: list[tuple[str, Path]] = []
    for module in layout.modules:
        single = base / f"{module}.py"
        if single.is_file():
            found.append((f"{module}.py", single))
            continue
        found += [(str(path.relative_to(base)), path) for path in sorted((base / module).rglob("*")) if path.is_file()]
    return [(name, path) for name, path in found if "__pycache__" not in path.parts]


def _manifest(folder: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(read_bounded(folder / "pyproject.toml", MAX_MANIFEST).decode())
    except FileNotFoundError as cause:
        raise TrustError("it has no pyproject.toml, so only a build would say what it needs", hint=_NO_BUILD) from cause
    except (ConfigError, ValueError, RecursionError) as cause:
        raise TrustError("its pyproject.toml cannot be read") from cause


def _backend(manifest: Mapping[str, Any], folder: Path) -> str:
    system = manifest.get("build-system", {})
    named = system.get("build-backend", "setuptools.build_meta") if isinstance(system, dict) else ""
    if named not in _BACKENDS or "backend-path" in system:
        raise TrustError(f"it is built by {str(named)[:80]!a}, which may do anything", hint=_NO_BUILD)
    backend = _BACKENDS[named]
    if backend == "setuptools" and any((folder / each).exists() for each in ("setup.py", "setup.cfg")):
        raise TrustError("it is built by its setup.py or setup.cfg", hint=_NO_BUILD)
    return backend


def _fits(wanted: str, python: str) -> None:
    minor = int(python.split(".")[1])
    low, high = _AT_LEAST.search(wanted), _BELOW.search(wanted)
    if (low and minor < int(low[1])) or (high and minor >= int(high[1])):
        raise TrustError(f"it needs Python {wanted[:60]}, and would run with {python}",
                         hint="ask for one: uvx --python 3.12 ...")  # fmt: skip


def _hatch(manifest: Mapping[str, Any], folder: Path, module: str) -> tuple[str, tuple[str, ...]]:
    hatch = _table(_table(manifest, "tool"), "hatch")
    build = _table(hatch, "build")
    wheel = _table(_table(build, "targets"), "wheel")
    if set(build) - {"targets", "dev-mode-dirs"} or set(wheel) - {"packages"} or "hooks" in _table(hatch, "metadata"):
        raise TrustError("its build does more than copy files ([tool.hatch])", hint=_NO_BUILD)
    if "packages" not in wheel:
        return _usual(folder, module)
    return _listed([str(each).strip("/") for each in wheel["packages"]])


def _setuptools(manifest: Mapping[str, Any], folder: Path, module: str) -> tuple[str, tuple[str, ...]]:
    settings = _table(_table(manifest, "tool"), "setuptools")
    if set(settings) - _SETUPTOOLS:
        raise TrustError("its build does more than copy files ([tool.setuptools])", hint=_NO_BUILD)
    packages, moved = settings.get("packages"), settings.get("package-dir", {"": "."})
    find = packages.get("find", {}) if isinstance(packages, dict) else {}
    plain = isinstance(moved, dict) and set(moved) == {""} and isinstance(find, dict) and len(find.get("where", [])) < 2
    if not plain:
        raise TrustError("it moves its modules while it is built ([tool.setuptools])", hint=_NO_BUILD)
    root = str(find["where"][0] if find.get("where") else moved[""]).strip("/")
    root = "" if root == "." else root
    listed = [str(each) for each in packages] if isinstance(packages, list) else []
    listed += [str(each) for each in settings.get("py-modules", [])]
    if listed:
        tops = sorted({each.partition(".")[0] for each in listed})
        return _checked(root, tuple(tops))
    if root:
        return _checked(root, _packages_in(folder / root))
    return ("src", _checked("src", _packages_in(folder / "src"))[1]) if (folder / "src").is_dir() \
        else _usual(folder, module)  # fmt: skip


def _uv(manifest: Mapping[str, Any], _folder: Path, module: str) -> tuple[str, tuple[str, ...]]:
    settings = _table(_table(_table(manifest, "tool"), "uv"), "build-backend")
    if set(settings) - {"module-name", "module-root"}:
        raise TrustError("its build does more than copy files ([tool.uv.build-backend])", hint=_NO_BUILD)
    name = str(settings.get("module-name", module)).replace(".", "/")
    return _checked(str(settings.get("module-root", "src")).strip("/"), (name,))


def _flit(manifest: Mapping[str, Any], folder: Path, module: str) -> tuple[str, tuple[str, ...]]:
    settings = _table(_table(manifest, "tool"), "flit")
    if set(settings) - {"module", "sdist"}:
        raise TrustError("its build does more than copy files ([tool.flit])", hint=_NO_BUILD)
    return _usual(folder, str(_table(settings, "module").get("name", module)))


_MODULES: Final = {"hatch": _hatch, "setuptools": _setuptools, "uv": _uv, "flit": _flit}


def _usual(folder: Path, module: str) -> tuple[str, tuple[str, ...]]:
    """`src/NAME`, `NAME`, or a single file of that name."""
    for root in ("src", ""):
        if (folder / root / module / "__init__.py").is_file() or (folder / root / f"{module}.py").is_file():
            return _checked(root, (module,))
    raise TrustError(f"it has no module {module!r} where a build would look for it", hint=_NO_BUILD)


def _listed(paths: list[str]) -> tuple[str, tuple[str, ...]]:
    roots = {path.rpartition("/")[0] for path in paths}
    if len(roots) != 1:
        raise TrustError("its modules lie in more than one folder", hint=_NO_BUILD)
    return _checked(roots.pop(), tuple(path.rpartition("/")[2] for path in paths))


def _checked(root: str, modules: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    if (root and not _MODULE.fullmatch(root)) or not modules or not all(map(_MODULE.fullmatch, modules)):
        raise TrustError("it does not say in a plain way where its modules are", hint=_NO_BUILD)
    return root, modules


def _packages_in(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    return tuple(each.name for each in sorted(folder.iterdir()) if (each / "__init__.py").is_file())


def _pure(base: Path, module: str) -> None:
    if (base / f"{module}.py").is_file():
        return
    if not (base / module).is_dir():
        raise TrustError(f"it has no module {module!r} where its build would look for it", hint=_NO_BUILD)
    for path in sorted((base / module).rglob("*")):
        if path.suffix in _NATIVE:
            raise TrustError(f"{path.name!a} would have to be compiled", hint=_NO_BUILD)


def _table(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name, {})
    if not isinstance(found, dict):
        raise TrustError(f"{name[:40]!a} in its pyproject.toml is no table")
    return found
