"""The real git against repositories that lie: what comes into the store is the commit that was shown; nothing ran."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from broker.errors import TrustError
from broker.model import ServerName
from broker.pin import Pin
from broker.trust import git
from broker.trust.continuity import compare
from broker.trust.git import GitClient, Meaning
from broker.trust.launch_spec import parse
from broker.trust.launchers.git import GitAddress
from broker.trust.newer import newer_version
from broker.trust.pins import describe, from_text, pin_digest, to_text
from broker.trust.python_layout import read_layout
from broker.trust.resolve import resolve
from broker.trust.run import run_command
from broker.trust.store import Store
from tests.fakes.launchers import node_environment
from tests.trust.archives import wheel
from tests.trust.attack_table import catches
from tests.trust.registries import NpmRegistry, PythonIndex
from tests.trust.repositories import Forge

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "my-server"
version = "1.2.0"
dependencies = [{dependencies}]
[project.scripts]
my-server = "my_server:main"
"""
MAIN = """
import importlib.metadata, sys
def main():
    print("hello", importlib.metadata.version("my-server"), *sys.argv[1:])
"""
FILES = {"pyproject.toml": PROJECT.format(dependencies=""), "src/my_server/__init__.py": MAIN, "README.md": "x"}
LINE = "uvx --from git+https://git.test/o/r@main my-server --a"
MODULE = {"package.json": json.dumps({"name": "served", "version": "1.0.0", "bin": "index.js"}),
          "index.js": "#!/usr/bin/env node\nconsole.log('hello', process.argv.slice(2))\n"}  # fmt: skip
PROGRAM = "npx -y github:o/r"


@dataclass
class Shop:
    """A user with a store, a forge and registries, who asks for launch lines."""

    store: Store
    forge: Forge
    environment: Mapping[str, str]
    said: list[str] = field(default_factory=list)

    async def pin(self, line: str = LINE) -> Pin:
        request = parse(line.split(), exists=os.path.exists)
        artifact = await resolve(request, store=self.store, environment=self.environment, progress=self.said.append,
                                 run=self.forge.run)  # fmt: skip
        return Pin(ServerName("s"), "now", request, artifact)

    async def refusal(self, line: str = LINE) -> str:
        with pytest.raises(TrustError) as refused:
            await self.pin(line)
        assert os.listdir(self.store.root / "objects") == []
        assert os.listdir(self.store.root / "staging") == []
        return str(refused.value)

    async def started(self, pin: Pin) -> str:
        found = await self.store.verified(pin)
        argv = [word.replace("/opt/bulkhead/package", str(self.store.object(found.tree))) for word in found.argv]
        return (await anyio.run_process(argv, env={})).stdout.decode()


@pytest.fixture
def shop(store: Store, python_index: PythonIndex, tmp_path: Path) -> Shop:
    root = tmp_path / "forge"
    (root / "o").mkdir(parents=True)
    return Shop(store, Forge(root), python_index.environment(tmp_path / "user"))


@pytest.fixture
def client(shop: Shop, tmp_path: Path) -> GitClient:
    work = tmp_path / "work"
    work.mkdir()
    return GitClient(shop.environment, work, shop.forge.run)


