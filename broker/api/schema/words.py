"""What every request and answer is made of."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

VERSION: Final = 1
MAX_WORDS: Final = 512  # of a launch line


class Words(BaseModel):
    """Base of everything said at the desk."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Nothing(Words):
    """No parameters, or nothing to say."""


class Name(Words):
    name: str


class Line(Words):
    """A launch line with its values, as a client's file has it."""

    argv: list[str] = Field(min_length=1, max_length=MAX_WORDS)
    env: dict[str, str] = Field(default={}, repr=False)


class Names(Words):
    names: list[str] = []
