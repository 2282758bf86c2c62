"""Pages for a person's browser: words of ours alone, no script, in no frame, loading nothing, naming nobody."""

import html
from typing import Final

from broker.endpoints.http_server import Head, Reply

SAFE: Final = (
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
)
CLOSE: Final = "You can close this tab."
_PAGE: Final = "<!doctype html><html lang=en><meta charset=utf-8><title>Bulkhead</title><body>{}</body></html>"
_NAVIGATION: Final = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def page(status: int, *paragraphs: str, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """A page of these sentences."""
    body = "".join(f"<p>{html.escape(one)}</p>" for one in paragraphs)
    return Reply(status, _PAGE.format(body).encode(), (*SAFE, *headers))


def is_navigation(head: Head) -> bool:
    """Whether a person's browser goes to this address: no script of a page, no frame, no image, nothing ahead of time.

    What sends no marks of a browser is none, and is a program that can ask for anything anyway.
    """
    if head.method != "GET" or head.all("origin") or head.all("sec-purpose") or head.all("purpose"):
        return False
    return all(head.all(name) in ([], [value]) for name, value in _NAVIGATION.items())