async def test_a_branch_is_shown_as_the_commit_it_means_and_that_commit_runs_beside_its_dependencies(
    shop: Shop, python_index: PythonIndex
) -> None:
    python_index.publish("lib", "2.0", wheel("lib", "2.0", {"lib.py": "X = 1"}))
    files = {**FILES, "pyproject.toml": PROJECT.format(dependencies='"lib>=1"')}
    commit = shop.forge.commit("o/r", files)
    pin = await shop.pin()
    artifact = pin.artifact
    assert (artifact.kind, artifact.name, artifact.version) == ("pypi", "https://git.test/o/r", commit)
    assert [(each.name, each.version) for each in artifact.packages] == [("lib", "2.0")]
    lines = describe(artifact, pin.launch)
    assert f"git: https://git.test/o/r: main -> commit {commit}" in lines
    assert "not verified: who wrote it (nothing in it is signed)" in lines
    assert f"asks for 'git+https://git.test/o/r@main'; {commit} stays until you update the pin" in "\n".join(lines)
    assert await shop.started(pin) == "hello 1.2.0 --a\n"
    assert artifact.git is not None
    rows = "".join(f"f\0-\0{path}\0{hashlib.sha256(files[path].encode()).hexdigest()}\n" for path in sorted(files))
    assert artifact.git.sha256 == hashlib.sha256(b"mcp-pin-tree-v1\n" + rows.encode()).hexdigest()
    assert pin_digest(from_text(to_text(pin))) == pin_digest(pin)


@catches("H09")
async def test_a_moved_tag_changes_nothing_until_the_pin_is_updated_and_then_both_commits_are_shown(shop: Shop) -> None:
    first = shop.forge.commit("o/r", FILES)
    shop.forge.tag("o/r", "v1", first)
    line = "uvx --from git+https://git.test/o/r@v1 my-server"
    old = await shop.pin(line)
    second = shop.forge.commit("o/r", {**FILES, "README.md": "moved"})
    shop.forge.tag("o/r", "v1", second)
    await shop.store.verified(old)
    newer = await newer_version(old.launch, old.artifact, store=shop.store, environment=shop.environment,
                                run=shop.forge.run)  # fmt: skip
    assert newer == second
    new = await shop.pin(line)
    assert [(each.code, each.text) for each in compare(old.artifact, new.artifact, now=0)] == [
        ("NEW_VERSION", f"{first} -> {second}")
    ]


async def test_an_annotated_tag_is_peeled_named_and_a_signature_by_a_key_ring_is_not_called_checked(shop: Shop) -> None:
    commit = shop.forge.commit("o/r", FILES)
    signed = "rel\n-----BEGIN PGP SIGNATURE-----\nAAAA\n-----END PGP SIGNATURE-----"
    tag = shop.forge.tag("o/r", "v1", commit, message=signed)
    pin = await shop.pin("uvx --from git+https://git.test/o/r@v1 my-server")
    assert tag != commit
    lines = "\n".join(describe(pin.artifact, pin.launch))
    assert f"v1 -> commit {commit}, through the tag object {tag}" in lines
    assert "not verified: who wrote it (the tag carries a signature (OpenPGP), which was not checked)" in lines


async def test_a_signed_commit_is_said_to_be_signed_and_not_checked(shop: Shop) -> None:
    text = "-----BEGIN PGP SIGNATURE-----\n AAAA\n -----END PGP SIGNATURE-----"
    shop.forge.commit("o/r", FILES, signature=text)
    pin = await shop.pin()
    assert pin.artifact.git is not None and pin.artifact.git.signature == "commit: OpenPGP"


async def test_a_whole_commit_is_fetched_even_when_no_ref_names_it_any_more(shop: Shop) -> None:
    commit = shop.forge.commit("o/r", FILES)
    shop.forge.commit("o/r", {**FILES, "README.md": "later"})
    pin = await shop.pin(f"uvx git+https://git.test/o/r@{commit}")
    assert (pin.artifact.version, pin.launch.floating) == (commit, False)


@catches("G10")
async def test_a_short_commit_is_no_pin(shop: Shop) -> None:
    commit = shop.forge.commit("o/r", FILES)
    said = await shop.refusal(f"uvx --from git+https://git.test/o/r@{commit[:7]} my-server")
    assert "has no branch or tag" in said


async def test_a_name_that_is_a_branch_and_a_tag_is_refused(shop: Shop) -> None:
    shop.forge.tag("o/r", "main", shop.forge.commit("o/r", FILES))
    assert "is a branch and a tag" in await shop.refusal()


