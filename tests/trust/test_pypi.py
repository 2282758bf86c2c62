"""The real uv and pip against an index that lies: what comes into the store is what was resolved; nothing was run."""

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final

import anyio
import pytest

from broker.errors import LaunchLineError, TrustError
from broker.model import ServerName
from broker.pin import Pin, PinnedArtifact
from broker.trust.launch_spec import parse
from broker.trust.launchers.uvx import split_with
from broker.trust.pins import from_text, to_text
from broker.trust.pypi_client import Release, read_lock
from broker.trust.pypi_package import build_tree, find_script
from broker.trust.pypi_settings import Index, PypiSettings
from broker.trust.resolve import resolve
from broker.trust.store import Store
from tests.trust.archives import tarball, wheel
from tests.trust.attack_table import catches
from tests.trust.registries import PythonIndex

HELLO = {"server/__init__.py": "import sys\n\ndef main():\n    print('hello', *sys.argv, sys.path[-1])\n    return 7\n"}
MAIN = {"server": "server:main"}


@dataclass
class Shop:
    """A user with a store and an index, who asks for launch lines."""

    store: Store
    index: PythonIndex
    home: Path
    said: list[str] = field(default_factory=list)

    async def pin(self, line: str = "uvx server", **variables: str) -> Pin:
        environment = {**self.index.environment(self.home), **variables}
        request = parse(line.split(), exists=os.path.exists)
        artifact = await resolve(request, store=self.store, environment=environment, progress=self.said.append)
        return Pin(ServerName("time"), "now", request, artifact)

    async def refusal(self, line: str = "uvx server") -> TrustError:
        with pytest.raises(TrustError) as refused:
            await self.pin(line)
        assert os.listdir(self.store.root / "objects") == []
        assert os.listdir(self.store.root / "staging") == []
        return refused.value

    async def started(self, pin: Pin, **variables: str) -> tuple[int | None, str]:
        """Run what the pin says, with the store object where the sandbox would mount it."""
        found = await self.store.verified(pin)
        here = str(self.store.object(found.tree))
        argv = [word.replace("/opt/bulkhead/package", here) for word in found.argv]
        done = await anyio.run_process(argv, env=variables, cwd=self.home, check=False)
        return done.returncode, done.stdout.decode()

    def path(self, artifact: PinnedArtifact, name: str) -> Path:
        return self.store.object(artifact.tree) / name


@pytest.fixture
def shop(store: Store, python_index: PythonIndex, tmp_path: Path) -> Shop:
    python_index.publish("server", "1.0.0", wheel("server", "1.0.0", HELLO, scripts=MAIN))
    return Shop(store, python_index, tmp_path / "user")


@catches("F01")
async def test_a_closure_is_pinned_whole_starts_from_the_store_and_is_the_same_the_next_time(shop: Shop) -> None:
    shop.index.publish("lib", "2.0", wheel("lib", "2.0", {"lib.py": "X = {'a', 'b', 'c'}"}))
    pin = await shop.pin("uvx --with lib server a --b")
    artifact = pin.artifact
    assert (artifact.kind, artifact.name, artifact.version, artifact.entry) == ("pypi", "server", "1.0.0", "launch.py")
    assert [(each.name, each.version, each.integrity[:7]) for each in artifact.packages] == [
        ("lib", "2.0", "sha256:"), ("server", "1.0.0", "sha256:"),
    ]  # fmt: skip
    assert b"lib" in shop.path(artifact, "code.bin").read_bytes()
    done = await shop.started(pin)
    assert done == (7, f"hello server a --b {shop.path(artifact, 'site')}\n")
    assert (await shop.pin("uvx --with lib server a --b")).artifact == artifact
    await shop.store.verified(pin)


@catches("F08")
async def test_modules_in_the_users_way_shadow_nothing(shop: Shop) -> None:
    pin = await shop.pin()
    for name in ("server.py", "sys.py", "sitecustomize.py", "usercustomize.py"):
        (shop.home / name).write_text("print('evil')")
    done = await shop.started(pin, PYTHONPATH=str(shop.home), PYTHONSTARTUP=str(shop.home / "server.py"))
    assert done[0] == 7 and "evil" not in done[1]


LOOKS: Final = """
def main():
    try:
        import planted
    except ModuleNotFoundError:
        print("it is nowhere")
    except ImportError:
        print("it was loaded, and is no library")
"""


