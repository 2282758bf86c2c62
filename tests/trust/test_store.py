"""What the store keeps is what was agreed to, or the launch is refused and the file is named."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from broker.errors import TrustError
from broker.model import Mount, ServerName
from broker.pin import Interpreter, LaunchRequest, Pin, PinnedArtifact
from broker.trust.store import Store, Stored
from broker.trust.tree import sha256_of
from tests.trust.attack_table import catches

PACKAGE = Path("/opt/bulkhead/package")
PROJECT = Path(__file__).resolve().parents[2]


def fill(folder: Path) -> Path:
    tree = folder / "tree"
    (tree / "dist/deep").mkdir(parents=True)
    (tree / "dist/index.js").write_text("first")
    (tree / "dist/deep/other.js").write_text("other")
    (tree / "run").write_text("#!")
    (tree / "run").chmod(0o755)
    return tree


def admit(store: Store) -> Stored:
    with store.staging() as work:
        return store.admit(fill(work))


def pin_of(stored: Stored, interpreter: Path) -> Pin:
    launch = LaunchRequest(("npx", "pkg", "a b"), "npx", "npm", "pkg", args=("a b",))
    artifact = PinnedArtifact(
        "npm", "pkg", "1.0.0", tree=stored.tree, entry="dist/index.js",
        interpreter=Interpreter(interpreter, "20.0.0", sha256_of(interpreter)[0]),
    )  # fmt: skip
    return Pin(ServerName("files"), "2026-01-01", launch, artifact)


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    path = tmp_path / "node"
    path.write_bytes(b"\x7fELF")
    path.chmod(0o755)
    return path


@pytest.fixture
def pin(store: Store, interpreter: Path) -> Pin:
    return pin_of(admit(store), interpreter)


@catches("A00")
async def test_an_untouched_object_is_verified_and_says_how_to_start_it(
    store: Store, pin: Pin, interpreter: Path
) -> None:
    found = await store.verified(pin)
    assert found.argv == (str(interpreter), "/opt/bulkhead/package/dist/index.js", "a b")
    assert found.mounts == (Mount(store.object(found.tree), PACKAGE), Mount(interpreter, interpreter))
    assert (found.server, found.kind, found.tree) == ("files", "npm", pin.artifact.tree)


async def test_an_object_is_read_only_for_everybody_and_readable_by_everybody(store: Store, pin: Pin) -> None:
    root = store.object(pin.artifact.tree)
    modes = {path.relative_to(root).as_posix(): path.stat().st_mode & 0o7777 for path in [root, *root.rglob("*")]}
    folders = {".": 0o555, "dist": 0o555, "dist/deep": 0o555}
    assert modes == {**folders, "dist/index.js": 0o444, "dist/deep/other.js": 0o444, "run": 0o555}


def test_the_same_files_have_the_same_hash_and_are_kept_once(store: Store) -> None:
    first, second = admit(store), admit(store)
    assert first == second == Stored(first.tree, 3, 12)
    assert os.listdir(store.root / "objects") == [first.tree]
    assert os.listdir(store.root / "staging") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "dist/index.js").write_text("evil!"),
        lambda tree: (tree / "dist/new.js").write_text(""),
        lambda tree: (tree / "empty").mkdir(),
        lambda tree: (tree / "dist/index.js").rename(tree / "dist/INDEX.js"),
        lambda tree: (tree / "run").chmod(0o644),
    ],
)
def test_any_difference_makes_another_hash(store: Store, change: Callable[[Path], None]) -> None:
    before = admit(store)
    with store.staging() as work:
        tree = fill(work)
        change(tree)
        assert store.admit(tree).tree != before.tree


@pytest.mark.claim("C12")
@catches("A02")
async def test_a_changed_byte_in_the_store_refuses_the_launch_and_names_the_file(store: Store, pin: Pin) -> None:
    path = store.object(pin.artifact.tree) / "dist/index.js"
    before = path.stat()
    path.chmod(0o644)
    path.write_text("fjrst")  # one bit, same length
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(TrustError) as refused:
        await store.verified(pin)
    assert "dist/index.js was changed" in str(refused.value)
    assert "'files'" in str(refused.value)
    assert "bulkhead pin files --update" in refused.value.hint


def replace_unseen(path: Path) -> None:
    """Other bytes of the same length, with the old modification time."""
    status = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rewrite(path: Path) -> None:
    path.chmod(0o644)
    path.write_text("longer than before")
    path.chmod(0o444)


def as_link(path: Path) -> None:
    copy = path.parents[4] / "copy"
    path.rename(copy)
    path.symlink_to(copy)


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o444)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir(0o555)


def by_another_case(path: Path) -> None:
    path.rename(path.with_name("Index.js"))


def also_named(path: Path) -> None:
    os.link(path, path.parents[4] / "alias")


TAMPERED: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "A01 other content": ("dist/index.js", rewrite, "dist/index.js was changed"),
    "A03 an extra file": ("dist", lambda path: (path / "extra.js").touch(0o444), "dist/extra.js was added"),
    "A04 an extra empty folder": (
        "dist", lambda path: (path / "node_modules").mkdir(0o555), "dist/node_modules was added"),
    "A05 a deleted file": ("dist/index.js", Path.unlink, "dist/index.js is missing"),
    "a deleted folder": ("dist/deep", shutil.rmtree, "dist/deep is missing"),
    "A06 a link for a file": ("dist/index.js", as_link, "dist/index.js was replaced"),
    "A07 a link for a folder": ("dist/deep", as_link, "dist/deep was replaced"),
    "A13 a FIFO for a file": ("dist/index.js", as_fifo, "dist/index.js is no longer a plain file"),
    "a folder for a file": ("run", as_folder, "run is no longer a plain file"),
    "A08 a second name": ("dist/index.js", also_named, "dist/index.js changed its mode, owner or number of names"),
    "A09 a writable file": ("dist/index.js", lambda path: path.chmod(0o644), "dist/index.js changed its mode"),
    "A12 a setuid bit": ("run", lambda path: path.chmod(0o4555), "run changed its mode"),
    "A11 an executable bit": ("dist/index.js", lambda path: path.chmod(0o555), "dist/index.js changed its mode"),
    "A14 another case": ("dist/index.js", by_another_case, "dist/Index.js was added"),
    "a name that fakes a screen": ("dist", lambda path: (path / "a\x1b[2J").touch(0o444), r"dist/a\x1b[2J was added"),
}  # fmt: skip


@pytest.mark.parametrize("case", TAMPERED)
async def test_the_launch_is_refused_after(case: str, store: Store, pin: Pin) -> None:
    where, change, reason = TAMPERED[case]
    path = store.object(pin.artifact.tree) / where
    folders = [path.parent, path] if path.is_dir() else [path.parent]
    modes = [folder.stat().st_mode for folder in folders]
    for folder in folders:
        folder.chmod(0o755)
    change(path)
    for folder, mode in zip(folders, modes, strict=True):
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(mode & 0o7777)
    with pytest.raises(TrustError) as refused:
        await store.verified(pin)
    assert reason in str(refused.value)


@catches("A10")
async def test_a_folder_that_became_writable_refuses_the_launch(store: Store, pin: Pin) -> None:
    (store.object(pin.artifact.tree) / "dist/deep").chmod(0o755)
    with pytest.raises(TrustError, match="dist/deep is no longer read-only"):
        await store.verified(pin)


@catches("A15")
async def test_what_belongs_to_somebody_else_refuses_the_launch(
    store: Store, pin: Pin, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = os.getuid()
    if owner == 0:  # only root can give a single file away
        os.chown(store.object(pin.artifact.tree) / "dist/index.js", 65534, 65534)
        with pytest.raises(TrustError, match=r"dist/index\.js changed its mode, owner"):
            await store.verified(pin)
    monkeypatch.setattr("os.getuid", lambda: owner + 1)
    with pytest.raises(TrustError, match="the top folder is no longer read-only, or belongs to somebody else"):
        await store.verified(pin)


@catches("A17")
async def test_an_object_that_was_swapped_for_a_link_is_refused(store: Store, pin: Pin, tmp_path: Path) -> None:
    path = store.object(pin.artifact.tree)
    path.chmod(0o755)
    path.rename(tmp_path / "moved")
    (tmp_path / "moved").chmod(0o555)
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(TrustError, match="missing or was replaced"):
        await store.verified(pin)


@catches("A18")
async def test_a_list_of_files_changed_to_match_changed_files_no_longer_has_the_agreed_hash(
    store: Store, pin: Pin
) -> None:
    listing = store.root / "listings" / pin.artifact.tree
    text = listing.read_bytes()
    listing.chmod(0o600)
    listing.write_bytes(text.replace(b"index.js", b"other.js"))
    with pytest.raises(TrustError, match=r"list of files .* was changed"):
        await store.verified(pin)
    listing.unlink()
    with pytest.raises(TrustError, match="store has no object"):
        await store.verified(pin)


async def test_an_interpreter_that_changed_refuses_the_launch(store: Store, pin: Pin, interpreter: Path) -> None:
    await store.verified(pin)
    replace_unseen(interpreter)
    with pytest.raises(TrustError, match=r"interpreter .* is not the pinned one"):
        await store.verified(pin)
    os.unlink(interpreter)
    with pytest.raises(TrustError, match=r"interpreter .* cannot be read"):
        await store.verified(pin)


async def test_an_entry_that_is_not_in_the_object_is_refused(store: Store, pin: Pin) -> None:
    with pytest.raises(TrustError, match="not in the object"):
        await store.verified(replace(pin, artifact=replace(pin.artifact, entry="dist/deep")))


async def test_a_damaged_object_is_replaced_when_the_same_bytes_come_again(store: Store, pin: Pin) -> None:
    path = store.object(pin.artifact.tree) / "dist/index.js"
    rewrite(path)
    assert admit(store).tree == pin.artifact.tree
    assert (await store.verified(pin)).tree == pin.artifact.tree
    assert path.read_text() == "first"
    assert os.listdir(store.root / "staging") == []


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc"), os.mkfifo, lambda path: os.link("run", path)])
def test_a_tree_with_anything_but_plain_files_is_not_taken_in(
    store: Store, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.staging() as work:
        tree = fill(work)
        monkeypatch.chdir(tree)
        make(tree / "dist/odd")
        with pytest.raises(TrustError, match="cannot be stored"):
            store.admit(tree)
        monkeypatch.undo()
    assert os.listdir(store.root / "objects") == []


def test_what_a_crash_left_in_staging_is_swept_at_start_and_work_in_progress_is_not(store: Store) -> None:
    left = store.root / "staging/left"
    shutil.copytree(fill(store.root / "staging"), left)
    shutil.rmtree(store.root / "staging/tree")
    (left / "dist").chmod(0o555)
    with store.staging() as work:
        Store(store.root)
        assert os.listdir(store.root / "staging") == [work.name]
    assert os.listdir(store.root / "staging") == []


FULL = """
    import os, subprocess, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", sys.argv[1]], check=True)
    from broker.errors import TrustError
    from broker.trust.store import Store
    store = Store(Path(sys.argv[1], "store"))
    def attempt(kilobytes, files):
        try:
            with store.staging() as work:
                (work / "tree").mkdir()
                for number in range(files):
                    (work / f"tree/{number:0200}").write_bytes(b"x" * kilobytes * 1024)
                store.admit(work / "tree")
        except TrustError as error:
            print(f"{error} | {error.hint}")
        print([len(os.listdir(store.root / each)) for each in ("objects", "listings", "staging")])
    attempt(512, 1)    # full while unpacking
    attempt(0, 1)      # fits
    room = os.statvfs(sys.argv[1])
    with open(Path(sys.argv[1], "filler"), "wb") as filler:
        filler.write(b"x" * (room.f_bavail * room.f_frsize - 8192))
    attempt(0, 60)     # the tree fits, its listing does not
"""


@catches("H03")
def test_a_full_disk_is_said_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    command = ["unshare", "--map-root-user", "--user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("a small disk of one's own needs `unshare` with user namespaces")
    done = subprocess.run(
        [*command, sys.executable, "-c", textwrap.dedent(FULL), tmp_path, PROJECT],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    full = f"no space left for the store at {tmp_path}/store | free some space, then try again"
    assert done.stdout.splitlines() == [full, "[0, 0, 0]", "[1, 1, 0]", full, "[1, 1, 0]"]
