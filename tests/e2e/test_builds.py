"""Packages that must run something of their own before they work: only after a yes of its own, once, shut in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.running import Running, home_of_a_stranger
from tests.trust.archives import tarball, wheel
from tests.trust.registries import NpmRegistry, PythonIndex

WITHIN: Final = 300.0
SERVER: Final = """#!/usr/bin/env node
const fs = require('fs')
const made = fs.existsSync(__dirname + '/made.txt') ? fs.readFileSync(__dirname + '/made.txt', 'utf8') : 'nothing'
require('readline').createInterface({input: process.stdin}).on('line', line => {
  const asked = JSON.parse(line)
  if (asked.id === undefined) return
  const known = {
    initialize: {protocolVersion: '2025-06-18', capabilities: {tools: {}}, serverInfo: {name: 's', version: '1'}},
    'tools/list': {tools: [{name: 'made', description: made, inputSchema: {type: 'object'}}]},
  }
  const result = known[asked.method]
  const error = {code: -32601, message: 'no such method'}
  console.log(JSON.stringify({jsonrpc: '2.0', id: asked.id, ...(result ? {result} : {error})}))
})
"""
INSTALL: Final = """
const fs = require('fs'), net = require('net'), os = require('os')
const seen = {secret: fs.existsSync('%(home)s/secret'), token: 'TOKEN' in process.env,
  home: os.homedir() === '%(home)s'}
const socket = net.connect(%(port)s, '127.0.0.1')
const end = reached => {
  fs.writeFileSync('made.txt', JSON.stringify({...seen, reached}))
  fs.linkSync('made.txt', 'again.txt')
  process.exit(0)
}
socket.on('connect', () => end(true))
socket.on('error', () => end(false))
"""


PYTHON_SERVER: Final = """
import json, sys
from made import MADE

def main():
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:
            continue
        about = {"name": "s", "version": "1"}
        known = {
            "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about},
            "tools/list": {"tools": [{"name": "made", "description": MADE, "inputSchema": {"type": "object"}}]},
        }
        result = known.get(asked["method"])
        said = {"result": result} if result else {"error": {"code": -32601, "message": "no such method"}}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **said}), flush=True)
"""
BACKEND: Final = """
import base64, hashlib, os, pathlib, re, runpy, zipfile

def build_wheel(folder, settings=None, metadata=None):
    about = pathlib.Path("PKG-INFO").read_text()
    name, version = (re.search(f"^{field}: (.*)$", about, re.M)[1] for field in ("Name", "Version"))
    made = runpy.run_path("hook.py")
    info = f"{name}-{version}.dist-info"
    files = {f"{name}.py": open(f"{name}.py").read(), "made.py": f"MADE = {made['MADE']!r}",
             f"{info}/METADATA": about + made.get("MORE", ""), f"{info}/WHEEL": "Wheel-Version: 1.0",
             f"{info}/entry_points.txt": f"[console_scripts]\\n{name} = {name}:main\\n"}
    file = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, file), "w") as archive:
        record = ""
        for path, text in files.items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},\\n"
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\\n")
    return file
"""
HOOK: Final = """
import json, os, socket

def can(what, *arguments):
    try:
        what(*arguments)
        return True
    except OSError:
        return False

open("/tmp/trace-%(port)s", "w").close()
MADE = json.dumps({"home": os.path.exists("%(home)s"), "token": "TOKEN" in os.environ,
                   "reached": can(socket.create_connection, ("127.0.0.1", %(port)s)),
                   "store": os.path.exists("%(store)s/objects")})
