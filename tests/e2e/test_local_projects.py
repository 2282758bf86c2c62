"""Servers people write themselves, through the whole of Bulkhead: pinned where they lie, or trusted for a while."""

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from broker.errors import DeskError
from broker.model import JsonObject
from tests.e2e.running import Running
from tests.fakes import script
from tests.fakes.raw_client import LEGACY

pytestmark = pytest.mark.sandbox

OPENING: Final[JsonObject] = {
    "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}
}  # fmt: skip
PYPROJECT = '[project]\nname = "notes"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = []\n'
NODE_SERVER = """
import { createInterface } from "node:readline"
import { word } from "lib"
const say = (id, result) => console.log(JSON.stringify({ jsonrpc: "2.0", id, result }))
const tools = [{ name: "word", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } }]
createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method } = JSON.parse(line)
  if (id === undefined) return
  if (method === "initialize") say(id, { protocolVersion: "2025-06-18", capabilities: { tools: {} },
    serverInfo: { name: "notes", version: "1" } })
  else if (method === "tools/list") say(id, { tools })
  else if (method === "tools/call") say(id, { content: [{ type: "text", text: word }] })
  else console.log(JSON.stringify({ jsonrpc: "2.0", id, error: { code: -32601, message: "no" } }))
})
"""

JAVA_SERVER = r"""
import java.io.*;
import java.util.regex.*;
public class Server {
  static String said(String line) {
    if (line.contains("'initialize'")) return "'result':{'protocolVersion':'2025-06-18','capabilities':{'tools':{}},"
      + "'serverInfo':{'name':'n','version':'1'}}";
    if (line.contains("tools/list")) return "'result':{'tools':[{'name':'word','inputSchema':{'type':'object'},"
      + "'annotations':{'readOnlyHint':true}}]}";
    if (line.contains("tools/call")) return "'result':{'content':[{'type':'text','text':'" + lib.Word.WORD + "'}]}";
    return "'error':{'code':-32601,'message':'no'}";
  }
  public static void main(String[] words) throws IOException {
    var lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = lines.readLine()) != null;) {
      line = line.replace('"', '\'');
      var id = Pattern.compile("'id': ?('[^']*'|[0-9]+)").matcher(line);
      if (id.find())
        System.out.println(("{'jsonrpc':'2.0','id':" + id.group(1) + "," + said(line) + "}").replace('\'', '"'));
    }
  }
}
"""


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def node_line(root: Path) -> list[str]:
    write(
        root,
        {
            "package.json": '{"name": "notes", "type": "module"}',
            "build/index.js": NODE_SERVER,
            "node_modules/lib/package.json": '{"name": "lib", "type": "module", "main": "main.js"}',
            "node_modules/lib/main.js": 'export const word = "pinned"',
            ".git/config": "[core]",
        },
    )
    return ["node", f"{root}/build/index.js"]


def venv_line(root: Path) -> list[str]:
    venv.create(root / ".venv", symlinks=True)
    packages = next((root / ".venv/lib").glob("python3.*")) / "site-packages"
    shutil.copy(script("honest"), packages / "notes.py")
    write(root, {"pyproject.toml": PYPROJECT})
    return [f"{root}/.venv/bin/python", "-m", "notes"]


def java_line(root: Path) -> list[str]:
    """A jar that needs another one beside it."""
    write(
        root,
        {
            "src/Server.java": JAVA_SERVER,
            "src/lib/Word.java": 'package lib; public class Word { public static String WORD = "pinned"; }',
            "manifest": "Main-Class: Server\nClass-Path: word.jar\n",
        },
    )
    build: list[str | Path] = ["javac", "-d", root / "out", root / "src/Server.java", root / "src/lib/Word.java"]
    server: list[str | Path] = [
        "jar",
        "cfm",
        root / "server.jar",
        root / "manifest",
        "-C",
        root / "out",
        "Server.class",
    ]
    word: list[str | Path] = ["jar", "cf", root / "word.jar", "-C", root / "out", "lib"]
    commands: list[list[str | Path]] = [build, server, word]
    for command in commands:
        subprocess.run(command, check=True, timeout=120)
    return ["java", "-Xmx128m", "-jar", f"{root}/server.jar"]


