"""A page that a server wants opened: what counts as an address, and how it comes out of the sandbox."""

import pytest

from broker.errors import SandboxError
from broker.sandbox.browsing import asks_for_pages, vetted
from tests.sandbox.conftest import Yard


@pytest.mark.parametrize(
    "text",
    [
        "https://far.test/authorize?client_id=a&redirect_uri=http%3A%2F%2F127.0.0.1%3A8080%2Fback",
        "http://127.0.0.1:8080/",
    ],
)
def test_an_address_of_the_web_is_one(text: str) -> None:
    assert vetted(text)[0] == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "far.test",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "--version",
            "-h",
            "ftp://far.test/",
            "https://",
        ),
        *("https://far.test/a b", "https://far.test/\x07", "https://f\u00e4r.test/", "https://me:word@far.test/"),
        *(
            "https://far.test\\\\@other.test/",
            "https://far.test:99999/",
            f"https://far.test/{'a' * 2048}",
            "vscode://x/y",
        ),
    ],
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(SandboxError):
        vetted(text)


def test_only_what_reaches_something_may_ask() -> None:
    assert asks_for_pages(("far.test",), (), False, True) and asks_for_pages((), (8080,), False, True)
    assert not asks_for_pages((), (), False, True)
    assert not asks_for_pages(("far.test",), (), True, True) and not asks_for_pages(("far.test",), (), False, False)


@pytest.mark.sandbox
def test_an_address_comes_out_as_it_was_dropped_and_the_box_goes_with_the_server(yard: Yard) -> None:
    said = yard.ask({"scene": "a_page_is_asked_for_by_dropping_its_address"})["scene"]
    assert said == ["https://far.test/a?b=c d", False, False]
