"""What an index gave to prove who made a package, kept as it came, so that it can be judged again.

Each proof is named by its SHA-256, which stands in the pin, and lies beside the store's objects.
"""

from pathlib import Path
from typing import Final

from broker.errors import ConfigError, TrustError
from broker.files import private_folder, read_bounded, sha256_hex, write_private
from broker.trust.garbage import EVIDENCE
from broker.trust.tree import is_full

MAX_PROOF: Final = 8 * 1024 * 1024  # twice what is read of an index


def keep_proof(root: Path, text: bytes) -> str:
    """Keep a proof in the store at `root`; returns its SHA-256.

    Raises:
        TrustError: it cannot be written.
    """
    name = sha256_hex(text)
    try:
        private_folder(root / EVIDENCE)
        write_private(root / EVIDENCE / name, text, mode=0o400)
    except (ConfigError, OSError) as cause:
        reason = cause.__cause__ if isinstance(cause, ConfigError) else cause
        full = isinstance(reason, OSError) and is_full(reason)
        what = "no space left for" if full else "the proof cannot be kept in"
        raise TrustError(f"{what} the store at {root}", hint="free some space, or check its permissions") from cause
    return name


def proof(root: Path, sha256: str) -> bytes:
    """What `keep_proof` kept.

    Raises:
        TrustError: it is gone or was changed.
    """
    try:
        text = read_bounded(root / EVIDENCE / sha256, MAX_PROOF)
    except (FileNotFoundError, ConfigError) as cause:
        raise TrustError(f"the proof {sha256[:12]} is not in the store any more") from cause
    if sha256_hex(text) != sha256:
        raise TrustError(f"the proof {sha256[:12]} in the store was changed")
    return text