@catches("H15")
async def test_native_code_in_the_users_way_is_not_loaded(shop: Shop) -> None:
    shop.index.publish("server", "1.1.0", wheel("server", "1.1.0", {"server.py": LOOKS}, scripts=MAIN))
    pin = await shop.pin()
    own = shop.home / ".local/lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    own.mkdir(parents=True)
    for folder in (shop.home, own):
        (folder / f"planted{EXTENSION_SUFFIXES[0]}").write_text("no library")
    around = {"HOME": str(shop.home), "PYTHONPATH": str(shop.home)}
    assert (await shop.started(pin, **around))[1] == "it is nowhere\n"
    asked = [sys.executable, "-c", f"{LOOKS}\nmain()"]
    done = await anyio.run_process(asked, env=around, cwd=shop.home)
    assert done.stdout.decode() == "it was loaded, and is no library\n"  # so Python is, unless it is kept from it


@catches("F04")
async def test_code_that_wants_to_run_at_every_start_does_not_and_is_reported(shop: Shop) -> None:
    files = {**HELLO, "hook.pth": "import os; print('evil')"}
    shop.index.publish("server", "1.1.0", wheel("server", "1.1.0", files, scripts=MAIN))
    pin = await shop.pin()
    assert pin.artifact.findings == ("server wants 'hook.pth' to run at every start of Python; it does not",)
    assert "evil" not in (await shop.started(pin))[1]


@catches("F02")
async def test_other_bytes_than_resolved_are_refused(shop: Shop) -> None:
    shop.index.swap("server", wheel("server", "1.0.0", {"server/__init__.py": "evil"}, scripts=MAIN))
    assert "served other bytes than it announced" in str(await shop.refusal())


async def test_a_package_or_version_that_does_not_exist_is_named(shop: Shop) -> None:
    refusal = await shop.refusal("uvx no-such-server")
    assert f"{shop.index.url}/simple has no package 'no-such-server'" in str(refusal)
    assert refusal.hint
    assert "has no version 'server==9'" in str(await shop.refusal("uvx server@9"))


@catches("F03")
async def test_a_package_without_wheels_is_proposed_as_a_build_and_no_code_of_it_runs(
    shop: Shop, tmp_path: Path
) -> None:
    trace = tmp_path / "it-ran"
    about = "Metadata-Version: 2.1\nName: source\nVersion: 1.0\n"
    files = {"setup.py": f"open({str(trace)!r}, 'w')", "PKG-INFO": about}
    shop.index.publish("source", "1.0", tarball(files, top="source-1.0"), file="source-1.0.tar.gz")
    assert "no package 'setuptools' (which building source takes)" in str(await shop.refusal("uvx source==1.0"))
    shop.index.publish("setuptools", "80.0", wheel("setuptools", "80.0", {"setuptools/__init__.py": ""}))
    pin = await shop.pin("uvx source")
    (build,) = pin.artifact.builds
    assert (build.name, build.version, build.by) == ("source", "1.0", "setuptools.build_meta:__legacy__")
    assert build.source == pin.artifact.packages[0].integrity
    assert [(each.name, each.version) for each in build.requirements] == [("setuptools", "80.0")]
    assert not trace.exists()
    with pytest.raises(TrustError, match="names something to build that never was"):
        from_text(to_text(pin))
    with pytest.raises(TrustError, match="is not in the object"):
        await shop.store.verified(pin)


async def test_the_source_of_a_private_name_is_taken_from_no_second_index(shop: Shop) -> None:
    shop.index.publish("own", "1.0", wheel("own", "1.0", {"own.py": ""}), file="own-1.0-cp36-cp36m-win32.whl")
    with PythonIndex() as public:
        public.publish("own", "99.0", tarball({"PKG-INFO": "Name: own\nVersion: 99.0\n"}), file="own-99.0.tar.gz")
        both = {"UV_INDEX": f"{shop.index.url}/simple", "UV_DEFAULT_INDEX": f"{public.url}/simple"}
        with pytest.raises(TrustError, match="has no wheel for Python"):
            await shop.pin("uvx own", **both)
        assert not [path for path in public.asked if path.startswith("/files")]


