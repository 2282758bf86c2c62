"""MCPB bundles: the signature is judged by our own code, and only judged bytes come into the store."""

import io
import json
import os
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from broker.errors import LaunchLineError, TrustError
from broker.model import ServerName
from broker.pin import Pin
from broker.trust.bundle import resolve_bundle, unpack_bundle
from broker.trust.bundle_manifest import read_bundle_manifest
from broker.trust.bundle_signature import read_signature
from broker.trust.continuity import compare
from broker.trust.launch_spec import parse
from broker.trust.pins import describe, from_text, pin_digest, to_text
from broker.trust.run import run_command
from broker.trust.store import Store
from tests.fakes.launchers import node_environment
from tests.trust.bundles import Key, block, bundle, certificate, manifest

KEYS: Final[Mapping[str, Key]] = {
    "rsa": rsa.generate_private_key(65537, 2048), "ec": ec.generate_private_key(ec.SECP256R1())
}  # fmt: skip
CERTIFICATES: Final = {name: certificate(key, f"signer {name}") for name, key in KEYS.items()}
BODY: Final = bundle()
SIGNED: Final = BODY + block(BODY, KEYS["rsa"], CERTIFICATES["rsa"])
SETTINGS: Final = {"dir": "/data"}


@dataclass
class Shop:
    """A user with a store, who is given bundles."""

    store: Store
    folder: Path

    async def pin(self, data: bytes, settings: Mapping[str, str] = SETTINGS) -> tuple[Pin, Mapping[str, str]]:
        file = self.folder / "given.mcpb"
        file.write_bytes(data)
        request = parse(["mcpb", "run", str(file)], exists=os.path.exists)
        artifact, env = await resolve_bundle(
            request, store=self.store, environment=node_environment({"HOME": str(self.folder)}),
            progress=lambda said: None, run=run_command, settings=settings,
        )  # fmt: skip
        return Pin(ServerName("s"), "now", request, artifact), env

    async def refusal(self, data: bytes, settings: Mapping[str, str] = SETTINGS) -> TrustError:
        with pytest.raises(TrustError) as refused:
            await self.pin(data, settings)
        assert os.listdir(self.store.root / "objects") == []
        assert os.listdir(self.store.root / "staging") == []
        return refused.value

    async def started(self, pin: Pin, env: Mapping[str, str]) -> str:
        found = await self.store.verified(pin)
        argv = [word.replace("/opt/bulkhead/package", str(self.store.object(found.tree))) for word in found.argv]
        return (await anyio.run_process(argv, env=dict(env))).stdout.decode()


@pytest.fixture
def shop(store: Store, tmp_path: Path) -> Shop:
    return Shop(store, tmp_path)


async def test_a_signed_bundle_is_verified_shown_with_its_key_and_runs_from_the_store(shop: Shop) -> None:
    pin, env = await shop.pin(SIGNED)
    assert (pin.artifact.kind, pin.artifact.name, pin.artifact.version) == ("bundle", "my-bundle", "1.0.0")
    lines = "\n".join(describe(pin.artifact, pin.launch))
    assert "verified: its signature is by the key of CN=signer rsa (self-signed, so anybody may claim the nam" in lines
    assert "/opt/bulkhead/package/bundle/server/index.js --dir=/data" in lines
    assert env == {"dir": "/data", "LEVEL": "low"}
    assert await shop.started(pin, env) == "hello [ '--dir=/data' ] low\n"
    assert pin_digest(from_text(to_text(pin))) == pin_digest(pin)


async def test_an_unsigned_bundle_is_pinned_and_said_to_be_unsigned(shop: Shop) -> None:
    pin, _ = await shop.pin(BODY)
    assert "not verified: who made it (the bundle is not signed)" in describe(pin.artifact, pin.launch)


def test_a_chain_is_shown_and_not_called_trusted() -> None:
    root = certificate(KEYS["rsa"], "root")
    leaf = certificate(KEYS["ec"], "leaf", root, KEYS["rsa"])
    found = read_signature(BODY + block(BODY, KEYS["ec"], leaf, root))
    assert found.state == "verified" and "CN=leaf (issued by CN=root" in found.detail and "not checked" in found.detail


