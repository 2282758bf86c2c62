"""Tools that get packages, each run in a box of its own: npm, uv, pip and git see no home and reach only registries.

Here the two rooms meet that know nothing of each other: trust says what a tool needs, the sandbox gives that and no
more.  A program of the user's that is only asked about itself or its settings runs as it is, and reaches nothing we
were told by somebody else.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker.errors import MachineError, SandboxError, TrustError
from broker.model import Fact, Origin, ServerName
from broker.sandbox.launcher import Launcher
from broker.sandbox.plan import OF_THE_NETWORK, plan_tool
from broker.sandbox.tool import run_tool
from broker.trust.run import CERTIFICATES, PROXIES, Command, Finished, host_and_port, run_command

_SHOWN_ANYWAY: Final = tuple(map(Path, ("/etc/ssl/certs", "/etc/pki", "/etc/ca-certificates")))
_SYSTEM_PATH: Final = "/usr/bin:/bin"


@dataclass(slots=True)
class Box:
    """The `Run` for getting one server's packages.  `tier` says which box it was, once a tool ran in one."""

    server: ServerName
    launcher: Launcher
    record: Callable[[Origin, Fact], object]
    tier: str = field(default="", init=False)

    async def __call__(self, command: Command) -> Finished:
        """Run it in a box; recorded before it starts.

        Raises:
            MachineError: no box can be built on this machine, so nothing is fetched.
            TrustError: the tool could not be run, took too long, or said too much.
        """
        if command.asks:
            return await run_command(command)
        name = command.name
        tier = self.launcher.tier.require()
        env = {**command.env, "PATH": f"{command.env.get('PATH', '')}:{_SYSTEM_PATH}".strip(":")}
        proxies = _proxies(command) if command.hosts else ()
        if command.hosts and (tier.name == "B" or (tier.name.startswith("A'") and proxies)):
            raise MachineError(
                f"{name} would have no way to a registry: {tier.reason}",
                hint="bulkhead doctor says what this machine lacks for a sandbox with a network",
            )
        if tier.name.startswith("A'"):
            env |= OF_THE_NETWORK
        origin = Origin(server=self.server, tier=tier.name)

        def record(fact: Fact) -> None:
            self.record(origin, fact)

        try:
            spec = await asyncio.to_thread(
                plan_tool,
                name,
                command.argv,
                env=env,
                cwd=command.cwd,
                work=command.work,
                reads=(*command.reads, *_certificates(command)),
                hosts=(*command.hosts, *proxies),
                home=Path.home(),
                realpath=Path.resolve,
            )
            body = {"argv": list(command.argv), "hosts": list(spec.hosts)}
            record(Fact("launch", "broker", "tool", name, body=body))
            self.tier = tier.name
            ended = await run_tool(self.launcher, spec, record, work=command.work, seconds=command.timeout,
                                   limit=command.limit)  # fmt: skip
        except SandboxError as cause:
            raise TrustError(str(cause), hint=cause.hint) from cause
        return Finished(ended.code, ended.stdout, ended.stderr)


def _proxies(command: Command) -> tuple[str, ...]:
    """The user's own proxies are the way to every registry, where there are any."""
    named = {host_and_port(url) for variable in PROXIES if (url := command.env.get(variable))}
    return tuple(sorted(filter(None, named)))


def _certificates(command: Command) -> tuple[Path, ...]:
    paths = [Path(command.env[name]) for name in sorted(CERTIFICATES & command.env.keys()) if command.env[name]]
    return tuple(path for path in paths if path.is_absolute() and path.exists() and not _shown(path))


def _shown(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _SHOWN_ANYWAY)