async def test_a_ref_that_only_ends_like_the_asked_one_is_not_it(shop: Shop) -> None:
    shop.forge.commit("o/r", FILES, branch="evil/refs/heads/v1")
    assert "has no branch or tag" in await shop.refusal("uvx --from git+https://git.test/o/r@v1 my-server")


@catches("H09")
async def test_a_submodule_is_refused_by_name(shop: Shop) -> None:
    shop.forge.commit("o/r", FILES, submodule="vendor/other")
    assert "'vendor/other' is a submodule" in await shop.refusal()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret", "../.."])
@catches("H09")
async def test_a_link_out_of_the_commit_is_refused(shop: Shop, target: str) -> None:
    shop.forge.commit("o/r", FILES, links={"src/leak": target})
    assert "'src/leak' is a link" in await shop.refusal()


async def test_a_link_inside_the_commit_becomes_a_copy(shop: Shop, client: GitClient) -> None:
    commit = shop.forge.commit("o/r", FILES, links={"COPY.md": "README.md", "loop": "loop", "dir": "src"})
    found = await client.checkout(GitAddress("https://git.test/o/r"), Meaning(commit))
    assert (found.folder / "COPY.md").read_text() == "x" and not (found.folder / "COPY.md").is_symlink()
    assert sorted(found.findings) == ["the link 'dir' leads to a folder and was left out",
                                      "the link 'loop' leads nowhere and was left out"]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [("MAX_FILES", 2), ("MAX_TREE", 64)])
