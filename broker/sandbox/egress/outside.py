"""The network as this machine reaches it: look a name up, connect to an address.

Lookups run in threads of their own: a server that asks for names which take long holds up nobody else's work.
"""

import asyncio
import socket
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from broker.sandbox.egress.way import Outside
from broker.sandbox.egress.wire import BUFFER, Stream

DIAL_LIMIT: Final = 10.0
LOOKUP_THREADS: Final = 32  # a sandbox keeps at most four of them busy


def real_outside(own_ports: Container[int] = frozenset()) -> Outside:
    """The real one.  `own_ports` are those Bulkhead itself listens at, at any moment."""
    threads = ThreadPoolExecutor(LOOKUP_THREADS, "names")

    async def resolve(name: str) -> tuple[str, ...]:
        return await asyncio.get_running_loop().run_in_executor(threads, _addresses, name)

    return Outside(resolve, dial, is_own, own_ports)


async def dial(address: str, port: int) -> Stream:
    async with asyncio.timeout(DIAL_LIMIT):
        return Stream(*await asyncio.open_connection(address, port, family=socket.AF_INET, limit=BUFFER))


def is_own(address: str) -> bool:
    """Whether it is an address of this machine: the kernel then answers from that very address.  Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect((address, 9))
        except OSError:  # no way leads there
            return False
        return bool(probe.getsockname()[0] == address)


def _addresses(name: str) -> tuple[str, ...]:
    found = socket.getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