def uv_line(root: Path) -> list[str]:
    write(root, {"pyproject.toml": PYPROJECT})
    shutil.copy(script("honest"), root / "server.py")
    return ["uv", "--directory", str(root), "run", "server.py"]


NEEDS_JAVA = pytest.mark.skipif(shutil.which("javac") is None, reason="needs a Java compiler")


@pytest.mark.parametrize("line", [node_line, venv_line, uv_line, pytest.param(java_line, marks=NEEDS_JAVA)])
def test_a_local_project_is_pinned_where_it_lies_and_works(running: Running, line: Callable[[Path], list[str]]) -> None:
    root = running.user / "notes"
    added = running.add("notes", line(root), connect=["local"])
    assert (added.kind, added.state, added.development) == ("project", "pinned", "")
    assert added.tools
    with running.connect("notes") as client:
        client.open()
        answer = client.call(added.tools[0].name, {"text": "x"})
        assert "result" in answer, answer


def test_a_changed_project_is_not_started_and_its_files_are_named(running: Running) -> None:
    root = running.user / "notes"
    running.add("notes", node_line(root), connect=["local"])
    write(root, {"node_modules/lib/main.js": 'export const word = "evil"'})
    done = running.bulkhead("verify", "notes")
    assert done.returncode == 1
    assert "node_modules/lib/main.js was changed" in done.stdout + done.stderr
    with running.connect("notes") as client:
        client.open()
        answer = client.call("word", {})
        assert "evil" not in json.dumps(answer)
        assert "node_modules/lib/main.js was changed" in json.dumps(answer)
    updated = running.bulkhead("pin", "notes", "--update", "--yes", within=120)
    assert updated.returncode == 0, updated.stderr


def test_a_development_folder_changes_as_its_author_likes_and_says_so_everywhere(running: Running) -> None:
    root = running.user / "notes"
    added = running.bulkhead("add", "notes", "--dev", "--yes", "--", *node_line(root), within=120)
    assert added.returncode == 0, added.stderr
    assert "development folder, trusted until 20" in added.stdout
    assert "verified: folder" not in added.stdout
    assert "development folder" in running.bulkhead("servers").stdout
    assert "not verified" in running.bulkhead("show", "notes").stdout
    write(root, {"node_modules/lib/main.js": 'export const word = "changed"'})
    client = running.newcomer()
    assert running.bulkhead("client", "add", client).returncode == 0
    with running.connect("notes", client) as link:
        opening = link.start_request("initialize", OPENING)
        asked = running.desk.question(server="notes", kind="connection")
        assert "notes is a development folder, trusted until 20" in asked.why
        running.desk.approve(asked, "always")
        assert "result" in link.answer_to(opening)
        link.notify("notifications/initialized")
        assert link.call_text("word") == "changed"
        assert [grant.lifetime for grant in running.desk.grants() if grant.client == client] == ["session"]
    launches = running.desk.receipts(server="notes", kind="launch")
    said = [entry["body"]["development"] for entry in launches if "development" in (entry["body"] or {})]
    assert said and all("not verified" in each for each in said), launches
    with pytest.raises(DeskError, match="development folder"):
        running.desk.connect(client, "notes")


def test_a_lasting_yes_to_pinned_bytes_does_not_outlive_them(running: Running) -> None:
    root = running.user / "notes"
    running.add("notes", node_line(root), connect=["local"])
    assert [grant.server for grant in running.desk.grants()] == ["notes"]
    added = running.bulkhead("add", "notes", "--dev", "--yes", "--", *node_line(root), within=120)
    assert added.returncode == 0, added.stderr
    assert running.desk.grants() == []


def test_development_is_for_projects_alone(running: Running) -> None:
    done = running.bulkhead("add", "x", "--dev", "--yes", "--", sys.executable, str(script("honest")), within=120)
    assert done.returncode != 0
    assert "nothing to develop" in done.stderr