"""


@pytest.fixture(scope="module")
def registry() -> Iterator[NpmRegistry]:
    with NpmRegistry() as made:
        yield made


@pytest.fixture(scope="module")
def index() -> Iterator[PythonIndex]:
    """An index with a build backend, and otherwise without wheels."""
    with PythonIndex() as made:
        made.publish("tinybuild", "1.0", wheel("tinybuild", "1.0", {"tinybuild.py": BACKEND}))
        yield made


@pytest.fixture(scope="module")
def running(registry: NpmRegistry, index: PythonIndex) -> Iterator[Running]:
    """A home whose user has a secret, registries, a place for browsers and a daemon."""
    with home_of_a_stranger(TOKEN="s3cret", PLAYWRIGHT_DOWNLOAD_HOST=registry.url) as made:
        registry.environment(made.user)
        index.environment(made.user)
        (made.user / "secret").write_text("s3cret")
        made.up()
        yield made


@pytest.mark.sandbox
@pytest.mark.claim("C10")
def test_an_install_script_runs_only_after_a_yes_of_its_own_and_reaches_nothing(
    running: Running, registry: NpmRegistry
) -> None:
    script = INSTALL % {"home": running.user, "port": registry.url.rpartition(":")[2]}
    registry.publish(
        "server", manifest={"scripts": {"postinstall": "node install.js"}},
        files={"index.js": SERVER, "install.js": script},
    )  # fmt: skip
    plain = running.bulkhead("add", "plain", "--yes", "--", "npx", "-y", "server", within=WITHIN)
    assert plain.returncode == 0, plain.stderr
    assert "would build: server 1.0.0 from sha512-" in plain.stdout
    assert "its script 'postinstall': node install.js" in plain.stdout.replace("\\", "")
    assert described(running, "plain") == "nothing", "a yes to the server is no yes to its script"

    built = running.bulkhead("add", "built", "--yes", "--build", "--", "npx", "-y", "server", within=WITHIN)
    assert built.returncode == 0, built.stderr
    assert json.loads(described(running, "built")) == {"home": False, "secret": False, "token": False, "reached": False}
    findings = running.desk.server("built").findings
    assert any("'postinstall', which was run once, in a box without a network" in one for one in findings)
    tools = [receipt for receipt in running.desk.receipts(server="built") if receipt["method"] == "tool"]
    rebuilds = [receipt["body"] for receipt in tools if "rebuild" in receipt["body"]["argv"]]
    assert [body["hosts"] for body in rebuilds] == [[], []]
    (consent,) = (one for one in running.desk.receipts(server="built") if one["method"] == "server.build")
    assert (consent["kind"], consent["side"]) == ("pin", "person")


DRIVER: Final = """
const fs = require('fs'), http = require('http'), net = require('net')
const seen = {browser: process.argv[3], secret: fs.existsSync('%(home)s/secret'), token: 'TOKEN' in process.env}
const into = process.env.PLAYWRIGHT_BROWSERS_PATH
const file = into + '/' + seen.browser + '-1/browser'
fs.mkdirSync(into + '/.links', {recursive: true})
fs.writeFileSync(into + '/.links/x', __dirname)
fs.mkdirSync(into + '/' + seen.browser + '-1')
const other = net.connect(%(other)s, '127.0.0.1')
const fetch = elsewhere => http.get(process.env.PLAYWRIGHT_DOWNLOAD_HOST + '/browser.bin', answer => {
  let got = ''
  answer.on('data', part => got += part).on('end', () => {
    fs.writeFileSync(file, JSON.stringify({...seen, got, elsewhere}), {mode: 0o755})
    process.exit(answer.statusCode === 200 ? 0 : 1)
  })
})
other.on('connect', () => fetch(true)).on('error', () => fetch(false))
"""
DRIVES: Final = """
const path = process.env.PLAYWRIGHT_BROWSERS_PATH
let made = 'no browser'
if (path) {
  made = fs.readFileSync(path + '/firefox-1/browser', 'utf8') + fs.existsSync(path + '/.links')
  try { fs.writeFileSync(path + '/firefox-1/browser', 'x'); made += ' writable' } catch (cause) { made += cause.code }
}
"""


@pytest.mark.sandbox
@pytest.mark.claim("C19")
def test_a_browser_is_fetched_once_after_a_yes_and_belongs_to_the_pin(
    running: Running, registry: NpmRegistry, index: PythonIndex
) -> None:
    registry.tarballs["/browser.bin"] = b"a browser"
    script = DRIVER % {"home": running.user, "other": index.url.rpartition(":")[2]}
    registry.publish("playwright-core", files={"cli.js": script})
    server = "\n".join(DRIVES if line.startswith("const made") else line for line in SERVER.splitlines())
    registry.publish("drives", manifest={"dependencies": {"playwright-core": "1.0.0"}}, files={"index.js": server})
    line = ("--", "npx", "-y", "drives", "--browser", "firefox")
    plain = running.bulkhead("add", "without", "--yes", *line, within=WITHIN)
    assert plain.returncode == 0, plain.stderr
    assert (
        f"gets from {registry.url.removeprefix('http://')} by node node_modules/playwright-core/cli.js" in plain.stdout
    )
    assert described(running, "without") == "no browser", "a yes to the server is no yes to its driver's code"

    added = running.bulkhead("add", "drives", "--yes", "--build", *line, within=WITHIN)
    assert added.returncode == 0, added.stderr
    seen = {"browser": "firefox", "secret": False, "token": False, "got": "a browser", "elsewhere": False}
    assert described(running, "drives") == json.dumps(seen, separators=(",", ":")) + "falseEROFS"
    (file,) = running.paths.store.glob("objects/*/browsers/firefox-1/browser")

    registry.tarballs["/browser.bin"] = b"another browser"
    changed = running.bulkhead("add", "drives", "--yes", "--build", *line, within=WITHIN)
    assert changed.returncode == 1 and "BROWSER_CHANGED" in changed.stderr, changed.stderr
    assert running.bulkhead("verify", "drives", "--offline").returncode == 0, "the old pin stays"
    file.chmod(0o755)
    file.write_text("other bytes")
    file.chmod(0o555)
    assert "browsers/firefox-1/browser was changed" in running.bulkhead("verify", "drives", "--offline").stdout


@pytest.mark.sandbox
def test_an_install_script_that_changes_another_package_pins_nothing(running: Running, registry: NpmRegistry) -> None:
    registry.publish("lib")
    scripts = {"install": "echo stolen > ../lib/index.js"}
    registry.publish("grabby", manifest={"scripts": scripts, "dependencies": {"lib": "1.0.0"}})
    refused = running.bulkhead("add", "grabby", "--yes", "--build", "--", "npx", "-y", "grabby", within=WITHIN)
    assert refused.returncode == 1
    assert "building it changed 'node_modules/lib/index.js', which belongs to another package" in refused.stderr
    assert running.bulkhead("show", "grabby").returncode != 0


def publish_source(index: PythonIndex, name: str, hook: str) -> None:
    files = {
        "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = ["tinybuild"]\nbuild-backend = "tinybuild"\n',
        "hook.py": hook,
        f"{name}.py": PYTHON_SERVER,
    }
    data = tarball(files, top=f"{name}-1.0")
    index.publish(name, "1.0", data, file=f"{name}-1.0.tar.gz")


@pytest.mark.sandbox
@pytest.mark.claim("C10")
def test_a_python_package_without_a_wheel_is_built_once_after_a_yes_of_its_own_and_reaches_nothing(
    running: Running, index: PythonIndex
) -> None:
    port = index.url.rpartition(":")[2]
    publish_source(index, "source", HOOK % {"home": running.user, "port": port, "store": running.paths.store})
    line = ("--", "uvx", "source")
    refused = running.bulkhead("add", "source", "--yes", *line, within=WITHIN)
    assert refused.returncode == 1, refused.stdout
    assert "would build: source 1.0 from sha256:" in refused.stdout and " by tinybuild" in refused.stdout
    assert "would build it with: tinybuild 1.0 sha256:" in refused.stdout
    assert "source has to be built before it can run, which needs a yes of its own" in refused.stderr
    assert running.bulkhead("show", "source").returncode != 0

    built = running.bulkhead("add", "source", "--yes", "--build", *line, within=WITHIN)
    assert built.returncode == 0, built.stderr
    seen = {"home": False, "token": False, "reached": False, "store": False}
    assert json.loads(described(running, "source")) == seen
    assert not Path(f"/tmp/trace-{port}").exists()
    builds = [one for one in running.desk.receipts(server="source") if one["target"] == "build of source"]
    assert [one["body"]["hosts"] for one in builds] == [[]]
    checked = running.bulkhead("verify", "source", "--offline", within=WITHIN)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.sandbox
def test_a_source_that_cannot_be_built_without_a_network_pins_nothing(running: Running, index: PythonIndex) -> None:
    publish_source(index, "needy", "import urllib.request\nurllib.request.urlopen('http://index.test/')")
    refused = running.bulkhead("add", "needy", "--yes", "--build", "--", "uvx", "needy", within=WITHIN)
    assert refused.returncode == 1
    assert "it wanted a network, and a build gets none" in refused.stderr
    assert running.bulkhead("show", "needy").returncode != 0


def described(running: Running, name: str) -> str:
    (tool,) = running.desk.server(name).tools
    return tool.description
