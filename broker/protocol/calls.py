"""What a message asks for, as policy sees it."""

import hashlib
from dataclasses import dataclass
from typing import Final

from broker.model import Call, ClientName, JsonObject, ServerName, SessionId, Side
from broker.protocol.envelope import meta_of
from broker.protocol.versions import RESERVED_META
from broker.spelling import spelled

CARRY_ARGUMENTS: Final = frozenset({"tools/call", "prompts/get"})
_NAMES: Final = {"tools/call": "name", "prompts/get": "name", "tasks/update": "taskId"}


@dataclass(frozen=True, slots=True)
class Names:
    """Whose conversation this is."""

    client: ClientName
    server: ServerName
    session: SessionId

    def call(self, origin: Side, method: str, target: str, params: JsonObject) -> Call:
        """The call a request makes.

        `arguments` is what the called thing receives: the `arguments` of a tool or prompt, else all params but
        what the protocol itself needs: the name a server gave a task is the target, and nothing is carried in it.
        """
        own = _NAMES.get(method)
        said = {name: value for name, value in params.items() if name not in ("_meta", own)}
        meta = {name: value for name, value in meta_of(params).items() if name not in RESERVED_META}
        said = {**said, "_meta": meta} if meta else said
        arguments, extra = (said.pop("arguments", {}), said) if method in CARRY_ARGUMENTS else (said, {})
        asked = digest(method, params)
        return Call(self.client, self.server, self.session, origin, method, target, arguments, asked, extra)


def digest(method: str, params: JsonObject) -> str:
    """SHA-256 (hex) of what is asked for; `_meta` (progress tokens, traces, identity) does not change it."""
    asked = {name: value for name, value in params.items() if name != "_meta"} if "_meta" in params else params
    return hashlib.sha256(spelled({"method": method, "params": asked})).hexdigest()
