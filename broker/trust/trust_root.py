"""Whose signatures are believed: the roots that come with this program, and nothing that lies on the user's disk.

A cache that any program of the user can write to must not decide who is believed, so the packaged files are read and
their SHA-256 stands here.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from broker.errors import ConfigError, TrustError
from broker.files import read_bounded, sha256_hex
from broker.pin import TrustBasis

SIGSTORE_SHA256: Final = "6494e21ea73fa7ee769f85f57d5a3e6a08725eae1e38c755fc3517c9e6bc0b66"
NPM_KEYS_SHA256: Final = "160677eb6e1c7083c89b166b20f8fe4e837fb71181506aff1991b80b89184f7d"
TAKEN: Final = date(2026, 11, 21)  # the day on which the packaged roots were the newest
MAX_ROOT = 1024 * 1024  # they are 7 and 2 KiB
_FOLDER = Path(__file__).parent / "roots"


@dataclass(frozen=True, slots=True)
class Roots:
    """A Sigstore trusted root and an npm registry's keys, as the documents they are published in.

    `taken` is the day on which nobody had newer ones.  Old roots still verify what was signed under them; they do not
    know what was added or withdrawn since, so a person is told.
    """

    sigstore: bytes
    npm_keys: bytes
    taken: date = TAKEN

    def basis(self, now: float, evidence: str = "") -> TrustBasis:
        """What a pin made at `now` (seconds since the epoch) says of them.  A clock set back makes them no younger."""
        age = (datetime.fromtimestamp(now, UTC).date() - self.taken).days
        return TrustBasis(sha256_hex(self.sigstore), sha256_hex(self.npm_keys), max(0, age), evidence)


def packaged(folder: Path = _FOLDER) -> Roots:
    """The roots this program came with.

    Raises:
        TrustError: a file is missing or is not the one this program came with.
    """
    return Roots(
        sigstore=_exactly(folder / "trusted_root.json", SIGSTORE_SHA256),
        npm_keys=_exactly(folder / "npm_keys.json", NPM_KEYS_SHA256),
    )


def _exactly(path: Path, sha256: str) -> bytes:
    hint = "install Bulkhead again"
    try:
        data = read_bounded(path, MAX_ROOT)
    except (FileNotFoundError, ConfigError) as cause:
        raise TrustError(f"the root of trust {path.name} cannot be read", hint=hint) from cause
    if sha256_hex(data) != sha256:
        raise TrustError(f"the root of trust {path.name} is not the one this program came with", hint=hint)
    return data
