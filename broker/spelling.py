"""One spelling for one JSON value: what is hashed must not depend on the order in which somebody wrote its keys."""

import json
from typing import Any

import orjson


def spelled(value: Any) -> bytes:
    """The same bytes for the same value, whatever the order of its keys; other bytes for any other.

    Raises:
        ValueError: it holds half a surrogate pair; no decoder of ours lets one in.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a number of more than 64 bits, or very deep
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