def test_an_archive_that_counts_the_block_as_its_comment_is_the_archive_that_was_signed(tmp_path: Path) -> None:
    signature = block(BODY, KEYS["ec"], CERTIFICATES["ec"])
    data = _counting(BODY, signature) + signature
    assert zipfile.ZipFile(io.BytesIO(data)).comment == signature
    found = read_signature(data)
    assert (found.state, found.body) == ("verified", BODY)
    with pytest.raises(TrustError, match="exactly one zip"):
        unpack_bundle(_counting(BODY, signature), tmp_path)


def _counting(body: bytes, signature: bytes) -> bytes:
    return body[:-2] + struct.pack("<H", len(signature))


def _flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


INVALID: Mapping[str, tuple[bytes, str]] = {
    "tampered": (_flipped(SIGNED, 60), "changed after it was signed"),
    "appended": (SIGNED + b"x", "bytes follow it"),
    "a whole archive appended": (SIGNED + BODY, "bytes follow it"),
    "bad signature": (_flipped(SIGNED, -60), "does not hold"),
    "cut block": (SIGNED[:-30] + SIGNED[-12:], "another length"),
    "foot taken off": (SIGNED[:-12], "cut off"),
    "the block of another bundle": (BODY + block(b"other", KEYS["rsa"], CERTIFICATES["rsa"]), "changed after"),
    "an empty block": (BODY + b"MCPB_SIG_V1\0\0\0\0MCPB_SIG_END", "cut off"),
    "noise in the block": (BODY + b"MCPB_SIG_V1\4\0\0\0\x30\x80ab" + b"MCPB_SIG_END", "not DER"),
}  # fmt: skip


@pytest.mark.parametrize("what", INVALID)
async def test_a_signature_that_does_not_hold_refuses_and_never_counts_as_none(shop: Shop, what: str) -> None:
    data, named = INVALID[what]
    assert read_signature(data).state == "invalid"
    refused = await shop.refusal(data)
    assert named in str(refused) and "do not use this file" in (refused.hint or "")


async def test_a_stripped_signature_is_missing_and_blocks_the_update_of_a_signed_bundle(shop: Shop) -> None:
    old, _ = await shop.pin(SIGNED)
    stripped, _ = await shop.pin(SIGNED[: SIGNED.rfind(b"MCPB_SIG_V1")])
    assert [each.code for each in compare(old.artifact, stripped.artifact, now=0)] == ["SIG_DROPPED"]
    other, _ = await shop.pin(BODY + block(BODY, KEYS["ec"], CERTIFICATES["ec"]))
    found = compare(old.artifact, other.artifact, now=0)
    assert [(each.code, each.action) for each in found] == [("PUBLISHER_CHANGED", "block")]


async def test_a_version_whose_bytes_changed_is_told(shop: Shop) -> None:
    old, _ = await shop.pin(BODY)
    new, _ = await shop.pin(bundle(files={"server/index.js": "other()"}))
    assert [each.code for each in compare(old.artifact, new.artifact, now=0)] == ["VERSION_REPUBLISHED"]


