"""Local projects are pinned by all that is in them; a change is refused and told file by file."""

import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import LaunchLineError, TrustError
from broker.model import Mount, ServerName, VerifiedArtifact
from broker.pin import Pin
from broker.trust.interpreters import own_python
from broker.trust.launch_spec import parse
from broker.trust.pins import describe, from_text, to_text
from broker.trust.programs import in_system
from broker.trust.project import project_of
from broker.trust.project_tree import LEFT_OUT, changes, sentence, survey
from broker.trust.resolve import resolve
from broker.trust.store import Store
from broker.trust.tree import Entry, Listing, read_listing
from broker.trust.uv_project import asked_for, exported
from tests.trust.archives import wheel
from tests.trust.attack_table import catches
from tests.trust.registries import PythonIndex


@dataclass
class Shop:
    """A user with a store and a folder of projects."""

    store: Store
    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    async def pin(self, *argv: str, dev: bool = False) -> Pin:
        request = replace(parse(argv, exists=os.path.exists), dev=dev)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), **self.environment}
        artifact = await resolve(request, store=self.store, environment=environment, progress=self.said.append)
        return Pin(ServerName("local"), "now", request, artifact)

    async def refusal(self, *argv: str) -> TrustError:
        with pytest.raises(TrustError) as refused:
            await self.pin(*argv)
        return refused.value

    async def change(self, pin: Pin) -> str:
        with pytest.raises(TrustError) as refused:
            await self.store.verified(pin)
        assert "bulkhead pin local --update" in refused.value.hint
        return str(refused.value)

    async def started(self, pin: Pin) -> tuple[VerifiedArtifact, list[str]]:
        """Run what the pin says, with the store object where the sandbox would mount it; what it printed."""
        found = await self.store.verified(from_text(to_text(pin)))
        here = str(self.store.object(pin.artifact.tree))
        argv = [word.replace("/opt/bulkhead/package", here) for word in found.argv]
        done = await anyio.run_process(argv, env={"LANG": "C.UTF-8"}, cwd=found.cwd or self.home)
        return found, done.stdout.decode().split()


@pytest.fixture
def shop(store: Store, tmp_path: Path) -> Shop:
    (tmp_path / "home").mkdir()
    return Shop(store, tmp_path / "home")


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def node_project(root: Path) -> Path:
    return write(
        root,
        {
            "package.json": '{"name": "server", "type": "module"}',
            "build/index.js": 'import {word} from "lib"; console.log(word, ...process.argv.slice(2))',
            "node_modules/lib/package.json": '{"name": "lib", "main": "main.js", "type": "module"}',
            "node_modules/lib/main.js": 'export const word = "hello"',
        },
    )


# --- node ---


async def test_a_node_project_is_pinned_with_its_modules_and_runs_from_its_place(shop: Shop) -> None:
    root = node_project(shop.home / "project")
    pin = await shop.pin("node", "--no-warnings", f"{root}/build/index.js", "a")
    found, printed = await shop.started(pin)
    assert printed == ["hello", "a"]
    assert (pin.artifact.kind, pin.artifact.name, pin.artifact.file_count) == ("project", "project", 4)
    assert found.argv[1:] == ("--no-warnings", f"{root}/build/index.js", "a")
    assert Mount(root, root) in found.mounts and not any(mount.writable for mount in found.mounts)
    text = "\n".join(describe(pin.artifact, pin.launch))
    assert f"verified: folder {root}, tree sha256 {pin.artifact.folders[0][1]}" in text
    assert "not verified" not in text


async def test_a_changed_project_refuses_the_launch_and_names_every_file(shop: Shop) -> None:
    root = node_project(shop.home / "project")
    pin = await shop.pin("node", f"{root}/build/index.js")
    write(root, {"node_modules/lib/main.js": 'export const word = "evil!"', "build/more.js": ""})
    os.unlink(root / "package.json")
    said = await shop.change(pin)
    assert said.endswith(
        f"{root} is not as it was: build/more.js was added, node_modules/lib/main.js was changed, "
        "package.json is missing"
    )


