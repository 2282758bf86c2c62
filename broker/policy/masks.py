"""What a `mask` rule blots out of a result before the client gets it, or of arguments before the server does.

Without such a rule nothing is changed.

Words, fields by their names, and kinds of values with a fixed form; no expressions of the user's, since these would run
over whatever a server sends.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

Part: TypeAlias = Literal["result", "arguments"]

MASKED: Final[dict[Part, tuple[str, ...]]] = {
    "result": ("result", "error"), "arguments": ("arguments", "inputResponses")
}  # fmt: skip
"""Which members of an answer, or of a call's params, a mask looks into."""
BLOT: Final = "[masked]"
MAX_DEPTH: Final = 64
KINDS: Final = MappingProxyType({
    "mail": re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"),
    "card": re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)"),
    "iban": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
    "phone": re.compile(r"(?<![\w+])\+\d{1,3}[ .\-]?(?:\(?\d{1,4}\)?[ .\-]?){2,5}\d{2,4}(?!\w)"),
    "ip": re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mask:
    """What to blot out: these words wherever they stand, values of these kinds, and what stands in these fields.

    Of what comes back, or of what is sent.
    """

    words: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    of: Part = "result"


class Masker:
    """Several masks as one, made once for a policy."""

    def __init__(self, masks: Iterable[Mask]) -> None:
        of = tuple(masks)
        words = sorted({word for mask in of for word in mask.words}, key=len, reverse=True)
        self._fields = frozenset(name.lower() for mask in of for name in mask.fields)
        self._patterns = [KINDS[kind] for kind in dict.fromkeys(kind for mask in of for kind in mask.kinds)]
        if words:
            self._patterns.insert(0, re.compile("|".join(map(re.escape, words)), re.IGNORECASE))

    def applied(self, value: Any) -> tuple[Any, int]:
        """The value with everything blotted out, and how many places that were.  The value given is not changed."""
        count = [0]
        return self._value(value, count, 0), count[0]

    def _value(self, value: Any, count: list[int], depth: int) -> Any:
        if depth > MAX_DEPTH:
            count[0] += 1
            return BLOT
        if isinstance(value, str):
            return self._text(value, count, depth)
        if isinstance(value, dict):
            return {key: self._field(key, item, count, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, count, depth + 1) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._number(value, count)
        return value

    def _field(self, key: str, item: Any, count: list[int], depth: int) -> Any:
        if key.lower() in self._fields and item not in (None, ""):
            count[0] += 1
            return BLOT
        return self._value(item, count, depth)

    def _number(self, value: float, count: list[int]) -> Any:
        text = str(value)
        return BLOT if self._blotted(text, count) != text else value

    def _text(self, text: str, count: list[int], depth: int) -> str:
        """Many servers put JSON into a text: there fields are masked as in any other JSON."""
        if self._fields and text.lstrip()[:1] in ("{", "["):
            try:
                inner = json.loads(text)
            except (ValueError, RecursionError):
                return self._blotted(text, count)
            before = count[0]
            masked = self._value(inner, count, depth + 1)
            return text if count[0] == before else json.dumps(masked, ensure_ascii=False)
        return self._blotted(text, count)

    def _blotted(self, text: str, count: list[int]) -> str:
        for pattern in self._patterns:
            text, found = pattern.subn(BLOT, text)
            count[0] += found
        return text
