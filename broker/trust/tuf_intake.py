"""Fetching one signed document with The Update Framework, in a process of its own.

    python -I -m broker.trust.tuf_intake --source URL --bootstrap FILE --target NAME --metadata DIR --out FILE

Without a source and a bootstrap it is the newest Sigstore root, from where the installed sigstore gets it.  A source is
an https address, or `git+` one, whose repository is then read.  Nobody is believed but who holds the keys of the
bootstrap or of what it led to: an older, expired, wrongly signed, mixed or endless answer is refused.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2
from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from broker.errors import BulkheadError, TrustError
from broker.files import read_bounded
from broker.trust.git_tree import MARK, Fetches, read_tree
from broker.trust.trust_root import MAX_ROOT

FETCHING: Final = 60.0  # seconds in all; eight short documents
ANSWERING: Final = 10.0  # seconds without a byte
MAX_BOOTSTRAP: Final = 512 * 1024  # what the framework itself takes of a root
MAX_FILE: Final = 64 * 1024 * 1024  # of what git writes while it reads a repository of a few documents
TARGET: Final = "trusted_root.json"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_ROOT: Final = "the root of trust"


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


def take_in(
    source: str, bootstrap: bytes, metadata: Path, out: Path, seconds: float = FETCHING,
    *, target: str = TARGET, what: str = _ROOT, most: int = MAX_ROOT,
) -> dict[str, int]:  # fmt: skip
    """Write the newest `target` to `out`; `metadata` remembers what was seen, so that nothing older is taken later.

    Raises:
        TrustError: it cannot be had, or is not vouched for.
    """
    _check_address(source, what)
    hint = f"{what} of before stays in use"
    base = f"{source.rstrip('/')}/"
    fetcher: Fetches = Fetcher(seconds)
    if source.startswith(MARK):
        base, fetcher = read_tree(source, out.parent / "tree", seconds)
    try:
        updater = Updater(str(metadata), base, None, f"{base}targets/", fetcher, bootstrap=bootstrap)
        found = updater.get_targetinfo(target)
        if found is None or found.length > most:
            raise TrustError(f"the source of {what} has none, or too large a one", hint=hint)
        updater.download_target(found, str(out))
        seen = json.loads(read_bounded(metadata / "timestamp.json", MAX_BOOTSTRAP))
        return {"version": int(seen["signed"]["version"])}
    except ExpiredMetadataError as cause:
        raise TrustError(f"what the source of {what} says is out of date: {cause}"[:300], hint=hint) from cause
    except RepositoryError as cause:
        raise TrustError(f"{what} is not vouched for: {type(cause).__name__}", hint=hint) from cause
    except (DownloadError, httpx2.HTTPError, httpx2.InvalidURL) as cause:
        raise TrustError(f"{what} cannot be fetched: {type(cause).__name__}", hint=hint) from cause
    except (ValueError, KeyError, OSError) as cause:
        raise TrustError(f"{what} cannot be kept: {type(cause).__name__}", hint=hint) from cause


def own_source() -> tuple[str, bytes]:
    """Where the installed sigstore gets its root, and whom it believes at first."""
    from sigstore._internal.tuf import DEFAULT_TUF_URL
    from sigstore._utils import read_embedded

    return DEFAULT_TUF_URL, read_embedded("root.json", DEFAULT_TUF_URL)


def _check_address(url: str, what: str) -> None:
    """A repository on this machine is as good as any: what it holds is signed."""
    try:
        parts = urlsplit(url)
    except ValueError as cause:
        raise TrustError(f"the source of {what} is no address") from cause
    if parts.username is not None or parts.password is not None:
        raise TrustError(f"the source of {what} must not carry a name or password")
    plain = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if parts.scheme not in ("https", "git+https", "git+file") and not plain:
        raise TrustError(f"the source of {what} must be an https address")


def main() -> int:
    parser = argparse.ArgumentParser(prog="broker.trust.tuf_intake")
    parser.add_argument("--source", default="")
    parser.add_argument("--bootstrap", default="")
    parser.add_argument("--metadata", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--target", default=TARGET)
    parser.add_argument("--what", default=_ROOT)
    parser.add_argument("--most", type=int, default=MAX_ROOT)
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE, MAX_FILE))
    try:
        source, bootstrap = (args.source, b"") if args.source and args.bootstrap else own_source()
        if args.bootstrap:
            bootstrap = read_bounded(Path(args.bootstrap), MAX_BOOTSTRAP)
        fetch = partial(take_in, target=args.target, what=args.what, most=args.most)
        said: dict[str, object] = dict(fetch(args.source or source, bootstrap, args.metadata, args.out))
    except BulkheadError as error:
        said = {"problem": str(error), "hint": error.hint}
    except OSError as error:
        said = {"problem": f"{args.what} cannot be kept: {error.strerror}", "hint": "check free space"}
    sys.stdout.write(json.dumps(said) + "\n")
    return 1 if "problem" in said else 0


if __name__ == "__main__":
    sys.exit(main())
