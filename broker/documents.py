"""The documents a person agreed to, as names and text: what may be a name, and what a document may say.

A name becomes a file name, so nothing that could be read as a path or an option is one; an unknown key is refused.
"""

import re
import tomllib
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from broker.errors import ConfigError

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

Document = TypeVar("Document", bound=BaseModel)


def check_name(name: str) -> None:
    """Refuse a name that could be read as a path or an option.

    Raises:
        ConfigError: it is not letters, digits, `_`, `.`, `-`, at most 64, starting with a letter or digit.
    """
    if NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{name[:80]!r} cannot be a name",
            hint="use up to 64 letters, digits, '_', '.' and '-', beginning with a letter or digit",
        )


def parse(kind: type[Document], data: bytes | None, what: str) -> Document:
    """Read a document.

    Raises:
        ConfigError: there is none, or it is wrong, and where.
    """
    if data is None:
        raise ConfigError(f"there is no {what}", hint="bulkhead servers; bulkhead client list")
    try:
        return kind.model_validate(tomllib.loads(data.decode()))
    except ValidationError as cause:
        problem = cause.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(f"the document of {what} is wrong at {where}: {problem['msg']}") from cause
    except (ValueError, RecursionError) as cause:
        raise ConfigError(f"the document of {what} is not TOML: {str(cause)[:200]}") from cause


def stem(name: str) -> str:
    """The name a document is about."""
    return Path(name).name.removesuffix(".toml")
