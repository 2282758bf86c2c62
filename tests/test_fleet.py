"""The policy of an organisation: taken from who signs it and nobody else, and never looser than its user's own."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from securesystemslib.signer._crypto_signer import CryptoSigner

from broker.agreed import Agreed
from broker.audit.keys import AuditKeys
from broker.audit.log import AuditLog
from broker.errors import BulkheadError, PolicyError
from broker.fleet import Fleet
from broker.model import Call, ClientName, ServerName, SessionId, Verdict
from broker.policy.evaluate import evaluate
from broker.policy.fleet import BUNDLE, FLEET, read_subscription
from broker.policy.store import POLICY, PolicyStore
from broker.trust.run import Command, Finished, Run, run_command
from broker.trust.tuf_intake import take_in
from tests.audit.facts import lines_of
from tests.test_root_book import Repository

KEY: Final = b"k" * 32
COMMIT: Final = ["-c", "user.name=nobody", "-c", "user.email=nobody@firm.example", "commit", "-q", "-m", "Publish"]
MINE: Final = b"""version = 1
name = "mine"
description = "what its user agreed to"
holds = false
[[rule]]
name = "all"
effect = "allow"
reason = "fine"
[[rule]]
name = "no-shell"
effect = "deny"
reason = "not here"
tool = "shell"
"""


def bundle(denied: str) -> bytes:
    return f"""version = 1
