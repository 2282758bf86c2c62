"""Packages that must run something of their own before they work: only after a yes of its own, once, shut in."""

import json
from collections.abc import Iterator
from typing import Final

import pytest

from tests.e2e.running import Running, home_of_a_stranger
from tests.trust.registries import NpmRegistry

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
const end = reached => { fs.writeFileSync('made.txt', JSON.stringify({...seen, reached})); process.exit(0) }
socket.on('connect', () => end(true))
socket.on('error', () => end(false))
"""


@pytest.fixture(scope="module")
def registry() -> Iterator[NpmRegistry]:
    with NpmRegistry() as made:
        yield made


@pytest.fixture(scope="module")
def running(registry: NpmRegistry) -> Iterator[Running]:
    """A home whose user has a secret, a registry and a daemon."""
    with home_of_a_stranger(TOKEN="s3cret") as made:
        registry.environment(made.user)
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


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo stolen > ../lib/index.js", "building it changed 'node_modules/lib/index.js', which belongs to another"),
        ("node -e \"fetch('http://registry.test/').catch(e => { throw e.cause })\"", "it wanted a network"),
    ],
)  # fmt: skip
def test_a_build_that_fails_or_reaches_beyond_its_folder_pins_nothing(
    running: Running, registry: NpmRegistry, script: str, said: str
) -> None:
    name = f"server-{len(registry.documents)}"
    registry.publish("lib")
    registry.publish(name, manifest={"scripts": {"install": script}, "dependencies": {"lib": "1.0.0"}})
    refused = running.bulkhead("add", name, "--yes", "--build", "--", "npx", "-y", name, within=WITHIN)
    assert refused.returncode == 1
    assert said in refused.stderr
    assert running.bulkhead("show", name).returncode != 0


def described(running: Running, name: str) -> str:
    (tool,) = running.desk.server(name).tools
    return tool.description
