"""Git addresses in launch lines: which repository, which ref, which folder of it.

Only https without a name and password, and only words that git cannot read as an option or as another way to connect.
"""

import re
from dataclasses import dataclass
from typing import Final

from broker.errors import LaunchLineError

MAX_ADDRESS = 512
COMMIT = re.compile(r"[0-9a-f]{40}")
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(?::[0-9]{1,5})?"
_SEGMENT = r"[A-Za-z0-9_~][A-Za-z0-9_.~-]*"
_URL = re.compile(rf"https://{_HOST}(?:/{_SEGMENT})+")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*(?:/[A-Za-z0-9_][A-Za-z0-9_. -]*)*")
_PREFIX: Final = "git+"
_GITHUB: Final = "github:"
_HINT: Final = "use git+https://HOST/OWNER/REPO@REF with uvx, or github:OWNER/REPO#REF with npx"


@dataclass(frozen=True, slots=True)
class GitAddress:
    """A repository, and what of it is wanted.  `ref` is empty for what the repository itself calls its HEAD."""

    url: str
    ref: str = ""
    folder: str = ""

    @property
    def is_exact(self) -> bool:
        return COMMIT.fullmatch(self.ref) is not None


def is_git(word: str) -> bool:
    """Whether a word means a repository and not a package of a registry."""
    return word.startswith((_PREFIX, _GITHUB))


def npm_address(word: str) -> GitAddress:
    """`github:OWNER/REPO[#REF]` or `git+https://HOST/OWNER/REPO[#REF]`, as npm reads them.

    Raises:
        LaunchLineError: it is neither, or asks for a range of versions.
    """
    bare, _, ref = word.partition("#")
    if bare.startswith(_GITHUB):
        owner_and_name = bare.removeprefix(_GITHUB)
        if owner_and_name.count("/") != 1:
            raise LaunchLineError(f"{word!r} is not github:OWNER/REPO", hint=_HINT)
        url = f"https://github.com/{owner_and_name.removesuffix('.git')}.git"
    else:
        url = bare.removeprefix(_PREFIX)
    return _address(word, url, ref, "#" in word)


def python_address(word: str) -> GitAddress:
    """`git+https://HOST/OWNER/REPO[@REF][#subdirectory=FOLDER]`, as uv reads it.

    Raises:
        LaunchLineError: it is something else.
    """
    bare, mark, rest = word.partition("#")
    folder = ""
    if mark:
        name, _, folder = rest.partition("=")
        if name != "subdirectory" or not _FOLDER.fullmatch(folder) or ".." in folder.split("/"):
            raise LaunchLineError(f"{rest!r} in {word!r} is not understood", hint="use #subdirectory=FOLDER")
    url, at, ref = bare.removeprefix(_PREFIX).partition("@")
    return _address(word, url, ref, bool(at), folder)


def _address(word: str, url: str, ref: str, asked: bool, folder: str = "") -> GitAddress:
    if len(word) > MAX_ADDRESS or not _URL.fullmatch(url):
        shown = f"{word.partition('//')[0]}//..." if "@" in word else word[:MAX_ADDRESS]  # no password in an error
        raise LaunchLineError(f"{shown!r} is not the https address of a git repository", hint=_HINT)
    unsafe = ".." in ref or any(part.endswith((".lock", ".")) for part in ref.split("/"))
    if asked and (not _REF.fullmatch(ref) or unsafe):
        raise LaunchLineError(
            f"{ref!r} in {word!r} is not the name of a branch or tag, and no commit",
            hint="name a branch, a tag, or a commit with all its 40 digits",
        )
    return GitAddress(url, ref, folder)
