"""`service install|uninstall|status`: the daemon comes up with the user's session."""

import asyncio
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.cli import output
from broker.cli.context import DONE, NO, Context
from broker.cli.start import daemon_argv, daemon_environment
from broker.errors import MachineError
from broker.files import read_bounded
from broker.home import write_conf
from broker.service import LABEL, UNIT, agent_path, launchd_agent, systemd_unit, unit_path

ASK_SECONDS = 60.0
WITHOUT = "without a service a client's first connection starts the daemon"


@dataclass(frozen=True, slots=True)
class Manager:
    """What starts services here: its file, and the commands that make it take the file up, put it down, or tell."""

    name: str
    file: Path
    content: bytes
    start: Sequence[Sequence[str]]
    stop: Sequence[Sequence[str]]
    forget: Sequence[Sequence[str]]
    is_active: Sequence[str]


async def service(args: Namespace, context: Context) -> int:
    """Install, remove or show the service."""
    manager = _manager(context, sys.platform)
    return await {"install": _install, "uninstall": _uninstall, "status": _status}[args.action](args, context, manager)


async def _install(args: Namespace, context: Context, manager: Manager) -> int:
    _need(manager)
    write_conf(context.paths, context.environment)
    await asyncio.to_thread(_write, manager)
    for command in manager.start:
        await asyncio.to_thread(_run, command, f"{manager.file} stays; take it back with: bulkhead service uninstall")
    return await _status(args, context, manager)


async def _uninstall(_args: Namespace, _context: Context, manager: Manager) -> int:
    if not manager.file.exists():
        output.show("no service is installed")
        return DONE
    _need(manager)
    for command in manager.stop:
        await asyncio.to_thread(_run, command, "")
    manager.file.unlink(missing_ok=True)
    for command in manager.forget:
        await asyncio.to_thread(_run, command, "")
    output.show(f"removed {manager.file}; {WITHOUT}")
    return DONE


async def _status(args: Namespace, _context: Context, manager: Manager) -> int:
    installed = manager.file.exists()
    current = installed and read_bounded(manager.file) == manager.content
    active = installed and await asyncio.to_thread(_is_active, manager)
    if args.json:
        output.show_json({"manager": manager.name, "file": str(manager.file), "installed": installed,
                          "current": current, "active": active})  # fmt: skip
    else:
        output.show(f"{manager.name}: {manager.file} is {'installed' if installed else 'not installed'}, "
                    f"{'running' if active else 'not running'}")  # fmt: skip
        if installed and not current:
            output.show("it was written by another version, or changed; write it anew with: bulkhead service install")
        if not installed:
            output.show(WITHOUT)
    return DONE if active and current else NO


def _manager(context: Context, platform: str) -> Manager:
    home = Path(context.environment.get("HOME") or Path.home())
    argv = daemon_argv(context.paths, "--foreground")
    environment = daemon_environment(context.environment)
    if platform == "darwin":
        file, domain = agent_path(home), f"gui/{os.getuid()}"
        return Manager(
            "launchd",
            file,
            launchd_agent(argv, environment, context.paths.log),
            start=(["launchctl", "bootstrap", domain, str(file)],),
            stop=(["launchctl", "bootout", f"{domain}/{LABEL}"],),
            forget=(),
            is_active=["launchctl", "print", f"{domain}/{LABEL}"],
        )
    environment.pop("DBUS_SESSION_BUS_ADDRESS", None)  # the user manager knows the bus of the session it serves
    reload = ["systemctl", "--user", "daemon-reload"]
    return Manager(
        "systemd",
        unit_path(home, context.environment),
        systemd_unit(argv, environment).encode(),
        start=(reload, ["systemctl", "--user", "enable", "--now", UNIT]),
        stop=(["systemctl", "--user", "disable", "--now", UNIT],),
        forget=(reload,),
        is_active=["systemctl", "--user", "is-active", "--quiet", UNIT],
    )


def _need(manager: Manager) -> None:
    program = manager.is_active[0]
    if shutil.which(program) is None:
        raise MachineError(f"this system has no {program}, so nothing starts services for you", hint=WITHOUT)


def _write(manager: Manager) -> None:
    """Put the file in its place, whole."""
    try:
        manager.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = manager.file.with_name(f".{manager.file.name}.new")
        temporary.write_bytes(manager.content)
        temporary.chmod(0o600)
        temporary.replace(manager.file)
    except OSError as cause:
        raise MachineError(f"{manager.file} cannot be written: {cause.strerror}", hint="look at its folder") from cause


def _run(command: Sequence[str], hint: str) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise MachineError(f"`{' '.join(command)}` did not end", hint=hint or WITHOUT) from cause
    if done.returncode:
        said = output.line(done.stderr.decode("utf-8", "replace").strip(), 300)
        raise MachineError(f"`{' '.join(command)}` failed: {said or 'it gave no reason'}", hint=hint or WITHOUT)


def _is_active(manager: Manager) -> bool:
    try:
        done = subprocess.run(
            manager.is_active,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
