"""One answer of an inspected host on its way back: read strictly, searched, written anew.

What was asked for with a secret in it may come back with that secret in it; whoever asked must not get to know it.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from broker.sandbox.egress.head import MAX_FIELDS, Answer, HeadError, chunk_length, parse_answer
from broker.sandbox.egress.mask import Mask
from broker.sandbox.egress.wire import BUFFER, IDLE, Carried, Stream

INTERIM: Final = 8  # answers before the answer; one or two are usual
SWITCHING: Final = 101
WRITTEN_ANEW: Final = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "alt-svc"})
"""`Alt-Svc` would send the program to a door that is shut here."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Between whom, for which method, and what must not come back.  `searched`: a coded body cannot be carried."""

    client: Stream
    outside: Stream
    carried: Carried
    method: str
    mask: Mask
    searched: bool
    upgrade: bool = False

    async def head(self, limit: asyncio.Timeout) -> Answer:
        """The head of the answer, sent on; and those of what comes before it.

        Raises:
            HeadError: it cannot be read in exactly one way, or not be searched.
        """
        for _ in range(INTERIM):
            try:
                answer = parse_answer(await self.outside.reader.readuntil(b"\r\n\r\n"))
            except asyncio.LimitOverrunError as cause:
                raise HeadError("the answer's head is too long") from cause
            if answer.status == SWITCHING and not self.upgrade:
                raise HeadError("the answer changes the protocol, and nobody asked for that")
            length = answer.length(self.method)
            codings = {value.strip().lower() for value in answer.values("content-encoding")} - {b"identity", b""}
            if self.searched and codings and length != 0:
                raise HeadError("the answer is packed, so it cannot be searched for secrets")
            await self.client.send(self._written(answer, length))
            limit.reschedule(asyncio.get_running_loop().time() + IDLE)
            if answer.status >= 200 or answer.status == SWITCHING:
                return answer
        raise HeadError("there are too many answers before the answer")

    async def body(self, answer: Answer, limit: asyncio.Timeout) -> None:
        length = answer.length(self.method)
        if answer.status == SWITCHING or length == -1:
            while data := await self.outside.reader.read(BUFFER):
                await self._pass(self.mask.feed(data), len(data), limit)
            await self._pass(self.mask.finish(), 0, limit)
            self.client.end()
        elif length is None:
            await self._chunks(limit)
        else:
            await self._exactly(length, limit)
            await self._pass(self.mask.finish(), 0, limit)

    def _written(self, answer: Answer, length: int | None) -> bytes:
        lines = [b"HTTP/1.1 %d %s" % (answer.status, self.mask.whole(answer.reason))]
        lines += [
            name.encode("ascii") + b": " + self.mask.whole(value)
            for name, value in answer.fields
            if name not in WRITTEN_ANEW and not (name == "content-length" and length is None)
        ]
        if length is None:
            lines.append(b"Transfer-Encoding: chunked")
        if answer.status == SWITCHING:
            lines.append(b"Connection: Upgrade")
        elif answer.status >= 200:
            lines.append(b"Connection: close")
        return b"\r\n".join((*lines, b"", b""))

    async def _exactly(self, count: int, limit: asyncio.Timeout, *, chunked: bool = False) -> None:
        while count:
            data = await self.outside.reader.read(min(count, BUFFER))
            if not data:
                raise HeadError("the answer was cut short")
            count -= len(data)
            await self._pass(self.mask.feed(data), len(data), limit, chunked=chunked)

    async def _chunks(self, limit: asyncio.Timeout) -> None:
        read = self.outside.reader
        try:
            while length := chunk_length(await read.readuntil(b"\r\n")):
                await self._exactly(length, limit, chunked=True)
                if await read.readexactly(2) != b"\r\n":
                    raise HeadError("the answer is not in chunks")
            for _ in range(MAX_FIELDS):  # trailers are not carried on
                if await read.readuntil(b"\r\n") == b"\r\n":
                    break
            else:
                raise HeadError("the answer has too many fields")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as cause:
            raise HeadError("the answer was cut short") from cause
        await self._pass(self.mask.finish(), 0, limit, chunked=True)
        await self.client.send(b"0\r\n\r\n")

    async def _pass(self, data: bytes, came: int, limit: asyncio.Timeout, *, chunked: bool = False) -> None:
        self.carried.back += came
        if data:
            await self.client.send(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
        limit.reschedule(asyncio.get_running_loop().time() + IDLE)
