"""One file of compiled code: Python imports from it what it would have imported without, and only that."""

import json
import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from broker.pin import LaunchRequest
from broker.trust.code_file import CODE, gather
from broker.trust.entry import entry_of_packages

FILES = {
    "single.py": "VALUE = 'compiled'",
    "pack/__init__.py": "from . import inner\nVALUE = inner.VALUE",
    "pack/inner.py": "VALUE = __name__",
    "pack/words.txt": "words",
    "space/part/__init__.py": "VALUE = 'of a namespace'",
    "both/__init__.py": "VALUE = 'the folder'",
    "both.py": "VALUE = 'the file'",
    "fast.py": "VALUE = 'slow'",
    f"fast{EXTENSION_SUFFIXES[0]}": "an extension comes before a source, and this one is none",
    "json.py": "raise RuntimeError('shadows the standard library')",
    "app.py": """
import gc, importlib.resources, inspect, json, pkgutil, sys, typing
import both, pack, single, space.part

def main():
    try:
        import fast
        fast = "imported"
    except ImportError as cause:
        fast = type(cause).__name__
    import late
    print(json.dumps({
        "values": [single.VALUE, pack.VALUE, space.part.VALUE, both.VALUE, late.VALUE],
        "file": single.__file__.rpartition("/")[2], "cached": "single" in single.__cached__,
        "path": [part.rpartition("/")[2] for part in pack.__path__], "parent": pack.inner.__spec__.parent,
        "source": inspect.getsource(single).strip(), "resource": importlib.resources.read_text("pack", "words.txt"),
        "modules": sorted(each.name for each in pkgutil.iter_modules(pack.__path__)),
        "fast": fast, "json": json.__file__.startswith(sys.prefix), "traceback": main.__code__.co_filename,
        "restored": [gc.get_threshold()[0] > 0, "compile" not in vars(typing)],
        "hints": typing.get_type_hints(hinted) == {"x": int},
    }))

def hinted(x: "int"): ...
""",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    compiling = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([*compiling, "-s", str(tmp_path), "-p", "/opt", str(tmp_path / "site")], check=True, timeout=60)
    (tmp_path / "site/late.py").write_text("VALUE = 'never compiled'")
    return tmp_path


def run(tree: Path) -> dict[str, object]:
    request = LaunchRequest(("uvx", "app"), "uvx", "pypi", "app")
    (tree / "launch.py").write_text(entry_of_packages(request, {"app": {"app": "app:main"}}, ["app"]))
    argv = [sys.executable, "-I", "-S", "-B", str(tree / "launch.py")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_python_imports_from_the_file_what_it_would_have_imported_without(tree: Path) -> None:
    gather(tree)
    assert not [path for path, _, _ in os.walk(tree) if path.endswith("__pycache__")]
    assert run(tree) == {
        "values": ["compiled", "pack.inner", "of a namespace", "the folder", "never compiled"],
        "file": "single.py",
        "cached": True,
        "path": ["pack"],
        "parent": "pack",
        "source": FILES["single.py"],
        "resource": "words",
        "modules": ["inner"],
        "fast": "ImportError",
        "json": True,
        "traceback": "/opt/site/app.py",
        "restored": [True, True],
        "hints": True,
    }


def test_what_runs_is_the_compiled_code_and_not_compiled_again(tree: Path) -> None:
    gather(tree)
    (tree / "site/single.py").write_text("VALUE = 'the source'")
    assert run(tree)["values"][0] == "compiled"  # type: ignore[index]


def test_the_same_packages_make_the_same_file(tree: Path) -> None:
    before = {path.relative_to(tree): path.read_bytes() for path in sorted(tree.rglob("*.pyc"))}
    gather(tree)
    first = (tree / CODE).read_bytes()
    for path, data in reversed(before.items()):
        (tree / path).parent.mkdir(exist_ok=True)
        (tree / path).write_bytes(data)
    gather(tree)
    assert (tree / CODE).read_bytes() == first