@pytest.mark.parametrize("change", ["exec bit", "a link elsewhere", "a folder", "a link for a file", "open to all"])
async def test_every_kind_of_change_in_a_project_is_seen(shop: Shop, change: str) -> None:
    root = node_project(shop.home / "project")
    (root / "link").symlink_to("package.json")
    pin = await shop.pin("node", f"{root}/build/index.js")
    script = root / "build/index.js"
    match change:
        case "exec bit":
            script.chmod(0o755)
        case "a link elsewhere":
            os.unlink(root / "link")
            (root / "link").symlink_to("build/index.js")
        case "a folder":
            (root / "node_modules/optional").mkdir()
        case "a link for a file":
            os.rename(script, root.parent / "index.js")
            script.symlink_to(root.parent / "index.js")
        case _:
            script.chmod(0o666)
    assert str(root) in await shop.change(pin)


async def test_what_is_left_out_is_neither_hashed_nor_shown(shop: Shop) -> None:
    root = write(node_project(shop.home / "project"), {".git/config": "1", "node_modules/.cache/y.js": "2"})
    pin = await shop.pin("node", f"{root}/build/index.js")
    write(root, {".git/hooks/x.js": "evil", "node_modules/.cache/y.js": "evil", ".tox/x.js": "evil"})
    found = await shop.store.verified(pin)
    covered = {mount.target for mount in found.mounts if mount.source == shop.store.root / "empty"}
    assert covered == {root / ".git", root / "node_modules/.cache", root / ".tox"}
    assert covered <= {root / name for name in LEFT_OUT}
    assert os.listdir(shop.store.root / "empty") == []


async def test_a_link_out_of_a_project_is_refused(shop: Shop) -> None:
    root = node_project(shop.home / "project")
    (shop.home / "other").mkdir()
    (root / "node_modules/linked").symlink_to(shop.home / "other")
    refused = await shop.refusal("node", f"{root}/build/index.js")
    assert f"node_modules/linked is a link to {shop.home}/other" in str(refused)
    assert "--dev" in refused.hint


async def test_a_link_into_what_is_left_out_is_refused(shop: Shop) -> None:
    root = node_project(shop.home / "project")
    (root / ".git").mkdir()
    (root / "hidden").symlink_to(".git")
    assert "hidden is a link" in str(await shop.refusal("node", f"{root}/build/index.js"))


async def test_a_pipe_in_a_project_is_refused_and_not_waited_for(shop: Shop) -> None:
    root = node_project(shop.home / "project")
    os.mkfifo(root / "pipe")
    with anyio.fail_after(10):
        assert "pipe" in str(await shop.refusal("node", f"{root}/build/index.js"))


async def test_a_project_others_can_change_is_refused(shop: Shop) -> None:
    root = node_project(shop.home / "project")
    (root / "node_modules").chmod(0o777)
    assert "node_modules can be changed by other users" in str(await shop.refusal("node", f"{root}/build/index.js"))


async def test_a_script_of_no_project_is_still_pinned_alone(shop: Shop) -> None:
    script = write(shop.home / "alone", {"server.js": "console.log(1)"}) / "server.js"
    pin = await shop.pin("node", str(script))
    assert (pin.artifact.kind, pin.artifact.folders) == ("script", ())


