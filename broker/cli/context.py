"""What every command is given: the home, the caller's environment, and a way to the desk."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from broker.api.client import DeskClient
from broker.cli.start import ensure
from broker.config import Paths

DONE = 0
NO = 1
USAGE = 2
UNREACHABLE = 3
CANNOT_ENFORCE = 4


@dataclass(frozen=True, slots=True)
class Context:
    """One invocation."""

    paths: Paths
    environment: Mapping[str, str]

    @asynccontextmanager
    async def desk(self, *, start: bool = True) -> AsyncIterator[DeskClient]:
        """An open desk.  Starts the daemon unless told not to.

        Raises:
            DaemonUnreachable: there is none, or it refused to start.
        """
        if start:
            await ensure(self.paths, self.environment)
        async with DeskClient(self.paths.control_socket) as desk:
            yield desk
