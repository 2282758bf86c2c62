"""Commands that are imported when they run: what only one of them needs costs the others nothing."""

from argparse import Namespace
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TypeAlias

from broker.cli.context import Context

Command: TypeAlias = Callable[[Namespace, Context], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Later:
    """The command `name` of a module of this room."""

    module: str
    name: str

    @property
    def command(self) -> Command:
        found: Command = getattr(import_module(f"broker.cli.{self.module}"), self.name)
        return found

    async def __call__(self, args: Namespace, context: Context) -> int:
        return await self.command(args, context)


@dataclass(frozen=True, slots=True)
class Module:
    """A module of this room, as if it were imported: `Module("servers").add` is its command `add`."""

    name: str

    def __getattr__(self, command: str) -> Later:
        return Later(self.name, command)
