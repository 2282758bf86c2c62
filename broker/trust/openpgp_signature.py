"""Signatures of git commits and tags by OpenPGP keys, checked by the system's gpgv against the user's own key ring.

No key is ever fetched.  A signature by a key that is not in the ring cannot be checked, and that is said; one by a key
that is in it, and does not hold, refuses the pin.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread

from broker.errors import ConfigError, TrustError
from broker.files import read_bounded
from broker.trust.interpreters import located
from broker.trust.programs import in_system
from broker.trust.run import Command, Run
from broker.trust.signed_objects import BEGINS, parts_of
from broker.trust.spoken import plain

CHECKING = 60.0  # seconds; a ring of a thousand keys takes one
MAX_RING = 64 * 1024 * 1024
RINGS: Final = ("pubring.kbx", "pubring.gpg")
_SAID: Final = b"[GNUPG:] "
_VERDICTS: Final = frozenset({"GOODSIG", "BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG"})
_NO_KEY: Final = "9"
_FORGEABLE: Final = frozenset({"1", "2", "3"})  # MD5, SHA-1, RIPEMD-160: two texts with one digest can be made
_HINT: Final = "do not use it; ask its author"


@dataclass(frozen=True, slots=True)
class Checked:
    """The fingerprint of the key whose signature holds; or why it could not be checked."""

    signer: str = ""
    why: str = ""


async def check(kind: str, text: bytes, environment: Mapping[str, str], work: Path, run: Run) -> Checked:
    """Check the signature of a raw `commit` or `tag` with what the user has.

    Raises:
        TrustError: it does not hold, or is by a key that was revoked.
    """
    payload, armored = parts_of(kind, text, "OpenPGP")
    if armored.count(BEGINS["OpenPGP"]) != 1:
        raise TrustError(f"the {kind} is signed, and its OpenPGP signature is bent", hint=_HINT)
    try:
        program = located("gpgv", environment)
    except TrustError:
        return Checked(why="there is no gpgv on this machine")
    ring = await anyio.to_thread.run_sync(partial(_key_ring, environment))
    if not ring:
        return Checked(why="you have no OpenPGP key ring")
    for name, data in (("ring", ring), ("signature", armored), ("payload", payload)):
        await anyio.to_thread.run_sync((work / f"openpgp.{name}").write_bytes, data)
    files = [str(work / f"openpgp.{name}") for name in ("ring", "signature", "payload")]
    argv = (str(program), "--homedir", str(work), "--status-fd", "1", "--keyring", *files)
    reads = () if in_system(program.resolve()) else (program, program.resolve().parent.parent)
    env = {"HOME": str(work), "LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    done = await run(Command(argv, work, work, env, timeout=CHECKING, reads=reads))
    return _verdict(kind, done.stdout)


def _verdict(kind: str, status: bytes) -> Checked:
    said = [
        line[len(_SAID) :].decode("ascii", "replace").split() for line in status.splitlines() if line.startswith(_SAID)
    ]
    verdicts = [words for words in said if words and words[0] in _VERDICTS]
    if len(verdicts) != 1:
        raise TrustError(f"the {kind} is signed, and its OpenPGP signature is bent", hint=_HINT)
    match verdicts[0]:
        case ["BADSIG", *_]:
            raise TrustError(f"the {kind} is signed, and its OpenPGP signature does not hold", hint=_HINT)
        case ["REVKEYSIG", key, *_]:
            revoked = f"its OpenPGP signature is by the key {plain(key)}, which was revoked"
            raise TrustError(f"the {kind} is signed, and {revoked}", hint=_HINT)
        case ["ERRSIG", key, *rest]:
            missing = len(rest) > 4 and rest[4] == _NO_KEY
            return Checked(
                why=f"the key {plain(key)} is not in your key ring" if missing else "gpgv does not know its kind"
            )
        case ["EXPSIG" | "EXPKEYSIG", key, *_]:
            return Checked(why=f"it, or its key {plain(key)}, has expired")
    valid = next((words for words in said if words[:1] == ["VALIDSIG"] and len(words) > 10), None)
    if valid is None:
        raise TrustError(f"the {kind} is signed, and its OpenPGP signature is bent", hint=_HINT)
    if valid[8] in _FORGEABLE:
        return Checked(why="it signs a digest that can be forged")
    return Checked(valid[10])


def _key_ring(environment: Mapping[str, str]) -> bytes:
    """The user's public keys as gpg keeps them in one file; empty where there are none, or they are kept otherwise."""
    home = environment.get("GNUPGHOME") or str(Path(environment.get("HOME") or "/nowhere", ".gnupg"))
    for name in RINGS:
        try:
            if data := read_bounded(Path(home, name), MAX_RING):
                return data
        except (FileNotFoundError, NotADirectoryError, ConfigError):
            continue
    return b""