WHEELS: Mapping[str, tuple[Mapping[str, bytes], str]] = {
    "F05 brings a file of another package": (
        {"server": wheel("server", "2.0.0", HELLO, scripts=MAIN),
         "lib": wheel("lib", "2.0.0", {"server/__init__.py": "evil"})}, "'site/server/__init__.py' comes twice"),
    "F06 calls itself otherwise": (
        {"server": wheel("server", "2.0.0", HELLO, scripts=MAIN, metadata_name="other")}, "calls itself otherwise"),
    "F07 hides code in the name of its program": (
        {"server": wheel("server", "2.0.0", HELLO, scripts={"server": "server:main;import os"})}, "no function of a"),
}  # fmt: skip


@pytest.mark.parametrize("case", WHEELS)
async def test_a_resolved_wheel_is_refused_that(case: str, shop: Shop) -> None:
    wheels, reason = WHEELS[case]
    for name, data in wheels.items():
        shop.index.publish(name, "2.0.0", data)
    beside = "".join(f"--with {name} " for name in wheels if name != "server")
    assert reason in str(await shop.refusal(f"uvx {beside}server"))


@catches("F11")
async def test_the_first_index_that_has_a_name_is_the_only_one_that_supplies_it(shop: Shop) -> None:
    """The same name with a higher version in a second, public place is how names of a company are taken over."""
    with PythonIndex() as public:
        public.publish("server", "99.0", wheel("server", "99.0", {"server/__init__.py": "evil"}, scripts=MAIN))
        both = {"UV_INDEX": f"{shop.index.url}/simple", "UV_DEFAULT_INDEX": f"{public.url}/simple"}
        pin = await shop.pin(**both)
        assert pin.artifact.version == "1.0.0"
        assert not [path for path in public.asked if path.startswith("/files")]  # pip may look, by a hash it has
    with pytest.raises(LaunchLineError, match="--extra-index-url"):
        await shop.pin("uvx --extra-index-url https://evil.test/simple server")


async def test_a_package_for_another_python_is_refused(shop: Shop) -> None:
    data = wheel("old", "1.0", {"old.py": ""})
    shop.index.publish("old", "1.0", data, file="old-1.0-cp36-cp36m-win32.whl")
    refusal = await shop.refusal("uvx old==1.0")
    assert "has no wheel for Python" in str(refusal)
    assert "--python" in refusal.hint


async def test_an_index_that_cannot_be_reached_is_named(shop: Shop) -> None:
    with pytest.raises(TrustError, match=r"http://127\.0\.0\.1:9/simple cannot be reached"):
        await shop.pin(UV_DEFAULT_INDEX="http://127.0.0.1:9/simple")


async def test_a_python_that_is_not_here_is_named(shop: Shop) -> None:
    refusal = await shop.refusal("uvx --python 3.99 server")
    assert "Python 3.99" in str(refusal)
    assert "uv python install 3.99" in refusal.hint


async def test_a_program_that_is_not_in_the_package_is_named(shop: Shop) -> None:
    assert "no program 'other'; it has: server" in str(await shop.refusal("uvx --from server other"))
    shop.index.publish("lib", "1.0", wheel("lib", "1.0", {"lib.py": ""}))
    assert "it may be a library" in (await shop.refusal("uvx lib")).hint


