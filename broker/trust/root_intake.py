"""Fetching the newest Sigstore root with The Update Framework, in a process of its own.

    python -I -m broker.trust.root_intake --source URL --bootstrap FILE --metadata DIR --root FILE

Empty `--source` and `--bootstrap` mean those of the installed sigstore.  Nobody is believed but who holds the keys of
the bootstrap or of what it led to: an older, expired, wrongly signed or endless answer is refused.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2
from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from broker.errors import BulkheadError, TrustError
from broker.files import read_bounded
from broker.trust.trust_root import MAX_ROOT

FETCHING: Final = 60.0  # seconds in all; eight short documents
ANSWERING: Final = 10.0  # seconds without a byte
MAX_BOOTSTRAP: Final = 512 * 1024  # what the framework itself takes of a root
TARGET: Final = "trusted_root.json"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_HINT: Final = "the root of trust of before stays in use"


class Fetcher(FetcherInterface):
    """One origin, no redirect, and an end; how much is read of each document the framework counts."""

    def __init__(self, seconds: float = FETCHING) -> None:
        self._until = time.monotonic() + seconds
        self._client = httpx2.Client(timeout=httpx2.Timeout(ANSWERING), follow_redirects=False)

    def _fetch(self, url: str) -> Iterator[bytes]:
        with self._client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.status_code != 200:
                raise DownloadHTTPError(f"status {answer.status_code}", answer.status_code)
            for block in answer.iter_raw():
                if time.monotonic() > self._until:
                    raise DownloadError("it takes too long")
                yield block


def take_in(source: str, bootstrap: bytes, metadata: Path, root: Path, seconds: float = FETCHING) -> dict[str, int]:
    """Write the newest root to `root`; `metadata` remembers what was seen, so that nothing older is taken later.

    Raises:
        TrustError: it cannot be had, or is not vouched for.
    """
    _check_address(source)
    base = f"{source.rstrip('/')}/"
    try:
        updater = Updater(str(metadata), base, None, f"{base}targets/", Fetcher(seconds), bootstrap=bootstrap)
        target = updater.get_targetinfo(TARGET)
        if target is None or target.length > MAX_ROOT:
            raise TrustError("the source of the root of trust has none, or too large a one", hint=_HINT)
        updater.download_target(target, str(root))
        seen = json.loads(read_bounded(metadata / "timestamp.json", MAX_BOOTSTRAP))
        return {"version": int(seen["signed"]["version"])}
    except ExpiredMetadataError as cause:
        raise TrustError(
            f"what the source of the root of trust says is out of date: {cause}"[:300], hint=_HINT
        ) from cause
    except RepositoryError as cause:
        raise TrustError(f"the root of trust is not vouched for: {type(cause).__name__}", hint=_HINT) from cause
    except (DownloadError, httpx2.HTTPError, httpx2.InvalidURL) as cause:
        raise TrustError(f"the root of trust cannot be fetched: {type(cause).__name__}", hint=_HINT) from cause
    except (ValueError, KeyError, OSError) as cause:
        raise TrustError(f"the root of trust cannot be kept: {type(cause).__name__}", hint=_HINT) from cause


def own_source() -> tuple[str, bytes]:
    """Where the installed sigstore gets its root, and whom it believes at first."""
    from sigstore._internal.tuf import DEFAULT_TUF_URL
    from sigstore._utils import read_embedded

    return DEFAULT_TUF_URL, read_embedded("root.json", DEFAULT_TUF_URL)


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as cause:
        raise TrustError("the source of the root of trust is no address") from cause
    if parts.username is not None or parts.password is not None:
        raise TrustError("the source of the root of trust must not carry a name or password")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise TrustError("the source of the root of trust must be an https address")


def main() -> int:
    parser = argparse.ArgumentParser(prog="broker.trust.root_intake")
    parser.add_argument("--source", default="")
    parser.add_argument("--bootstrap", default="")
    parser.add_argument("--metadata", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    args = parser.parse_args()
    try:
        source, bootstrap = own_source()
        if args.bootstrap:
            bootstrap = read_bounded(Path(args.bootstrap), MAX_BOOTSTRAP)
        said: dict[str, object] = dict(take_in(args.source or source, bootstrap, args.metadata, args.root))
    except BulkheadError as error:
        said = {"problem": str(error), "hint": error.hint}
    except OSError as error:
        said = {"problem": f"the root of trust cannot be kept: {error.strerror}", "hint": "check free space"}
    sys.stdout.write(json.dumps(said) + "\n")
    return 1 if "problem" in said else 0


if __name__ == "__main__":
    sys.exit(main())
