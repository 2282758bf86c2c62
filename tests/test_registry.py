"""Servers, pins and clients: documents that count only as agreed, and secrets beside them."""

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.agreed import Agreed
from broker.client_book import MAX_EXECUTABLES
from broker.documents import check_name
from broker.errors import BulkheadError, ConfigError, SandboxError, TrustError
from broker.model import Grants, ServerName
from broker.pin import Interpreter, LaunchRequest, Pin, PinnedArtifact
from broker.protocol import catalog as catalogs
from broker.registry import Registry, Server
from broker.trust import pins
from tests.protocol.stage import CATALOG, LEGACY

BAD_NAMES: Final = (
    "", ".", "..", "../x", "/etc/passwd", "a/b", "-rf", ".hidden", "a b", "a\n", "a\0b", "ä", "a" * 65, "a:b", "$(id)",
)  # fmt: skip
FILES: Final = Server(
    ServerName("files"), ("npx", "-y", "pkg@1"), "2026-01-01T00:00:00Z",
    grants=Grants((Path("/data/read"),), (Path("/data/write"),), ("*.example.com", "127.0.0.1:5432")),
    env=("TOKEN", "ZONE"), disabled_tools=("erase",),
)  # fmt: skip
PIN: Final = Pin(
    ServerName("files"),
    "2026-01-01T00:00:00Z",
    LaunchRequest(("npx", "-y", "pkg@1"), "npx", "npm", "pkg@1"),
    PinnedArtifact(
        "npm",
        "pkg",
        "1.0.0",
        tree="a" * 64,
        entry="i.js",
        interpreter=Interpreter(Path("/usr/bin/node"), "20", "b" * 64),
    ),
)