async def test_settings_of_a_project_or_a_parent_folder_change_nothing(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for folder in (project, tmp_path):
        (folder / "uv.toml").write_text('[[index]]\nurl = "http://127.0.0.1:9/simple"\ndefault = true\n')
        (folder / "pyproject.toml").write_text("not even TOML [")
        (folder / ".python-version").write_text("3.99\n")
    monkeypatch.chdir(project)
    assert (await shop.pin()).artifact.version == "1.0.0"


async def test_an_index_named_by_a_variable_of_the_user_is_used(shop: Shop) -> None:
    with PythonIndex() as other:
        other.publish("server", "5.0", wheel("server", "5.0", HELLO, scripts=MAIN))
        pin = await shop.pin(UV_DEFAULT_INDEX=f"{other.url}/simple")
        assert pin.artifact.version == "5.0"


async def test_pips_index_stands_in_where_uv_has_none(shop: Shop) -> None:
    shop.index.environment(shop.home)
    (shop.home / ".config/uv/uv.toml").unlink()
    environment = {"PATH": os.environ["PATH"], "HOME": str(shop.home), "PIP_INDEX_URL": f"{shop.index.url}/simple"}
    request = parse(["uvx", "server"], exists=os.path.exists)
    artifact = await resolve(request, store=shop.store, environment=environment, progress=shop.said.append)
    assert artifact.version == "1.0.0"
    assert f"asking {shop.index.url}/simple for server" in shop.said[0]


async def test_a_configuration_that_cannot_be_read_is_named(shop: Shop) -> None:
    shop.index.environment(shop.home)
    request = parse(["uvx", "server"], exists=os.path.exists)
    broken = shop.home / ".config/uv/uv.toml"
    broken.write_text("[")
    environment = {"PATH": os.environ["PATH"], "HOME": str(shop.home)}
    with pytest.raises(TrustError, match=str(broken)):
        await resolve(request, store=shop.store, environment=environment, progress=shop.said.append)


@pytest.mark.parametrize(
    "target",
    ["server:main; import os", "server:main()", "server", "server:__import__('os').system", "server-x:main", ":main",
     "server:main\nimport os", "os:system('x')#", "server:2x"],
)  # fmt: skip
@catches("F07")
def test_an_entry_point_that_is_more_than_a_function_of_a_module_is_refused(target: str) -> None:
    assert find_script({"server": {"server": "a.b:c.d"}}, ["server"], None) == ("server", ("a.b", "c.d"))
    with pytest.raises(TrustError, match="no function of a module"):
        find_script({"server": {"server": target}}, ["server"], None)


def built(tmp_path: Path, *wheels: tuple[str, bytes, str]) -> Mapping[str, object]:
    """Build a tree from (locked name, bytes, locked hash or "" for the right one)."""
    files: dict[Path, str] = {}
    packages = []
    for number, (name, data, locked) in enumerate(wheels):
        path = tmp_path / f"{number}.whl"
        path.write_bytes(data)
        files[path] = hashlib.sha256(data).hexdigest()
        packages.append(Release(name, "1.0", frozenset({locked or files[path]})))
    return build_tree(packages, files, tmp_path / "tree").scripts


def test_a_tree_is_refused_whose_wheels_are_not_the_locked_ones(tmp_path: Path) -> None:
    one = wheel("one", "1.0", {"one.py": ""})
    cases = {
        "other bytes than were resolved": [("one", one, "0" * 64)],
        "calls itself 'one'": [("two", one, "")],
        "comes twice": [("one", one, ""), ("two", wheel("two", "1.0", {"one.py": "evil"}), "")],
    }
    for number, (reason, wheels) in enumerate(cases.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(TrustError, match=reason):
            built(folder, *wheels)


def locked(**changes: object) -> list[Release]:
    settings = PypiSettings((Index("http://127.0.0.1:7/simple"),), {}, {})
    file = {"url": "https://i.test/a-1.whl", "hashes": {"sha256": "0" * 64}, **changes}
    package = {"name": "a", "version": "1", "wheels": [file], **{k: v for k, v in changes.items() if k in PACKAGE}}
    return read_lock({"packages": [package]}, settings)


PACKAGE = {"name", "version", "vcs", "directory", "archive", "wheels"}
LOCKS: Mapping[str, tuple[dict[str, object], str]] = {
    "no SHA-256": ({"hashes": {"md5": "0" * 32}}, "no SHA-256"),
    "an odd SHA-256": ({"hashes": {"sha256": "0" * 63 + "; rm"}}, "no SHA-256"),
    "no protection": ({"url": "http://i.test/a-1.whl"}, "not protected"),
    "another port": ({"url": "http://127.0.0.1:8/a-1.whl"}, "not protected"),
    "a folder": ({"url": "file:///tmp/a-1.whl"}, "not protected"),
    "no wheel": ({"wheels": []}, "has no wheel"),
    "git": ({"vcs": {"url": "x"}}, "comes from git"),
    "a directory": ({"directory": {"path": "x"}}, "comes from git"),
    "an odd name": ({"name": "a; x"}, "not a release"),
    "an odd version": ({"version": "1 --hash=x"}, "not a release"),
}


@pytest.mark.parametrize("case", LOCKS)
def test_a_lock_is_refused_with(case: str) -> None:
    assert locked() == [Release("a", "1", frozenset({"0" * 64}))]
    assert locked(url="http://127.0.0.1:7/a-1.whl")
    changes, reason = LOCKS[case]
    with pytest.raises(TrustError, match=reason):
        locked(**changes)


def test_packages_beside_are_cut_apart_but_not_inside_brackets_or_versions() -> None:
    assert split_with("a,b[x, y]>=1,<2 , c") == ["a", "b[x, y]>=1,<2", "c"]
