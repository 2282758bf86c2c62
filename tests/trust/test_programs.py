"""Binaries and scripts are pinned by their hashes, and only if nobody else can change them."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from broker.errors import TrustError
from broker.model import Mount, ServerName
from broker.pin import Interpreter, Pin, PinnedArtifact
from broker.trust.interpreters import own_python
from broker.trust.launch_spec import parse
from broker.trust.programs import fingerprint, runtime_prefix
from broker.trust.resolve import resolve
from broker.trust.store import Store
from broker.trust.tree import sha256_of


def user(**more: str) -> Mapping[str, str]:
    return {"PATH": os.environ["PATH"], **more}


async def pinned(store: Store, *argv: str, environment: Mapping[str, str] | None = None) -> Pin:
    request = parse(argv, exists=os.path.exists)
    artifact = await resolve(request, store=store, environment=environment or user(), progress=lambda text: None)
    return Pin(ServerName("local"), "now", request, artifact)


def program(path: Path, text: str = "\x7fELF") -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


async def test_a_binary_is_pinned_by_its_hash_and_mounted_alone(store: Store, tmp_path: Path) -> None:
    path = program(tmp_path / "server")
    pin = await pinned(store, str(path), "stdio")
    sha256 = sha256_of(path)[0]
    assert pin.artifact == PinnedArtifact(
        "binary", "server", sha256[:12], entry=str(path), files=((str(path), sha256),)
    )
    found = await store.verified(pin)
    assert (found.argv, found.mounts) == ((str(path), "stdio"), (Mount(path, path),))


async def test_a_name_on_the_path_and_a_link_are_pinned_as_the_real_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = program(tmp_path / "real/server-1.0")
    (tmp_path / "server").symlink_to(real)
    for word, path in (("server", str(tmp_path)), (str(tmp_path / "server"), "")):
        pin = await pinned(store, word, environment={"PATH": path})
        assert (await store.verified(pin)).argv == (str(real),)


@pytest.mark.parametrize("change", ["bytes", "not executable", "open to all", "gone"])
async def test_a_binary_that_changed_refuses_the_launch(store: Store, tmp_path: Path, change: str) -> None:
    path = program(tmp_path / "server")
    pin = await pinned(store, str(path))
    match change:
        case "bytes":
            program(path, "\x7fELG")
        case "not executable":
            path.chmod(0o644)
        case "open to all":
            path.chmod(0o757)
        case _:
            os.unlink(path)
    reason = {"bytes": "was changed", "gone": "cannot be read", "open to all": "changed by other users"}
    with pytest.raises(TrustError, match=reason.get(change, change)) as refused:
        await store.verified(pin)
    assert str(path) in str(refused.value)


async def test_a_script_is_pinned_with_the_real_interpreter(store: Store, tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text("print()")
    pin = await pinned(store, str(own_python()), "-u", str(script), "x")
    interpreter = pin.artifact.interpreter
    assert interpreter is not None
    assert interpreter.path == own_python()
    assert interpreter.version == "{}.{}.{}".format(*sys.version_info[:3])
    found = await store.verified(pin)
    assert found.argv == (str(own_python()), "-u", str(script), "x")
    assert Mount(script, script) in found.mounts
    assert all(mount.source == mount.target and not mount.writable for mount in found.mounts)
    script.write_text("print(1)")
    with pytest.raises(TrustError, match=r"server\.py was changed"):
        await store.verified(pin)


async def test_the_python_of_a_virtual_environment_keeps_its_environment(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to(own_python())
    (folder / "pyvenv.cfg").write_text(f"home = {own_python().parent}\n")
    script = tmp_path / "server.py"
    script.write_text("print()")
    pin = await pinned(store, str(folder / "bin/python"), str(script))
    found = await store.verified(pin)
    assert found.argv == (str(folder / "bin/python"), str(script))
    assert Mount(folder, folder) in found.mounts
    assert any("virtual environment" in finding for finding in pin.artifact.findings)
    (folder / "pyvenv.cfg").write_text("home = /tmp\n")
    with pytest.raises(TrustError, match=r"pyvenv\.cfg was changed"):
        await store.verified(pin)


async def test_a_text_program_is_pinned_with_the_interpreter_it_names(store: Store, tmp_path: Path) -> None:
    path = program(tmp_path / "server", "#!/usr/bin/env python3\nprint()\n")
    (tmp_path / "python3").symlink_to(own_python())
    pin = await pinned(store, str(path), "x", environment={"PATH": str(tmp_path)})
    assert (pin.artifact.kind, (await store.verified(pin)).argv) == ("script", (str(own_python()), str(path), "x"))


@pytest.mark.parametrize("first", ["#!/bin/sh", "#!/usr/bin/env -S node --x", "#!python3", "#!/usr/bin/ruby", "#!"])
async def test_a_text_program_run_by_anything_else_is_refused(store: Store, tmp_path: Path, first: str) -> None:
    path = program(tmp_path / "server", f"{first}\nexit\n")
    with pytest.raises(TrustError, match="is a text that is run by"):
        await pinned(store, str(path))


async def test_a_program_that_is_nowhere_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="no program 'no-such-server' on the PATH"):
        await pinned(store, "no-such-server", environment={"PATH": str(tmp_path)})


async def test_an_interpreter_that_is_something_else_is_refused(store: Store, tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text("")
    fake = shutil.which("true")
    assert fake is not None
    (tmp_path / "python3").symlink_to(fake)
    with pytest.raises(TrustError, match="does not work"):
        await pinned(store, str(tmp_path / "python3"), str(script))


def test_a_program_in_a_folder_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    path = program(folder / "server")
    assert fingerprint(path, executable=True)
    folder.chmod(0o777)
    with pytest.raises(TrustError, match="open, which holds server, can be changed by other users") as refused:
        fingerprint(path, executable=True)
    assert refused.value.hint == f"chmod go-w {folder}"
    folder.chmod(0o1777)  # what the system's temporary folder is
    assert fingerprint(path, executable=True)


def test_a_program_another_group_can_write_is_refused(tmp_path: Path) -> None:
    path = program(tmp_path / "server")
    if os.getuid() != 0:
        pytest.skip("only root can give a file to another group")
    os.chown(path, 0, 12345)
    path.chmod(0o775)
    with pytest.raises(TrustError, match="changed by other users"):
        fingerprint(path, executable=True)


def test_a_home_is_never_a_runtime(tmp_path: Path) -> None:
    runtime = tmp_path / "home/.tools/python"
    runtime.mkdir(parents=True)
    home = str(tmp_path / "home")
    assert runtime_prefix(runtime / "bin/python3", runtime, [home]) == runtime
    assert runtime_prefix(tmp_path / "home/bin/python3", tmp_path / "home", [home]) is None
    assert runtime_prefix(tmp_path / "bin/python3", tmp_path, [home]) is None
    assert runtime_prefix(Path("/bin/python3"), Path("/"), [home]) is None
    assert runtime_prefix(Path("/usr/bin/python3"), Path("/usr"), [home]) is None


async def test_an_interpreter_outside_system_and_runtime_is_mounted_by_itself(store: Store, tmp_path: Path) -> None:
    path = program(tmp_path / "server")
    pin = await pinned(store, str(path))
    interpreter = program(tmp_path / "node")
    found = Interpreter(interpreter, "1", sha256_of(interpreter)[0])
    pin = replace(pin, artifact=replace(pin.artifact, kind="script", interpreter=found))
    assert (await store.verified(pin)).mounts == (Mount(path, path), Mount(interpreter, interpreter))
