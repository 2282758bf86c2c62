"""What a command line says about signing in."""

import io
from pathlib import Path

import pytest

from broker.api import schema
from broker.cli.arguments import parser
from broker.cli.sign_ins import chosen
from broker.errors import ConfigError, DeskError


def said(*words: str) -> schema.SignIn:
    return chosen(parser().parse_args(["login", "far", *words]), server="far")


def test_what_is_not_said_stays_as_it_was_chosen_before() -> None:
    assert said() == schema.SignIn(server="far")
    assert said("--client", "web", "--device").way == "device" and said("--client", "web").client == "web"
    assert said("--resource", "omit", "--issuer", "https://as.example").model_dump(exclude_defaults=True) == {
        "server": "far", "resource": "omit", "issuer": "https://as.example"
    }  # fmt: skip


@pytest.mark.parametrize(("word", "method"), [("basic", "client_secret_basic"), ("post", "client_secret_post")])
def test_a_secret_is_read_from_standard_input_and_shown_as_chosen(
    monkeypatch: pytest.MonkeyPatch, word: str, method: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("HAND-SECRET\n"))
    found = said("--client-id", "hand", "--client-secret", "--client-auth", word)
    assert (found.client_id, found.secret, found.method, found.key) == ("hand", "HAND-SECRET", method, False)
    assert "SECRET" not in repr(found)


def test_a_key_is_read_from_its_file_and_belongs_to_a_client_id(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("PEM-SECRET")
    found = said("--client-id", "robot", "--client-key", str(key))
    assert found.key and found.secret == "PEM-SECRET" and "SECRET" not in repr(found)
    with pytest.raises(DeskError, match="a secret belongs to a client id"):
        said("--client-key", str(key))
    with pytest.raises(ConfigError, match="cannot be read"):
        said("--client-id", "robot", "--client-key", str(tmp_path / "none"))