def _link(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("leak")
    info.external_attr = 0o120777 << 16
    archive.writestr(info, "/etc/passwd")


ARCHIVES: Mapping[str, tuple[bytes, str]] = {
    "climbing": (bundle(change=lambda archive: archive.writestr("../x", "x")), "leads out"),
    "twice": (bundle(change=lambda archive: archive.writestr("Server/Index.js", "x")), "one file on some file systems"),
    "link": (bundle(change=_link), "link or special file"),
    "bomb": (bundle(change=lambda archive: archive.writestr("zeros", "\0" * (20 << 20))), "far more than a server"),
    "prefix": (b"#!/bin/sh\n" + BODY, "exactly one zip"),
    "comment": (BODY[:-2] + b"\4\0abcd", "exactly one zip"),
    "a gap before its end": (BODY[:-22] + b"more" + BODY[-22:], "not where its end says"),
    "cut": (BODY[:-30], "exactly one zip"),
    "no manifest": (b"PK\3\4" + BODY[4:].replace(b"manifest.json", b"manifest.jsom"), "no manifest.json"),
}


@pytest.mark.parametrize("what", ARCHIVES)
async def test_an_archive_that_two_readers_could_see_differently_is_refused(shop: Shop, what: str) -> None:
    data, named = ARCHIVES[what]
    assert named in str(await shop.refusal(data))


def _server(**changes: Any) -> dict[str, Any]:
    about = manifest()
    return {**about, "server": {**about["server"], **changes}}


def _config(**changes: Any) -> dict[str, Any]:
    return _server(mcp_config={**manifest()["server"]["mcp_config"], **changes})


MANIFESTS: Mapping[str, tuple[dict[str, Any], str]] = {
    "a later version": (manifest(manifest_version="1.0"), "version '1.0'"),
    "no name": (manifest(name=""), "no plain name"),
    "a type that fetches": (_server(type="uv"), "type 'uv'"),
    "another command": (_config(command="npx"), "run by 'npx'"),
    "an option before the file": (_config(args=["--require=/x.js"]), "--require=/x.js"),
    "a way out": (_server(entry_point="../../bin/sh"), "outside the bundle"),
    "a variable that loads code": (_config(env={"NODE_OPTIONS": "--require /x"}), "NODE_OPTIONS"),
    "an unknown word": (_config(args=["${__dirname}/server/index.js", "${HOME}"]), "${HOME}"),
    "another system": (manifest(compatibility={"platforms": ["win32"]}), "made for win32"),
    "a secret in sight": (manifest(user_config={"dir": {"sensitive": True}, "level": {}}), "on the command line"),
    "no object": ({"manifest_version": "0.3"}, "no plain name"),
}


@pytest.mark.parametrize("what", MANIFESTS)
async def test_a_manifest_that_runs_something_else_is_refused_naming_it(shop: Shop, what: str) -> None:
    about, named = MANIFESTS[what]
    assert named in str(await shop.refusal(bundle(about)))


async def test_a_setting_nobody_gave_is_asked_for_by_its_name(shop: Shop) -> None:
    refused = await shop.refusal(BODY, {})
    assert "needs the setting 'dir'" in str(refused) and refused.hint == "give it with: --env dir=VALUE"


async def test_an_entry_that_is_not_in_the_bundle_is_refused(shop: Shop) -> None:
    assert "is not in it" in str(await shop.refusal(bundle(files={"other.js": "x"})))


def test_what_a_setting_holds_is_not_read_as_another_setting() -> None:
    data = json.dumps(manifest()).encode()
    found = read_bundle_manifest(data, {"dir": "${user_config.level}", "level": "x"})
    assert found.args == ("--dir=${user_config.level}",)


async def test_a_python_bundle_finds_its_own_modules_and_no_others(shop: Shop) -> None:
    config = {"command": "python", "args": ["${__dirname}/server/main.py"], "env": {"PYTHONPATH": "${__dirname}/lib"}}
    about = _server(type="python", entry_point="server/main.py", mcp_config=config)
    files = {"server/main.py": "import sys, near, far\nprint(near.X, far.X, len(sys.argv))", "server/near.py": "X = 1",
             "lib/far.py": "X = 2"}  # fmt: skip
    pin, env = await shop.pin(bundle(about, files))
    assert await shop.started(pin, env) == "1 2 1\n"
    outside = _server(type="python", entry_point="server/main.py", mcp_config={**config, "env": {"PYTHONPATH": "/tmp"}})
    with pytest.raises(TrustError, match="outside the bundle"):
        await shop.pin(bundle(outside, files))


async def test_a_binary_bundle_runs_its_own_program(shop: Shop) -> None:
    about = _server(type="binary", entry_point="bin/run", mcp_config={"command": "${__dirname}/bin/run", "args": ["a"]})
    pin, env = await shop.pin(bundle(about, {"bin/run": "#!/bin/sh\necho hello $1\n"}))
    assert pin.artifact.interpreter is None and await shop.started(pin, env) == "hello a\n"


async def test_a_changed_byte_in_the_store_refuses_the_launch(shop: Shop) -> None:
    pin, _ = await shop.pin(SIGNED)
    file = shop.store.object(pin.artifact.tree) / "bundle/server/index.js"
    file.chmod(0o644)
    file.write_text("bad()")
    file.chmod(0o444)
    with pytest.raises(TrustError, match=r"bundle/server/index\.js was changed"):
        await shop.store.verified(pin)


@pytest.mark.parametrize("line", ["mcpb", "mcpb run x.mcpb", "mcpb run /x.zip", "mcpb pack /x", "mcpb run /x.mcpb y"])
def test_a_line_that_names_no_one_bundle_is_refused(line: str) -> None:
    with pytest.raises(LaunchLineError):
        parse(line.split(), exists=lambda path: True)
