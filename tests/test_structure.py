"""The shape of the house: what the rooms may hold, and who may make what.

`pyproject.toml` holds the import rules; here stands what import-linter cannot see.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import pytest

from broker.api.premises import Premises
from broker.api.schema import ROUTES
from broker.api.server import Handlers

PROJECT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("broker", "ui", "policies")
MAX_LINES: Final = 350  # far above the 60 to 250 lines of a comfortable module: past it there is a noun to be found
MAKERS: Final = {
    "VerifiedArtifact": "broker/trust/store.py",
    "SandboxSpec": "broker/sandbox/plan.py",
}
HEAVY: Final = ("mcp", "sigstore", "textual")
SHIM_MODULES: Final = 40  # what a bare interpreter has loaded already is not counted; each module costs the client time
LOCKS: Final = ("run", "standalone", "dev")


def modules(*packages: str) -> Iterator[Path]:
    for package in packages or PACKAGES:
        yield from sorted((PROJECT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Every file of the project that git knows, with its text."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        path = PROJECT / name
        if path.is_file():
            yield name, path.read_text(encoding="utf-8", errors="replace")


def run_python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_shim_loads_nothing_but_the_standard_library_and_little_of_it() -> None:
    loads = (
        "import importlib.util, sys; before = set(sys.modules);"
        f"spec = importlib.util.spec_from_file_location('shim', {str(PROJECT / 'broker/shim.py')!r});"
        "shim = importlib.util.module_from_spec(spec); sys.modules['shim'] = shim; spec.loader.exec_module(shim);"
        "print(*(set(sys.modules) - before - {'shim'}))"
    )
    loaded = run_python("-I", "-S", "-E", "-c", loads).split()
    assert {name.partition(".")[0] for name in loaded} <= sys.stdlib_module_names
    assert len(loaded) <= SHIM_MODULES


def test_a_running_daemon_has_not_loaded_what_only_a_few_commands_need() -> None:
    loaded = run_python("-c", "import sys, broker.daemon; print(*sys.modules)").split()
    assert "broker.daemon" in loaded
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)


@pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in modules()])
def test_every_module_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if tree.body:
        first = (ast.get_docstring(tree) or "").split("\n\n")[0]
        assert first.rstrip().endswith((".", "?")), f"{name_of(path)} has no sentence that says its purpose"


def contract(name: str) -> dict[str, list[str]]:
    """One import contract of `pyproject.toml`."""
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = (contract for contract in contracts if contract["name"] == name)
    return cast(dict[str, list[str]], found)


def covered(path: Path, listed: set[str]) -> bool:
    """Whether a module, or a package it lies in, is in a list."""
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return any(".".join(parts[:length]) in listed for length in range(2, len(parts) + 1))


def test_every_module_of_the_broker_has_its_place_in_the_order_of_rooms() -> None:
    layers = {module for layer in contract("Rooms only look down")["layers"] for module in layer.split(" : ")}
    alone = {"broker.shim"}  # it has a contract of its own
    outside = [path for path in modules("broker") if not covered(path, layers | alone) and path.name != "__init__.py"]
    assert list(map(name_of, outside)) == []


def test_every_module_that_decides_is_kept_from_acting() -> None:
    kept = set(contract("What decides does not act")["source_modules"])
    stores = {"broker.flow.store", "broker.policy.store"}
    rooms = (PROJECT / "broker" / room for room in ("protocol", "policy", "flow"))
    free = [path for room in rooms for path in room.rglob("*.py") if not covered(path, kept | stores)]
    assert [name_of(path) for path in free if path.name != "__init__.py"] == []


def test_no_module_has_outgrown_its_noun() -> None:
    lines = {name_of(path): len(path.read_text().splitlines()) for path in modules()}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


@pytest.mark.parametrize("proof", list(MAKERS))
def test_a_value_that_carries_a_proof_has_one_maker(proof: str) -> None:
    makers = {
        name_of(path)
        for path in modules("broker", "ui")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and called(node) == proof
    }
    assert makers == {MAKERS[proof]}


def test_every_route_of_the_desk_has_a_handler_and_no_handler_is_without_a_route() -> None:
    assert Handlers(cast(Premises, None)).table().keys() == ROUTES.keys()


def called(node: ast.Call) -> str:
    """The last name of what is called: `f` of `f()`, `a.f()`."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


# Put together from pieces, so that this file does not contain what it looks for.
HOSTS: Final = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("deb", "debian", "org"),
    )
)
MACHINE_PATH: Final = re.compile(r"(?<![\w.])/(?:root|work|home/[a-z]\w*)/[\w.]+")
EXAMPLE_HOMES: Final = tuple(f"/home/{name}/" for name in ("user", "me", "you", "ada", "ann", "bob", "mcp"))


def test_no_file_names_a_registry_host_or_a_path_of_one_machine() -> None:
    found: list[str] = []
    for name, text in tracked_texts():
        found += [f"{name}: {host}" for host in HOSTS if host in text]
        paths = {match.group() for match in MACHINE_PATH.finditer(text)}
        found += [f"{name}: {path}" for path in sorted(paths) if not path.startswith(EXAMPLE_HOMES)]
    assert found == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_hashes_for_every_package_and_no_address(name: str) -> None:
    text = (PROJECT / "requirements" / f"{name}.lock").read_text()
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash)", text, re.MULTILINE)
    pinned = re.split(r"^(?=[\w.\[\]-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(pinned) > 30
    assert [entry.splitlines()[0] for entry in pinned if "--hash=sha256:" not in entry] == []


def test_every_direct_requirement_is_in_the_locks() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    run = project["project"]["dependencies"]
    standalone = [*run, *project["project"]["optional-dependencies"]["standalone"], *groups["build"]]
    assert groups["build"] == project["build-system"]["requires"]
    dev = [*standalone, *(line for line in groups["dev"] if isinstance(line, str))]
    for name, wanted in zip(LOCKS, (run, standalone, dev), strict=True):
        locked = set(re.findall(r"^([\w.-]+)==", (PROJECT / f"requirements/{name}.lock").read_text(), re.MULTILINE))
        assert {re.split(r"[<>=;\[ ]", line)[0].lower() for line in wanted} <= locked
