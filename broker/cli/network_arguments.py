"""The grammar of what a server may reach, and of how closely that is looked at."""

from argparse import ArgumentParser
from typing import Final

FORM: Final = "NAME HEADER METHOD[,METHOD] HOST[/PATH]"


def flags_of_add(add: ArgumentParser) -> None:
    """What `add` takes about connections that are looked into."""
    add.add_argument("--inspect", action="store_true", help="look into its encrypted connections to these hosts")
    _inspection(add, "--inject")


def flags_of_grant(grant: ArgumentParser) -> None:
    """What `grant` takes about a server that listens."""
    said = "let this machine reach what it listens on at this port, one link at a time (all its ports, each named)"
    grant.add_argument("--listen", action="append", type=int, metavar="PORT", help=said)
    grant.add_argument("--no-listen", action="store_true", help="take its ports back")


def flags_of_inspect(inspect: ArgumentParser) -> None:
    """What `inspect` takes."""
    inspect.add_argument("--on", action="store_true", help="every request to the granted hosts but websockets")
    inspect.add_argument("--off", action="store_true", help="no more")
    _inspection(inspect, "--secret")


def _inspection(made: ArgumentParser, secret: str) -> None:
    made.add_argument("--rule", action="append", default=[], metavar="[METHODS] HOST[/PATH]", help="only these")
    held = "put the value of a variable in there; the server holds a placeholder"
    made.add_argument(secret, action="append", default=[], metavar=f'"{FORM}"', help=held)
