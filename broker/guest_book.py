"""The bearers of clients that come in by HTTP, and the port they know: owner-only files, one for each.

A bearer is minted for one client and one folder it works in, and is one session.  The port is chosen once and kept.
Who finds it taken must take its clients' bearers for known to whoever took it: they are thrown away.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from broker.errors import ConfigError
from broker.files import read_bounded, write_private
from broker.protocol.http_gate import Guest

MAX_FILE: Final = 64 * 1024
SECRET_BYTES: Final = 32
PATH_BYTES: Final = 16
FIRST_PORT: Final = 20_000  # below 32768, where systems take the near ends of connections from
PORTS: Final = 12_000
SIGNS_IN: Final = "+sign-in"  # of a file's name; no client can be called so


class GuestBook:
    """The one owner of these files.  Disk first, then memory."""

    def __init__(self, config: Path) -> None:
        self._folder = config / "http"
        self.guests: dict[str, Guest] = {}
        """By the secret in their address."""
        self.ports: set[int] = {self.port} - {0}
        """Where Bulkhead itself listens, now and later: no server is let through to it."""
        for file in sorted(self._folder.glob("*.json")):
            guest = _read(file)
            self.guests[guest.path] = guest

    @property
    def port(self) -> int:
        """The port clients know; 0 before there is one.

        Raises:
            ConfigError: the file says something else.
        """
        try:
            text = read_bounded(self._port_file, MAX_FILE).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return 0
        if not text.isdigit() or not 1024 <= int(text[:6]) < 65536:
            raise ConfigError(f"{self._port_file} holds no port", hint="write a number from 1024 to 65535 into it")
        return int(text)

    @port.setter
    def port(self, number: int) -> None:
        self.ports.add(number)  # first: a port we may hold is never a server's
        write_private(self._port_file, f"{number}\n".encode())

    def candidates(self) -> Iterator[int]:
        """Ports nobody can foresee, to try one after the other."""
        for _ in range(64):
            yield FIRST_PORT + secrets.randbelow(PORTS)

    def mint(self, client: str, workspace: str, *, signs_in: bool = False) -> Guest:
        """The bearer of a client in a folder, or its address alone; the one it has already, if it has one."""
        for guest in self.guests.values():
            if (guest.client, guest.workspace, guest.signs_in) == (client, workspace, signs_in):
                return guest
        bearer = "" if signs_in else secrets.token_hex(SECRET_BYTES)
        guest = Guest(client, secrets.token_hex(PATH_BYTES), bearer, workspace, signs_in)
        text = {"client": client, "path": guest.path, "bearer": guest.bearer, "workspace": workspace}
        write_private(self.file(guest), json.dumps(text).encode() + b"\n")
        self.guests[guest.path] = guest
        return guest

    def file(self, guest: Guest) -> Path:
        """Where its bearer lies."""
        folder = hashlib.sha256(guest.workspace.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return self._folder / f"{guest.client}-{folder}{SIGNS_IN if guest.signs_in else ''}.json"

    def forget(self, client: str = "") -> None:
        """Throw away the bearers of a client, or of all."""
        for guest in tuple(self.guests.values()):
            if client in ("", guest.client):
                self.file(guest).unlink(missing_ok=True)
                del self.guests[guest.path]

    def secrets(self) -> dict[str, str]:
        """Every secret, by a name that may be shown: what must never be written to a receipt."""
        found = {}
        for number, guest in enumerate(self.guests.values()):
            if not guest.signs_in:
                found[f"http/{guest.client}/{number}/bearer"] = guest.bearer
            found[f"http/{guest.client}/{number}/path"] = guest.path
        return found

    @property
    def _port_file(self) -> Path:
        return self._folder / "port"


def _read(file: Path) -> Guest:
    try:
        found: Any = json.loads(read_bounded(file, MAX_FILE))
    except (ValueError, RecursionError):
        found = None
    fields = ("client", "path", "bearer", "workspace")
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in fields):
        raise ConfigError(f"{file} holds no bearer", hint="remove it, then: bulkhead endpoint")
    guest = Guest(found["client"], found["path"], found["bearer"], found["workspace"], not found["bearer"])
    if len(guest.path) != 2 * PATH_BYTES or len(guest.bearer) not in (0, 2 * SECRET_BYTES):
        raise ConfigError(f"{file} holds no bearer of ours", hint="remove it, then: bulkhead endpoint")
    return guest