name = "of-the-firm"
description = "what everybody keeps to"
[[rule]]
name = "shell"
effect = "allow"
reason = "the firm would let it"
tool = "shell"
[[rule]]
name = "never"
effect = "deny"
reason = "the firm does not want it"
tool = "{denied}"
""".encode()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def taken(said: dict[str, str]) -> dict[str, Any]:
    try:
        bootstrap, metadata, out = (Path(said[name]) for name in ("--bootstrap", "--metadata", "--out"))
        names = {"target": said["--target"], "what": said["--what"]}
        return dict(
            take_in(said["--source"], bootstrap.read_bytes(), metadata, out, 60, most=int(said["--most"]), **names)
        )
    except BulkheadError as problem:
        return {"problem": str(problem)}


async def at_hand(command: Command) -> Finished:
    """The fetching process without the process: what it does is the same."""
    found = taken(dict(zip(command.argv[4::2], command.argv[5::2], strict=True)))
    return Finished(int("problem" in found), json.dumps(found).encode(), b"")


class Home:
    """A home that may subscribe, and the repository it asks."""

    def __init__(self, folder: Path, repository: Repository) -> None:
        self.folder, self.repository = folder, repository
        self.agreed = Agreed(folder / "config", folder / "agreed", KEY)
        self.agreed.write(POLICY, MINE)
        self.policy = PolicyStore(self.agreed)
        self.audit = AuditLog.open(folder / "audit", AuditKeys(KEY), lambda: 1e9, steady=lambda: 1e9)
        self.told: list[int] = []
        self.fleet = self.opened(at_hand)

    def opened(self, run: Run) -> Fleet:
        return Fleet(
            *(self.agreed, self.folder / "fleet", self.policy, self.audit, lambda: self.told.append(1), os.environ, run)
        )

    async def subscribe(self, source: str = "") -> None:
        await self.fleet.subscribe(source or self.repository.url, self.repository.bootstrap.decode())

    def verdict(self, tool: str) -> tuple[Verdict, str]:
        call = Call(ClientName("desk"), ServerName("notes"), SessionId("s"), "client", "tools/call", tool, {}, "d")
        decision = evaluate(self.policy.current, call)
        return decision.verdict, decision.rule

    def recorded(self) -> list[tuple[str, dict[str, Any]]]:
        entries = [json.loads(line) for line in lines_of(self.folder / "audit")]
        return [(entry["method"], entry["body"]) for entry in entries if entry["kind"] == "policy"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Repository() as repository:
        repository.put(1, BUNDLE, bundle("one"))
        made = Home(tmp_path, repository)
        yield made
        made.audit.close()


@pytest.mark.claim("C98")
async def test_a_bundle_holds_beside_its_users_own_policy_and_loosens_nothing(home: Home) -> None:
    assert home.verdict("one") == (Verdict.ALLOW, "all")
    await home.subscribe()
    assert home.verdict("one") == (Verdict.DENY, "fleet.never"), "what the firm denies is denied"
    assert home.verdict("shell") == (Verdict.DENY, "no-shell"), "what the firm allows stays as its user has it"
    assert home.verdict("read") == (Verdict.ALLOW, "all") and home.policy.current.holds, (
        "which its user had switched off"
    )
    assert home.policy.text == MINE.decode() and home.told == [1]
    home.policy.use(MINE.replace(b"mine", b"other"), "other.toml")
    assert home.verdict("one") == (Verdict.DENY, "fleet.never"), "another policy of the user's is no way around it"
    assert PolicyStore(home.agreed).current.rules == home.policy.current.rules, "nor is a new start"
    await home.fleet.leave()
    assert home.verdict("one") == (Verdict.ALLOW, "all")
    assert [method for method, _ in home.recorded()] == ["fleet.subscribed", "fleet.left"]


async def test_a_newer_bundle_is_pulled_and_the_same_one_is_no_news(home: Home) -> None:
    await home.subscribe()
    assert await home.fleet.refresh() == home.fleet.current()
    home.repository.put(2, BUNDLE, bundle("two"))
    await home.fleet.refresh()
    assert home.verdict("one") == (Verdict.ALLOW, "all")
    assert home.verdict("two") == (Verdict.DENY, "fleet.never")
    assert [(method, body["version"]) for method, body in home.recorded()] == [
        ("fleet.subscribed", 1), ("fleet.pulled", 2),
    ]  # fmt: skip


def mixed(repository: Repository) -> None:
    """Newer targets are named, and older ones stand there."""
    older = repository.files["/1.targets.json"]
    repository.put(2, BUNDLE, bundle("two"))
    repository.files["/2.targets.json"] = older


def swapped(repository: Repository) -> None:
    repository.put(2, BUNDLE, bundle("two"))
    name = next(name for name in repository.files if name.endswith(BUNDLE) and b'"two"' in repository.files[name])
    repository.files[name] = bundle("six")


def endless(repository: Repository) -> None:
    repository.put(2, BUNDLE, bundle("two"))
    repository.files["/timestamp.json"] += b" " * (1 << 20)


def signed_by_another(repository: Repository) -> None:
    repository.put(2, BUNDLE, bundle("two"), signer=CryptoSigner.generate_ed25519())


ATTACKS: Final[dict[str, tuple[Callable[[Repository], None], str]]] = {
    "expired": (lambda repository: repository.put(7, BUNDLE, bundle("two"), days=-1), "out of date"),
    "another key": (signed_by_another, "not vouched for"),
    "rolled back": (lambda repository: repository.put(1, BUNDLE, bundle("two")), "not vouched for"),
    "mixed": (mixed, "not vouched for"),
    "swapped": (swapped, "not vouched for"),
    "endless": (endless, "cannot be fetched"),
    "gone": (lambda repository: repository.files.clear(), "cannot be fetched"),
    "without a bundle": (lambda repository: repository.put(6, "other.toml", b""), "has none"),
    "no policy": (lambda repository: repository.put(6, BUNDLE, b"allow = 'all'"), "the bundle of"),
    "too large": (lambda repository: repository.put(6, BUNDLE, b"#" * (2 << 20)), "too large"),
}


@pytest.mark.claim("C98")
@pytest.mark.parametrize("attack", ATTACKS)
async def test_what_is_not_in_order_changes_nothing_and_is_on_record_once(home: Home, attack: str) -> None:
    if attack == "rolled back":
        home.repository.put(5, BUNDLE, bundle("one"))
    await home.subscribe()
    before = home.fleet.current(), home.policy.current
    harm, said = ATTACKS[attack]
    harm(home.repository)
    for _ in range(2):
        with pytest.raises(BulkheadError, match=said):
            await home.fleet.refresh()
    assert (home.fleet.current(), home.policy.current) == before
    assert home.verdict("one") == (Verdict.DENY, "fleet.never") and said in home.fleet.problem
    assert [method for method, _ in home.recorded()] == ["fleet.subscribed", "fleet.refused"]


async def test_an_older_bundle_is_refused_even_where_nobody_remembers_the_newer_one(home: Home) -> None:
    home.repository.put(5, BUNDLE, bundle("five"))
    await home.subscribe()
    for path in (home.folder / "fleet").glob("*/metadata/*.json"):
        path.unlink()
    home.repository.put(4, BUNDLE, bundle("four"))
    with pytest.raises(BulkheadError, match="went back to an older one"):
        await home.fleet.refresh()
    with pytest.raises(BulkheadError):
        await home.subscribe()
    assert home.verdict("five") == (Verdict.DENY, "fleet.never")


async def test_a_root_of_somebody_else_subscribes_to_nothing(home: Home) -> None:
    with Repository() as other, pytest.raises(BulkheadError, match="not vouched for"):
        await home.fleet.subscribe(home.repository.url, other.bootstrap.decode())
    assert home.fleet.current() is None and home.verdict("one") == (Verdict.ALLOW, "all")


@pytest.mark.parametrize(
    "source", ["http://firm.example/policy", "file:///etc", "https://me:key@firm.example/", "git+ssh://firm.example/p"]
)
async def test_a_source_is_an_address_that_others_cannot_write_to_on_the_way(home: Home, source: str) -> None:
    with pytest.raises(BulkheadError, match=r"https address|name or password"):
        await home.subscribe(source)


def git(tree: Path, *commands: list[str]) -> None:
    for words in commands:
        subprocess.run(["git", *words], cwd=tree, check=True, timeout=60)


async def test_a_git_repository_is_a_source_too_and_a_real_process_fetches_it(home: Home, tmp_path: Path) -> None:
    tree = tmp_path / "repository"
    for name, data in home.repository.files.items():
        path = tree / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    git(tree, ["init", "-q"], ["add", "."], COMMIT)
    home.fleet = home.opened(run_command)
    await home.subscribe(f"git+file://{tree}")
    assert home.verdict("one") == (Verdict.DENY, "fleet.never")
    (tree / "timestamp.json").unlink()
    (tree / "timestamp.json").symlink_to("/etc/hostname")
    git(tree, ["add", "."], COMMIT)
    with pytest.raises(BulkheadError, match="not vouched for"):
        await home.fleet.refresh()


@pytest.mark.parametrize("data", [b"", b"\xff", b"source = 1\nroot = ''\nversion = 1\ntext = ''"])
def test_a_document_that_is_no_subscription_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(PolicyError, match=FLEET):
        read_subscription(data)
