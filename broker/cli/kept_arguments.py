"""The grammar of what is kept here: secrets, and what is known about packages."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.cli.later import Module

if TYPE_CHECKING:
    from argparse import _SubParsersAction

advisories, secrets = Module("advisories"), Module("secrets")


def secrets_grammar(command: Callable[..., ArgumentParser]) -> None:
    """`secret` and `vault`."""
    named = command("secret", secrets.secret, "secrets in the vault; values come from a prompt or a pipe", json=True)
    named.add_argument("action", choices=["set", "list", "remove"])
    named.add_argument("name", nargs="?", default="", metavar="NAME", help="NAME, or SERVER/VARIABLE")
    whole = command("vault", secrets.vault, "how the vault is sealed: show, open, seal it anew", json=True)
    whole.add_argument(
        "action", choices=["status", "unlock", "passphrase", "rotate"],
        help="passphrase: seal it under one; rotate: under a new key in the keychain",
    )  # fmt: skip


def advisories_grammar(commands: "_SubParsersAction[ArgumentParser]") -> None:
    """`advisories`."""
    book = commands.add_parser("advisories", help="what is known about packages: malware and vulnerabilities")
    pages = book.add_subparsers(dest="page", required=True, metavar="status|refresh|use")
    look = pages.add_parser("status", help="how much is known, and since when")
    look.set_defaults(run=advisories.status)
    fetch = pages.add_parser("refresh", help="fetch advisories now")
    fetch.add_argument(
        "--from", dest="source", default="", metavar="FILE|URL", help="an archive of OSV records; default: your sources"
    )
    fetch.set_defaults(run=advisories.refresh)
    choose = pages.add_parser("use", help="name the addresses that are fetched each day; none: fetch nothing by itself")
    choose.add_argument("sources", nargs="*", metavar="URL")
    choose.set_defaults(run=advisories.use)
    for page in (look, fetch):
        page.add_argument("--json", action="store_true", help="print JSON")