class Book:
    """A registry and the folder it lies in."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config"
        self.agreed = Agreed(self.config, folder / "agreed", b"k" * 32)
        self.registry = Registry(self.agreed, self.config)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


@pytest.fixture
def registry(book: Book) -> Registry:
    return book.registry


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_could_be_a_path_or_an_option_is_refused_everywhere(book: Book, name: str) -> None:
    registry, before = book.registry, sorted(book.config.parent.rglob("*"))
    for act in (
        lambda: check_name(name),
        lambda: registry.server(name),
        lambda: registry.put_server(replace(FILES, name=ServerName(name))),
        lambda: registry.set_enabled(name, "", True),
        lambda: registry.remove_server(name),
        lambda: registry.put_env(name, {}),
        lambda: registry.put_pin(replace(PIN, server=ServerName(name)), CATALOG),
        lambda: registry.clients.find(name),
        lambda: registry.clients.put(name, "now"),
        lambda: registry.clients.add_program(name, "files", "/bin/x"),
        lambda: registry.clients.remove(name),
    ):
        with pytest.raises(ConfigError, match="cannot be a name") as refused:
            act()
        assert refused.value.hint.startswith("use up to 64 letters")
    assert not registry.has_server(name)
    assert not registry.clients.has(name)
    assert not registry.clients.is_client(name, "")
    assert registry.pin(name) is None
    assert sorted(book.config.parent.rglob("*")) == before


@given(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z"))
def test_an_ordinary_name_is_taken(name: str) -> None:
    check_name(name)


# --- servers --------------------------------------------------------------------------------------------------------


def test_a_server_is_read_back_as_it_was_put(registry: Registry) -> None:
    registry.put_server(FILES)
    assert registry.server("files") == FILES
    assert registry.servers() == [FILES]
    assert registry.has_server("files")
    assert not registry.has_server("file")


def test_a_server_document_without_hosts_has_none(book: Book) -> None:
    text = b'argv = ["npx"]\ncreated = "now"\n'
    book.registry.check("servers/files.toml", text)


def test_the_whole_public_network_is_not_written_beside_what_is_private(registry: Registry) -> None:
    wide = replace(FILES, grants=replace(FILES.grants, hosts=("public:*",)))
    with pytest.raises(SandboxError, match=r"files cannot have public:\* and /data/read, /data/write, TOKEN, ZONE"):
        registry.put_server(wide)
    assert not registry.has_server("files")


def test_an_edited_host_that_means_everybody_is_refused_before_it_counts(book: Book) -> None:
    data = texts(book)["servers/files.toml"].replace(b"*.example.com", b"*.com")
    with pytest.raises(SandboxError, match="anybody can have a name under com"):
        book.registry.check("servers/files.toml", data)


def test_an_unknown_server_is_a_sentence_with_a_hint(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="there is no server files") as refused:
        registry.server("files")
    assert "bulkhead servers" in refused.value.hint


def test_a_hand_edited_server_is_used_as_it_was_agreed(book: Book) -> None:
    book.registry.put_server(FILES)
    path = book.config / "servers" / "files.toml"
    path.write_text(path.read_text().replace("/data/read", "/"))
    assert book.registry.server("files").grants.read == (Path("/data/read"),)


def test_tools_and_servers_are_switched_off_and_on(registry: Registry) -> None:
    registry.put_server(FILES)
    registry.set_enabled("files", "write", False)
    registry.set_enabled("files", "write", False)
    assert registry.server("files").disabled_tools == ("erase", "write")
    registry.set_enabled("files", "erase", True)
    assert registry.server("files").disabled_tools == ("write",)
    registry.set_enabled("files", "", False)
    assert not registry.server("files").enabled
    assert registry.server("files").disabled_tools == ("write",)


def test_removing_a_server_removes_everything_of_it(book: Book) -> None:
    registry = book.registry
    registry.put_server(FILES)
    registry.put_env("files", {"TOKEN": "s", "ZONE": "UTC"})
    registry.put_pin(PIN, CATALOG)
    registry.remove_server("files")
    assert (registry.servers(), registry.pin("files"), registry.secrets()) == ([], None, {})
    assert [path for path in book.config.rglob("*") if path.is_file()] == []
    with pytest.raises(ConfigError, match="there is no server files"):
        registry.remove_server("files")


# --- values ---------------------------------------------------------------------------------------------------------


def test_values_are_owner_only_and_handed_out_by_the_names_the_server_lists(book: Book) -> None:
    registry = book.registry
    registry.put_server(FILES)
    registry.put_env("files", {"TOKEN": "s3cret", "ZONE": "UTC", "UNLISTED": "x"})
    assert registry.env(FILES) == {"TOKEN": "s3cret", "ZONE": "UTC"}
    assert mode(book.config / "env" / "files.json") == 0o600
    assert mode(book.config / "env") == 0o700
    assert b"s3cret" not in (book.config / "servers" / "files.toml").read_bytes()


def test_a_value_that_is_not_there_is_named(registry: Registry) -> None:
    registry.put_env("files", {"ZONE": "UTC"})
    with pytest.raises(ConfigError, match="the value of TOKEN for files is not there"):
        registry.env(FILES)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"TOKEN": 1}', b"\xff", b"[" * 100_000])
def test_values_that_cannot_be_read_are_a_sentence_and_show_nothing(book: Book, text: bytes) -> None:
    book.registry.put_env("files", {})
    (book.config / "env" / "files.json").write_bytes(text)
    with pytest.raises(ConfigError, match="holds no environment values"):
        book.registry.env(FILES)
    with pytest.raises(ConfigError, match="holds no environment values"):
        book.registry.secrets()


def test_every_kept_value_is_known_as_a_secret(registry: Registry) -> None:
    registry.put_env("files", {"TOKEN": "s3cret"})
    registry.clients.put("cursor", "now")
    known = registry.secrets()
    assert known.keys() == {"files/TOKEN", "client/cursor"}
    assert known["files/TOKEN"] == "s3cret"
    assert registry.clients.is_client("cursor", known["client/cursor"])


# --- pins -----------------------------------------------------------------------------------------------------------


def test_a_pin_names_its_catalog(registry: Registry) -> None:
    put = registry.put_pin(PIN, CATALOG)
    assert put.catalog == catalogs.digest(CATALOG)
    assert registry.pin("files") == put
    assert catalogs.digest(registry.catalog("files")) == put.catalog


def test_a_catalog_without_a_pin_is_refused(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="files is not pinned"):
        registry.catalog("files")


def test_a_catalog_that_is_not_the_one_its_pin_names_is_refused(book: Book) -> None:
    """Both were agreed to, but not together."""
    book.registry.put_pin(PIN, CATALOG)
    other = catalogs.Catalog({"legacy/full": replace(LEGACY, tools=())})
    book.agreed.write("pins/files.catalog.json", catalogs.to_json(other).encode())
    with pytest.raises(ConfigError, match="the catalog of files is not the one its pin names"):
        book.registry.catalog("files")


# --- clients --------------------------------------------------------------------------------------------------------


def secret_of(book: Book, name: str) -> str:
    return (book.config / "clients" / f"{name}.secret").read_text().strip()


def test_a_client_proves_itself_with_a_secret_of_its_own_that_only_its_owner_can_read(book: Book) -> None:
    for name in ("cursor", "claude"):
        book.registry.clients.put(name, "now")
    mine, theirs = secret_of(book, "cursor"), secret_of(book, "claude")
    assert len(mine) == 64
    assert mine != theirs
    assert mode(book.config / "clients" / "cursor.secret") == 0o600
    assert book.registry.clients.is_client("cursor", mine)
    for wrong in (theirs, "", mine[:-1], mine + "0", mine.upper() + "x", "ä" * 64, "\ud800", "\0"):
        assert not book.registry.clients.is_client("cursor", wrong)


@pytest.mark.parametrize("secret", ["", "0" * 64, "\ud800"])
def test_an_unknown_client_is_refused_like_a_wrong_secret(registry: Registry, secret: str) -> None:
    assert not registry.clients.is_client("nobody", secret)


def test_a_secret_without_an_agreed_document_opens_nothing(book: Book) -> None:
    """Whoever can drop two files into the folder has not been agreed to."""
    book.registry.clients.put("cursor", "now")
    folder = book.config / "clients"
    (folder / "intruder.toml").write_bytes((folder / "cursor.toml").read_bytes())
    (folder / "intruder.secret").write_text("0" * 64)
    assert not book.registry.clients.is_client("intruder", "0" * 64)


@pytest.mark.parametrize("text", [b"", b"short", b"0" * 63, b"\xff" * 64])
def test_a_damaged_secret_lets_nobody_in(book: Book, text: bytes) -> None:
    book.registry.clients.put("cursor", "now")
    (book.config / "clients" / "cursor.secret").write_bytes(text)
    assert not book.registry.clients.is_client("cursor", text.decode(errors="replace"))


def test_a_lost_secret_lets_nobody_in(book: Book) -> None:
    book.registry.clients.put("cursor", "now")
    (book.config / "clients" / "cursor.secret").unlink()
    assert not book.registry.clients.is_client("cursor", "")


def test_a_secret_is_kept_when_its_client_is_put_again(book: Book) -> None:
    book.registry.clients.put("cursor", "now")
    before = secret_of(book, "cursor")
    book.registry.clients.put("cursor", "later")
    assert secret_of(book, "cursor") == before


def test_a_lost_secret_is_minted_anew_and_what_is_known_of_the_client_stays(book: Book) -> None:
    book.registry.clients.put("cursor", "now")
    book.registry.clients.add_program("cursor", "files", "/opt/cursor")
    lost = secret_of(book, "cursor")
    (book.config / "clients" / "cursor.secret").unlink()
    book.registry.clients.put("cursor", "later")
    assert secret_of(book, "cursor") != lost
    assert book.registry.clients.is_client("cursor", secret_of(book, "cursor"))
    assert book.registry.clients.find("cursor").created == "now"
    assert book.registry.clients.programs("cursor", "files") == ("/opt/cursor",)


def test_programs_are_bound_by_client_and_server(registry: Registry) -> None:
    registry.clients.put("cursor", "now")
    registry.clients.add_program("cursor", "files", "/opt/cursor")
    registry.clients.add_program("cursor", "files", "/opt/other")
    registry.clients.add_program("cursor", "files", "/opt/cursor")
    assert registry.clients.programs("cursor", "files") == ("/opt/other", "/opt/cursor")
    assert registry.clients.programs("cursor", "time") == ()
    assert registry.clients.find("cursor").created == "now"


def test_a_client_started_from_ever_new_places_is_remembered_with_a_bound(registry: Registry) -> None:
    registry.clients.put("cursor", "now")
    for number in range(MAX_EXECUTABLES + 2):
        registry.clients.add_program("cursor", "files", f"/tmp/{number}")
    known = registry.clients.programs("cursor", "files")
    assert len(known) == MAX_EXECUTABLES
    assert (known[0], known[-1]) == ("/tmp/2", f"/tmp/{MAX_EXECUTABLES + 1}")


def test_removing_a_client_takes_its_secret(book: Book) -> None:
    book.registry.clients.put("cursor", "now")
    secret = secret_of(book, "cursor")
    book.registry.clients.remove("cursor")
    assert not book.registry.clients.is_client("cursor", secret)
    assert [path for path in book.config.rglob("*") if path.is_file()] == []


# --- documents somebody edited --------------------------------------------------------------------------------------


def texts(book: Book) -> dict[str, bytes]:
    """Good documents, as we write them."""
    book.registry.put_server(FILES)
    book.registry.put_pin(PIN, CATALOG)
    book.registry.clients.put("cursor", "now")
    names = ("servers/files.toml", "pins/files.toml", "pins/files.catalog.json", "clients/cursor.toml")
    return {name: (book.config / name).read_bytes() for name in names}


def test_what_we_write_passes_our_own_check(book: Book) -> None:
    for name, data in texts(book).items():
        book.registry.check(name, data)
    book.registry.check("policy.toml", b"not looked at here")


@pytest.mark.parametrize(
    "name", ["servers/files.toml", "pins/files.toml", "pins/files.catalog.json", "clients/cursor.toml"]
)
@pytest.mark.parametrize("damage", [b"surprise = 1\n", b"\xff\xfe", b"[" * 5000])
def test_a_document_that_could_not_be_read_back_is_refused_before_it_counts(
    book: Book, name: str, damage: bytes
) -> None:
    data = damage + texts(book)[name]
    with pytest.raises(BulkheadError):
        book.registry.check(name, data)


def test_a_pin_under_another_servers_name_is_refused(book: Book) -> None:
    data = texts(book)["pins/files.toml"]
    with pytest.raises(ConfigError, match="is the pin of another server"):
        book.registry.check("pins/time.toml", data)


def test_a_document_under_a_bad_name_is_refused(book: Book) -> None:
    for name, data in texts(book).items():
        with pytest.raises((ConfigError, TrustError)):
            book.registry.check(name.replace("files", "-x").replace("cursor", "-x"), data)


def test_an_agreed_document_that_is_wrong_names_the_place(book: Book) -> None:
    book.agreed.write("servers/files.toml", b'argv = ["x"]\ncreated = "now"\nreed = ["/"]\n')
    with pytest.raises(ConfigError, match="the document of server files is wrong at reed: Extra inputs"):
        book.registry.server("files")
    book.agreed.write("servers/files.toml", json.dumps({"argv": []}).encode())
    with pytest.raises(ConfigError, match="is not TOML"):
        book.registry.server("files")


def test_a_pin_is_read_as_strictly_as_it_was_written(book: Book) -> None:
    book.agreed.write("pins/files.toml", pins.to_text(PIN).encode() + b"\nsurprise = 1\n")
    with pytest.raises(TrustError):
        book.registry.pin("files")
