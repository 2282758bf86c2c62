"""Credentials of other programs: which program is run, what of its answer is taken, and what is refused."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.vault.adapters import line_of
from broker.vault.references import Reference, References, SecretMissing, named, parse_reference
from broker.vault.vault import Vault
from tests.house import no_keychain


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def program(folder: Path, name: str, answer: str) -> None:
    """A program that tells what it was run with, and answers."""
    file = folder / name
    file.write_text(f"#!/bin/sh\necho \"$@\" >> {folder}/{name}.calls\ncat <<'END'\n{answer}\nEND\n")
    file.chmod(stat.S_IRWXU)


def aws(**more: object) -> str:
    return json.dumps(
        {"Version": 1, "AccessKeyId": "ASIA1", "SecretAccessKey": "canary-1", "SessionToken": "t", **more}
    )


def until(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> References:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    vault = Vault(tmp_path / "vault", tmp_path, find=no_keychain)
    vault.open()
    return References(vault)


def test_a_program_named_alone_means_all_that_servers_look_for() -> None:
    assert named(["host:aws/work", "API=keychain:api", "TOKEN=host:gh"]) == {
        "AWS_ACCESS_KEY_ID": "host:aws/work#AccessKeyId",
        "AWS_SECRET_ACCESS_KEY": "host:aws/work#SecretAccessKey",
        "AWS_SESSION_TOKEN": "host:aws/work#SessionToken",
        "API": "keychain:api",
        "TOKEN": "host:gh",
    }
    assert parse_reference("host:aws/work#AccessKeyId") == Reference("host", ("aws", "work", "AccessKeyId"))
    assert line_of("aws", "work")[-2:] == ("--profile", "work") and line_of("kube", "me")[-1] == "me"
    for wrong in ("host:aws", "host:vault", "host:aws/--x#AccessKeyId", "host:aws#Other", "host:kube", "host:gh/a b"):
        with pytest.raises(ConfigError):
            parse_reference(wrong)
    for text in ("host:nothing", "API"):
        with pytest.raises(ValueError, match=text):
            named([text])


async def test_what_ends_is_handed_over_and_asked_for_anew_when_it_ends_soon(found: References, tmp_path: Path) -> None:
    program(tmp_path, "aws", aws(Expiration=until(3600)))
    names = [await found.value(f"host:aws/work#{part}") for part in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
    assert names == ["ASIA1", "canary-1", "t"]
    calls = tmp_path / "aws.calls"
    assert calls.read_text() == "configure export-credentials --format process --profile work\n"  # once for all three
    program(tmp_path, "aws", aws(Expiration=until(60), SecretAccessKey="canary-2"))
    for secret in ("canary-2", "canary-2"):
        assert await found.value("host:aws#SecretAccessKey") == secret
    assert len(calls.read_text().splitlines()) == 3
    program(tmp_path, "gh", "canary-3")
    assert await found.value("host:gh") == "canary-3"


@pytest.mark.parametrize(("answer", "why"), [
    (aws(), "good for ever"), (aws(Expiration=until(-1)), "good no more"), (aws(Expiration=5), "good no more"),
    (aws(Expiration=until(60), SecretAccessKey=5), "good no more"), ("[]", "does not print credentials"),
    ("canary", "does not print credentials"), (aws(Expiration="soon"), "does not print credentials"),
])  # fmt: skip
async def test_what_lasts_for_ever_or_is_no_credential_is_not_handed_over_and_not_said(
    found: References, tmp_path: Path, answer: str, why: str
) -> None:
    program(tmp_path, "aws", answer)
    with pytest.raises(SecretMissing, match=why) as refused:
        await found.value("host:aws#SecretAccessKey")
    assert "canary" not in f"{refused.value} {refused.value.hint}"