async def test_a_commit_that_is_too_large_is_refused_before_a_file_is_written(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    shop.forge.commit("o/r", FILES)
    monkeypatch.setattr(git, name, value)
    assert "too much for a server" in await shop.refusal()


async def test_a_repository_that_sends_more_than_its_share_is_cut_off(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, client: GitClient
) -> None:
    commit = shop.forge.commit("o/r", FILES)
    monkeypatch.setattr(git, "MAX_PACK", 1)
    monkeypatch.setattr(git, "_LOOK", 0.0)
    with pytest.raises(TrustError, match="sends more than 1 bytes"):
        await client.checkout(GitAddress("https://git.test/o/r"), Meaning(commit))


@pytest.mark.parametrize("path", ["src/A.py:x", "a\\b", "con.txt", "x\u202ey"])
async def test_a_name_that_means_another_file_elsewhere_is_refused(shop: Shop, path: str) -> None:
    shop.forge.commit("o/r", {**FILES, path: "x"})
    await shop.refusal()


async def test_attributes_in_the_repository_change_no_byte_of_what_is_kept(shop: Shop, client: GitClient) -> None:
    files = {**FILES, ".gitattributes": "* text eol=crlf\nREADME.md export-ignore\nid.txt ident export-subst\n",
             "id.txt": "$Id$ $Format:%H$\n"}  # fmt: skip
    commit = shop.forge.commit("o/r", files)
    found = await client.checkout(GitAddress("https://git.test/o/r"), Meaning(commit))
    assert (found.folder / "id.txt").read_bytes() == b"$Id$ $Format:%H$\n"
    assert (found.folder / "README.md").read_bytes() == b"x"


@catches("H09")
async def test_bytes_that_git_changed_while_packing_are_told_from_the_commit(
    shop: Shop, client: GitClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = shop.forge.commit("o/r", {**FILES, ".gitattributes": "id.txt export-subst\n", "id.txt": "$Format:%H$\n"})
    monkeypatch.setattr(git, "_AS_IT_IS", "")
    with pytest.raises(TrustError, match=r"other bytes for 'id\.txt'"):
        await client.checkout(GitAddress("https://git.test/o/r"), Meaning(commit))


async def test_a_file_that_git_does_not_pack_is_missed(
    shop: Shop, client: GitClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = shop.forge.commit("o/r", {**FILES, ".gitattributes": "README.md export-ignore\n"})
    monkeypatch.setattr(git, "_AS_IT_IS", "")
    with pytest.raises(TrustError, match=r"did not pack 'README\.md'"):
        await client.checkout(GitAddress("https://git.test/o/r"), Meaning(commit))


@catches("H09")
async def test_git_speaks_nothing_but_https_and_obeys_no_configuration_of_the_user(shop: Shop, tmp_path: Path) -> None:
    shop.forge.commit("o/r", FILES)
    marker = tmp_path / "ran"
    home = tmp_path / "user-home"
    home.mkdir()
    (home / ".gitconfig").write_text(f'[url "file://{shop.forge.root}/"]\n insteadOf = https://git.test/\n'
                                     f"[core]\n sshCommand = touch {marker}\n")  # fmt: skip
    work = tmp_path / "plain"
    work.mkdir()
    plain = GitClient({**shop.environment, "HOME": str(home)}, work, run_command)
    for url in (f"file://{shop.forge.root}/o/r", f"ext::touch {marker}", "ssh://git.test/o/r"):
        with pytest.raises(TrustError, match="not allowed"):
            await plain.meaning(GitAddress(url))
    assert not marker.exists()


BUILDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "a setup.py": ("setup.py", {"setup.py": "open('/tmp/ran','w')",
                                "pyproject.toml": "[project]\nname='my-server'\nversion='1'\n"}),
    "no pyproject": ("no pyproject.toml", {"setup.py": ""}),
    "a backend of its own": ("'backend'", {"pyproject.toml": "[build-system]\nrequires=[]\nbuild-backend='backend'\n"
                                           "backend-path=['.']\n[project]\nname='my-server'\nversion='1'\n"}),
    "dynamic dependencies": ("dependencies are only known", {
        "pyproject.toml": "[project]\nname='my-server'\ndynamic=['dependencies']\n"}),
    "a hook": ("[tool.hatch]", {
        "pyproject.toml": PROJECT.format(dependencies="") + "[tool.hatch.build.hooks.custom]\n"}),
    "native code": ("compiled", {"pyproject.toml": PROJECT.format(dependencies=""), "src/my_server/__init__.py": "",
                                 "src/my_server/fast.c": ""}),
    "another repository": ("in no index", {
        "pyproject.toml": PROJECT.format(dependencies='"x @ git+https://git.test/o/x"')}),
    "another Python": ("needs Python", {
        "pyproject.toml": PROJECT.format(dependencies="").replace("[project.", 'requires-python=">=3.99"\n[project.')}),
    "no module": ("no module", {"pyproject.toml": PROJECT.format(dependencies="")}),
}  # fmt: skip


@pytest.mark.parametrize("what", BUILDS)
async def test_a_python_project_that_has_to_be_built_is_refused_and_nothing_of_it_runs(shop: Shop, what: str) -> None:
    named, files = BUILDS[what]
    if what in {"another repository"}:
        files = {"src/my_server/__init__.py": "", **files}
    shop.forge.commit("o/r", files)
    assert named in await shop.refusal()


LAYOUTS: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "hatch, listed": ("src", ("my_server",), "[build-system]\nbuild-backend='hatchling.build'\n[project]\n"
                      "name='other'\n[tool.hatch.build.targets.wheel]\npackages=['src/my_server']\n"),
    "setuptools, found": ("src", ("my_server",),
                          "[project]\nname='other'\n[tool.setuptools.packages.find]\nwhere=['src']\n"),
    "setuptools, itself": ("src", ("my_server",), "[project]\nname='other'\n"),
    "uv": ("src", ("my_server",), "[build-system]\nbuild-backend='uv_build'\n[project]\nname='my.server'\n"),
    "flit": ("src", ("my_server",),
             "[build-system]\nbuild-backend='flit_core.buildapi'\n[project]\nname='my_server'\n"),
    "one file": ("", ("single",), "[project]\nname='single'\n[tool.setuptools]\npy-modules=['single']\n"),
}  # fmt: skip


@pytest.mark.parametrize("what", LAYOUTS)
def test_a_plain_layout_is_read_without_a_build(tmp_path: Path, what: str) -> None:
    root, modules, manifest = LAYOUTS[what]
    (tmp_path / "src/my_server").mkdir(parents=True)
    (tmp_path / "src/my_server/__init__.py").touch()
    (tmp_path / "single.py").touch()
    (tmp_path / "pyproject.toml").write_text(manifest)
    found = read_layout(tmp_path, "3.12.1")
    assert (found.root, found.modules) == (root, modules)


async def test_a_folder_of_a_repository_is_taken_alone(shop: Shop) -> None:
    shop.forge.commit("o/r", {f"python/{name}": text for name, text in FILES.items()})
    pin = await shop.pin("uvx --from git+https://git.test/o/r#subdirectory=python my-server")
    assert pin.artifact.git is not None and (pin.artifact.git.folder, pin.artifact.git.ref) == ("python", "HEAD")
    assert "has no folder" in str(await _refused(shop, "uvx --from git+https://git.test/o/r#subdirectory=no x"))


async def test_a_file_of_a_dependency_is_never_replaced(shop: Shop, python_index: PythonIndex) -> None:
    python_index.publish("lib", "2.0", wheel("lib", "2.0", {"my_server/__init__.py": "X = 1"}))
    shop.forge.commit("o/r", {**FILES, "pyproject.toml": PROJECT.format(dependencies='"lib"')})
    assert "belongs to my-server and to a package it depends on" in await shop.refusal()


async def test_an_npm_repository_runs_at_its_commit_beside_its_dependencies(
    shop: Shop, npm_registry: NpmRegistry, tmp_path: Path
) -> None:
    npm_registry.publish("lib", "1.0.0")
    shop.environment = node_environment(npm_registry.environment(tmp_path / "user"))
    manifest = {"name": "served", "version": "1.0.0", "bin": "index.js", "dependencies": {"lib": "^1.0.0"},
                "scripts": {"test": "x", "postinstall": "touch /tmp/ran"}}  # fmt: skip
    commit = shop.forge.commit("o/r", {**MODULE, "package.json": json.dumps(manifest), "node_modules/lib/x.js": "bad"})
    pin = await shop.pin("npx -y git+https://git.test/o/r#main --a")
    artifact = pin.artifact
    assert (artifact.kind, artifact.version, artifact.entry) == ("npm", commit, "node_modules/served/index.js")
    assert [(each.name, each.version) for each in artifact.packages] == [("lib", "1.0.0")]
    assert any("postinstall" in each for each in artifact.findings)
    assert any("node_modules, which were left out" in each for each in artifact.findings)
    assert await shop.started(pin) == "hello [ '--a' ]\n"


@pytest.mark.parametrize(("change", "named"), [
    ({"scripts": {"prepare": "tsc"}}, "has to be built: its script 'prepare' runs 'tsc'"),
    ({"scripts": {"build": "tsc"}, "bin": "dist/index.js"}, "it may have to be built first"),
    ({"dependencies": {"x": "github:o/x"}}, "in no registry"),
    ({"name": "../x"}, "no name of a package"),
])  # fmt: skip
async def test_an_npm_repository_that_has_to_be_built_is_refused(
    shop: Shop, npm_registry: NpmRegistry, tmp_path: Path, change: Mapping[str, object], named: str
) -> None:
    shop.environment = node_environment(npm_registry.environment(tmp_path / "user"))
    manifest = {**json.loads(MODULE["package.json"]), **change}
    shop.forge.commit("o/r", {**MODULE, "package.json": json.dumps(manifest)})
    assert named in await shop.refusal("npx -y git+https://git.test/o/r")


async def _refused(shop: Shop, line: str) -> TrustError:
    with pytest.raises(TrustError) as refused:
        await shop.pin(line)
    return refused.value