def test_the_nearest_project_is_found_and_a_home_is_none(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    root = node_project(tmp_path / "a/project")
    write(root, {"dist/package.json": '{"type": "commonjs"}', "package.json": '{"name": "x"}'})
    marks = ("package.json",)
    assert project_of(root / "dist/index.js", marks, home) == root
    (tmp_path / "package.json").write_text('{"name": "home"}')
    assert project_of(tmp_path / "a/x.js", marks, home) is None
    (tmp_path / "a/package.json").write_text('{"name": "all", "workspaces": ["project"]}')
    assert project_of(root / "dist/index.js", marks, home) == tmp_path / "a"


# --- a virtual environment ---


def packages_of(environment: Path) -> Path:
    return next((environment / "lib").glob("python3.*")) / "site-packages"


async def test_a_module_of_a_virtual_environment_runs_and_every_file_of_it_counts(shop: Shop) -> None:
    root = shop.home / "project"
    await anyio.run_process([sys.executable, "-m", "venv", "--without-pip", str(root / ".venv")])
    site = packages_of(root / ".venv")
    write(site, {"pkg/__init__.py": "", "pkg/__main__.py": "import sys; print('module', *sys.argv[1:])"})
    write(root, {"pyproject.toml": "[project]\nname = 'project'\n"})
    pin = await shop.pin(f"{root}/.venv/bin/python", "-m", "pkg", "a")
    found, printed = await shop.started(pin)
    assert printed == ["module", "a"]
    assert pin.artifact.folders[0][0] == str(root)
    assert found.argv[0] == f"{root}/.venv/bin/python"
    caches = [path for path, _, _ in os.walk(root) if path.endswith("__pycache__")]
    (site / "pkg/__main__.py").write_text("print('evil')")
    assert f".venv/lib/{site.parent.name}/site-packages/pkg/__main__.py was changed" in await shop.change(pin)
    assert not caches, "Python was told to write none"


async def test_a_planted_cache_in_a_virtual_environment_is_not_read(shop: Shop) -> None:
    root = shop.home / "env"
    await anyio.run_process([sys.executable, "-m", "venv", "--without-pip", str(root)])
    site = packages_of(root)
    good, evil = site / "pkg.py", shop.home / "evil.py"
    good.write_text("print('good')")
    (shop.home / "pkg.py").write_text("print('found in the folder it starts in')")
    pin = await shop.pin(f"{root}/bin/python", "-m", "pkg")
    plant(evil, "print('evil')", good)
    assert (await anyio.run_process([f"{root}/bin/python", "-Pc", "import pkg"])).stdout == b"evil\n"
    _, printed = await shop.started(pin)
    assert printed == ["good"]


def plant(source: Path, text: str, beside: Path) -> None:
    """Compile `text` into the cache that Python would read for the unchanged file `beside`."""
    source.write_text(text)
    code = (
        "import importlib.util, py_compile, sys;"
        "py_compile.compile(sys.argv[1], importlib.util.cache_from_source(sys.argv[2]), doraise=True,"
        "invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)"
    )
    subprocess.run([sys.executable, "-c", code, str(source), str(beside)], check=True, timeout=60)


async def test_the_other_name_of_a_python_that_an_environment_uses_is_shown_too(shop: Shop) -> None:
    real = own_python().parent.parent
    if in_system(real):
        pytest.skip("this Python belongs to the system, which every sandbox sees")
    alias = shop.home / "python-3"
    os.symlink(real, alias)
    root = shop.home / "env"
    await anyio.run_process([str(alias / f"bin/{own_python().name}"), "-m", "venv", "--without-pip", str(root)])
    (root / "pyvenv.cfg").write_text(f"home = {alias}/bin\n")
    (packages_of(root) / "pkg.py").write_text("")
    found = await shop.store.verified(await shop.pin(f"{root}/bin/python", "-m", "pkg"))
    assert {Mount(real, alias), Mount(real, real), Mount(root, root)} == set(found.mounts)


# --- uv ---

UV = """
[project]
name = "local-server"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["lib>=1 ; python_version >= '3'", "never; sys_platform == 'plan9'"]
[project.scripts]
serve = "local_server:main"
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""


@pytest.fixture
def uv_shop(shop: Shop, python_index: PythonIndex) -> Shop:
    python_index.publish(
        "lib", "1.0", wheel("lib", "1.0", {"lib.py": "WORD = 'hello'"}, scripts={"libtool": "lib:WORD"})
    )
    shop.environment = python_index.environment(shop.home)
    root = write(
        shop.home / "project",
        {
            "pyproject.toml": UV,
            "server.py": "import sys, lib, beside\nprint(lib.WORD, beside.X, *sys.argv[1:])",
            "beside.py": "X = 'beside'",
        },
    )
    (root / "src/local_server").mkdir(parents=True)
    (root / "src/local_server/__init__.py").write_text(
        "import os, lib\ndef main():\n    print('main', lib.WORD, os.getcwd())\n"
    )
    return shop


async def test_a_uv_project_runs_with_its_packages_from_the_store(uv_shop: Shop) -> None:
    root = uv_shop.home / "project"
    pin = await uv_shop.pin("uv", "--directory", str(root), "run", "server.py", "a")
    found, printed = await uv_shop.started(pin)
    assert printed == ["hello", "beside", "a"]
    assert (pin.artifact.kind, pin.artifact.name) == ("project", "local-server")
    assert [package.name for package in pin.artifact.packages] == ["lib"]
    assert found.cwd == root
    assert "it has no uv.lock: what it depends on was resolved now" in pin.artifact.findings
    assert sorted(os.listdir(root)) == ["beside.py", "pyproject.toml", "server.py", "src"]
    write(root, {"beside.py": "X = 'evil'"})
    assert "beside.py was changed" in await uv_shop.change(pin)


async def test_a_program_and_a_module_of_a_uv_project_run(uv_shop: Shop) -> None:
    root = uv_shop.home / "project"
    _, printed = await uv_shop.started(await uv_shop.pin("uv", "run", "--directory", str(root), "serve"))
    assert printed == ["main", "hello", str(root)]
    (root / "src/local_server/__main__.py").write_text("import local_server; local_server.main()")
    _, printed = await uv_shop.started(await uv_shop.pin("uv", "run", "--project", str(root), "-m", "local_server"))
    assert printed == ["main", "hello", str(uv_shop.home)]
    refused = await uv_shop.refusal("uv", "run", "--project", str(root), "nothing")
    assert "local-server has no program 'nothing'; it has: serve" in str(refused)


async def test_a_planted_cache_in_a_uv_project_is_not_read(uv_shop: Shop) -> None:
    root = uv_shop.home / "project"
    pin = await uv_shop.pin("uv", "--directory", str(root), "run", "server.py")
    plant(uv_shop.home / "evil.py", "X = 'evil'", root / "beside.py")
    _, printed = await uv_shop.started(pin)
    assert printed == ["hello", "beside"]


async def lock(shop: Shop, root: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert uv is not None
    await anyio.run_process([uv, "lock"], cwd=root, env={**shop.environment, "UV_CACHE_DIR": str(shop.home / "cache")})


async def test_a_uv_lock_is_followed_to_its_hashes(uv_shop: Shop, python_index: PythonIndex) -> None:
    root = uv_shop.home / "project"
    python_index.publish("never", "1.0", wheel("never", "1.0", {"never.py": ""}))
    await lock(uv_shop, root)
    python_index.publish("lib", "2.0", wheel("lib", "2.0", {"lib.py": "WORD = 'newer'"}))
    pin = await uv_shop.pin("uv", "--directory", str(root), "run", "server.py")
    assert [(each.name, each.version) for each in pin.artifact.packages] == [("lib", "1.0")]
    assert "its uv.lock was followed" in pin.artifact.findings
    assert (await uv_shop.started(pin))[1] == ["hello", "beside"]
    python_index.publish("lib", "1.0", wheel("lib", "1.0", {"lib.py": "WORD = 'other'"}))
    refused = await uv_shop.refusal("uv", "--directory", str(root), "run", "server.py")
    assert "lib 1.0 with other bytes than uv.lock names" in str(refused)


@catches("H13")
async def test_a_uv_lock_that_was_edited_by_hand_is_refused_and_named(uv_shop: Shop, python_index: PythonIndex) -> None:
    root = uv_shop.home / "project"
    python_index.publish("never", "1.0", wheel("never", "1.0", {"never.py": ""}))
    await lock(uv_shop, root)
    file = root / "uv.lock"
    text = file.read_text()
    sha256 = text.partition('name = "lib"')[2].partition("sha256:")[2][:64]
    edits = {
        "lib 1.0 with other bytes than uv.lock names": text.replace(sha256, sha256[::-1]),
        "uv cannot read the project's uv.lock": text[: len(text) // 2],
        "'lib==1.0', which is no release of an index with its hashes": text.replace(f', hash = "sha256:{sha256}"', ""),
    }
    for said, edited in edits.items():
        assert edited != text
        file.write_text(edited)
        assert said in str(await uv_shop.refusal("uv", "--directory", str(root), "run", "server.py"))


async def test_a_folder_without_a_project_file_and_a_script_with_its_own_list_are_refused(uv_shop: Shop) -> None:
    empty = write(uv_shop.home / "empty", {"server.py": ""})
    assert "no pyproject.toml" in str(await uv_shop.refusal("uv", "--directory", str(empty), "run", "server.py"))
    root = write(uv_shop.home / "project", {"server.py": "# /// script\n# dependencies = ['x']\n# ///\n"})
    refused = await uv_shop.refusal("uv", "--directory", str(root), "run", "server.py")
    assert "brings its own list of packages" in str(refused)


def test_a_lock_that_names_more_than_releases_is_refused() -> None:
    digest = "a" * 64
    found = exported(
        f"# c\nA_b==1.0 ; python_version >= '3' \\\n    --hash=sha256:{digest} \\\n    --hash=sha256:{digest}\n"
    )
    assert found.lines == ("A_b==1.0 ; python_version >= '3'",)
    assert found.hashes == {"a-b": frozenset({digest})}
    for line in (
        "-e ./x",
        f"x @ git+https://h.test/r --hash=sha256:{digest}",
        "./folder",
        "x==1.0",
        f"x>=1 --hash=sha256:{digest}",
    ):
        with pytest.raises(TrustError, match="no release of an index"):
            exported(line)


@pytest.mark.parametrize(
    "manifest",
    [
        {"project": {"dynamic": ["dependencies"]}},
        {"project": {"dependencies": ["x @ https://h.test/x.whl"]}},
        {"project": {"dependencies": ["x @ file:///x"]}},
        {"project": {"dependencies": ["x"]}, "tool": {"uv": {"sources": {"X": {"path": "../x"}}}}},
    ],
)
def test_a_project_that_depends_on_more_than_an_index_is_refused(manifest: dict[str, object]) -> None:
    with pytest.raises((TrustError, LaunchLineError)):
        asked_for(manifest)


async def test_a_script_beside_packages_is_pinned_by_its_content(uv_shop: Shop) -> None:
    script = uv_shop.home / "tool.py"
    script.write_text("import lib, sys; print(lib.WORD, *sys.argv[1:])")
    pin = await uv_shop.pin("uv", "run", "--with", "lib", str(script), "a")
    found, printed = await uv_shop.started(pin)
    assert (printed, pin.artifact.kind) == (["hello", "a"], "pypi")
    assert Mount(script, script) in found.mounts
    script.write_text("print('evil')")
    assert "tool.py was changed" in await uv_shop.change(pin)


async def test_a_module_of_packages_runs(uv_shop: Shop) -> None:
    pin = await uv_shop.pin("uvx", "--from", "lib", "python", "-m", "lib")
    assert (await uv_shop.started(pin))[1] == []


# --- other runtimes ---


@pytest.mark.parametrize(
    ("program", "words"),
    [("java", ("-jar", "x.jar")), ("dotnet", ("x.dll",)), ("deno", ("run", "x.ts")), ("bun", ("run", "x.ts"))],
)
async def test_a_runtime_that_is_missing_is_one_clear_sentence(
    shop: Shop, program: str, words: tuple[str, ...]
) -> None:
    file = shop.home / words[-1]
    file.write_text("")
    shop.environment = {"PATH": str(shop.home)}
    refused = await shop.refusal(program, *words[:-1], str(file))
    assert str(refused) == f"there is no program {program!r} on the PATH"
    assert refused.hint.startswith("install it (")


def fake_runtime(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo {name} 1.2.3; else echo ran "$@"; fi\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("deno run --allow-read {root}/main.ts a", "run --allow-read {root}/main.ts a"),
        ("bun run {root}/main.ts a", "run {root}/main.ts a"),
        ("dotnet {root}/main.dll a", "{root}/main.dll a"),
    ],
)
async def test_a_project_of_another_runtime_is_pinned_whole(shop: Shop, line: str, given: str) -> None:
    root = write(shop.home / "project", {"package.json": "{}", "main.ts": "", "main.dll": "", "other.dll": ""})
    runtimes = shop.home / "bin"
    runtimes.mkdir()
    program = fake_runtime(runtimes, line.split()[0])
    shop.environment = {"PATH": str(runtimes)}
    pin = await shop.pin(*line.format(root=root).split())
    found, printed = await shop.started(pin)
    assert printed == ["ran", *given.format(root=root).split()]
    assert (pin.artifact.interpreter is not None) and pin.artifact.interpreter.version == "1.2.3"
    assert {Mount(root, root)} <= set(found.mounts)
    write(root, {"other.dll": "evil"})
    assert "other.dll was changed" in await shop.change(pin)
    write(root, {"other.dll": ""})
    program.write_text(program.read_text() + "#")
    assert "is not the pinned one" in await shop.change(pin)


def jar(path: Path, manifest: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", manifest)
    return path


@pytest.mark.skipif(shutil.which("java") is None, reason="needs a Java runtime")
async def test_a_jar_is_pinned_alone_unless_it_names_others(shop: Shop) -> None:
    path = jar(shop.home / "x.jar", "Manifest-Version: 1.0\nMain-Class: a.Main\n")
    pin = await shop.pin("java", "-Xmx64m", "-jar", str(path), "a")
    found = await shop.store.verified(pin)
    assert (pin.artifact.kind, found.argv[1:]) == ("script", ("-Xmx64m", "-jar", str(path), "a"))
    (shop.home / "app").mkdir()
    path = jar(shop.home / "app/x.jar", "Manifest-Version: 1.0\nMain-Class: a.Main\nClass-Path: lib/y.jar\n")
    pin = await shop.pin("java", "-jar", str(path))
    assert pin.artifact.folders[0][0] == str(path.parent)
    write(shop.home / "app", {"lib/y.jar": "evil"})
    assert "lib/y.jar was added" in await shop.change(pin)
    assert "no main class" in str(await shop.refusal("java", "-jar", str(jar(shop.home / "z.jar", ""))))


# --- development ---


async def test_a_development_folder_runs_as_it_is_until_its_day_and_says_so(tmp_path: Path, shop: Shop) -> None:
    root = node_project(shop.home / "project")
    pin = await shop.pin("node", f"{root}/build/index.js", dev=True)
    write(root, {"node_modules/lib/main.js": 'export const word = "changed"'})
    assert (await shop.started(pin))[1] == ["changed"]
    until = datetime.fromisoformat(pin.artifact.until)
    assert abs(until.timestamp() - time.time() - 30 * 86400) < 3600
    text = "\n".join(describe(pin.artifact, pin.launch))
    assert f"development folder, trusted until {until.date()}, not verified" in text
    assert "verified: folder" not in text
    later = Store(shop.store.root, clock=lambda: until.timestamp() + 1)
    with pytest.raises(TrustError, match=f"trusted until {until.date()}"):
        await later.verified(pin)


async def test_only_a_project_can_be_a_development_folder(shop: Shop) -> None:
    script = write(shop.home / "alone", {"server.js": ""}) / "server.js"
    with pytest.raises(TrustError, match="nothing to develop"):
        await shop.pin("node", str(script), dev=True)


async def test_a_pin_that_calls_a_folder_both_verified_and_in_development_is_refused(shop: Shop) -> None:
    root = node_project(shop.home / "project")
    pin = await shop.pin("node", f"{root}/build/index.js")
    dev = await shop.pin("node", f"{root}/build/index.js", dev=True)
    for wrong in (
        replace(pin, artifact=replace(pin.artifact, folders=((str(root), ""),))),
        replace(pin, artifact=replace(pin.artifact, until=dev.artifact.until)),
        replace(pin, launch=replace(pin.launch, dev=True)),
        replace(dev, launch=replace(dev.launch, dev=False)),
        replace(dev, artifact=replace(dev.artifact, until="2027-01-01T00:00:00")),
        replace(pin, artifact=replace(pin.artifact, program=())),
        replace(pin, artifact=replace(pin.artifact, folders=())),
        replace(pin, artifact=replace(pin.artifact, interpreter=None)),
    ):
        with pytest.raises(TrustError):
            from_text(to_text(wrong))


# --- laws ---

NAMES = st.lists(st.sampled_from(["a", "b", "c", "d.js"]), min_size=1, max_size=3).map("/".join)
ENTRIES = st.dictionaries(NAMES, st.sampled_from(["", "1", "2"]), max_size=6)


def listing(files: Mapping[str, str]) -> Listing:
    return Listing(tuple(Entry("l", False, path, text) for path, text in sorted(files.items())))


@given(ENTRIES, ENTRIES)
def test_a_difference_is_told_exactly_where_there_is_one(before: dict[str, str], now: dict[str, str]) -> None:
    told = changes(listing(before), listing(now))
    assert len(told) == sum(before.get(path) != now.get(path) for path in before.keys() | now.keys())
    assert (not told) == (listing(before).text() == listing(now).text())
    assert read_listing(listing(now).text()).entries == listing(now).entries
    assert len(sentence([*told, *["x"] * 100])) < 1000


def test_a_socket_or_an_endless_folder_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "p"
    root.mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(root / "s"))
        with pytest.raises(TrustError, match="no file, folder or link"):
            survey(root, ())
    os.unlink(root / "s")
    deep = root
    for _ in range(70):
        deep /= "d"
        deep.mkdir()
    with pytest.raises(TrustError, match="too deeply"):
        survey(root, ())
