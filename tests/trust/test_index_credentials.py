"""What opens a private index reaches the tool that needs it, and stands on no command line."""

import base64
import os
import sys
from pathlib import Path

import anyio
import pytest

from broker.trust.launch_spec import parse
from broker.trust.pypi_settings import pypi_settings
from broker.trust.resolve import resolve
from broker.trust.run import Command, Finished, run_command
from broker.trust.store import Store
from tests.trust.archives import wheel
from tests.trust.registries import PythonIndex

WORD = "pa55word"


@pytest.fixture
def commands() -> list[Command]:
    return []


async def resolved(
    store: Store, index: PythonIndex, home: Path, commands: list[Command], address: str, netrc: str = ""
) -> None:
    index.publish("server", "1.0.0", wheel("server", "1.0.0", {"server.py": "def main():\n    pass\n"},
                                           scripts={"server": "server:main"}))  # fmt: skip
    environment = index.environment(home)
    (home / ".config/uv/uv.toml").write_text(f'[[index]]\nurl = "{address}/simple"\ndefault = true\n')
    if netrc:
        (home / ".netrc").write_text(netrc)

    async def watched(command: Command) -> Finished:
        commands.append(command)
        return await run_command(command)

    request = parse(["uvx", "server"], exists=os.path.exists)
    await resolve(request, store=store, environment=environment, progress=lambda said: None, run=watched)


async def test_a_password_in_an_indexs_address_opens_it_and_is_on_no_command_line(
    store: Store, python_index: PythonIndex, tmp_path: Path, commands: list[Command]
) -> None:
    address = python_index.url.replace("//", f"//me:{WORD}@")
    await resolved(store, python_index, tmp_path / "user", commands, address)
    assert not [word for command in commands for word in command.argv if WORD in word]
    expected = "Basic " + base64.b64encode(f"me:{WORD}".encode()).decode()
    by_tool = [h["Authorization"] for h in python_index.headers if "Authorization" in h]
    assert set(by_tool) == {expected}
    agents = {headers.get("User-Agent", "")[:3] for headers in python_index.headers if "Authorization" in headers}
    assert {"uv/", "pip"} <= agents
    assert {host for command in commands for host in command.hosts} == {python_index.url.removeprefix("http://")}


async def test_of_a_users_netrc_the_tools_see_only_the_lines_of_the_indexes(
    store: Store, python_index: PythonIndex, tmp_path: Path, commands: list[Command]
) -> None:
    lines = f"machine elsewhere.test login me password other\nmachine 127.0.0.1 login me password {WORD}\n"
    environment = {"HOME": str(tmp_path / "user"), "PATH": os.environ["PATH"]}
    await resolved(store, python_index, tmp_path / "user", commands, python_index.url, lines)
    (work := tmp_path / "work").mkdir()
    settings = await pypi_settings((sys.executable, "-m", "pip"), environment, work, run_command)
    kept = await anyio.Path(settings.variables["NETRC"]).read_text()
    assert (WORD in kept, "elsewhere" in kept) == (True, False)
    expected = "Basic " + base64.b64encode(f"me:{WORD}".encode()).decode()
    assert expected in {headers.get("Authorization", "") for headers in python_index.headers}
