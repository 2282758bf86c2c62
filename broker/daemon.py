"""The composition root: builds every object once, starts them in order, stops them in the reverse order.

    python -I -m broker.daemon --home DIR [--ready-fd N] [--foreground] [--unsafe-no-presence]

The supervisor is forked before anything else exists, so that it stays a small process of one thread.
"""

import argparse
import asyncio
import logging
import os
import resource
import signal
import sys
import tempfile
from logging.handlers import RotatingFileHandler
from pathlib import Path

from broker.api.presence import Presence
from broker.config import Paths, make_folders
from broker.errors import BulkheadError, ConfigError
from broker.home import read_conf
from broker.sandbox.kernel import hide_memory
from broker.sandbox.supervisor import Supervisor

LOG_BYTES = 1 << 20
OTHER_SECONDS = 18.0  # for a daemon that stops, whose own bound is 15; a shim waits 20 for this one
OTHER_STEP = 0.05
_log = logging.getLogger("broker")


def main(argv: list[str] | None = None) -> int:
    """Run a daemon until it is told to stop."""
    parser = argparse.ArgumentParser(prog="broker.daemon")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--ready-fd", type=int, default=-1)
    parser.add_argument("--foreground", action="store_true")
    parser.add_argument("--unsafe-no-presence", action="store_true")
    args = parser.parse_args(argv)
    if args.ready_fd >= 0:
        os.set_inheritable(args.ready_fd, False)
    os.umask(0o077)
    ready = _Ready(args.ready_fd, args.foreground)
    try:
        paths = read_conf(args.home)
        make_folders(paths)
        presence = _presence(paths, args.unsafe_no_presence)
        supervisor = Supervisor.start()
        _hide()
        _open_log(paths, args.foreground)
        _raise_descriptor_limit()
        asyncio.run(_run(paths, presence, supervisor, ready))
    except BulkheadError as error:
        ready.refuse(error)
        return 3
    except OSError as cause:
        what = f"{cause.filename or args.home} cannot be used: {cause.strerror}"
        ready.refuse(ConfigError(what, hint=f"look at the permissions and the free space of {args.home}"))
        return 3
    return 0


class _Ready:
    """Tells whoever started us, once, that we are ready or why we are not."""

    def __init__(self, descriptor: int, foreground: bool) -> None:
        self._descriptor = descriptor
        self._foreground = foreground

    @property
    def is_unheard(self) -> bool:
        """Nobody waits for a word."""
        return self._descriptor < 0

    def say(self) -> None:
        self._write("ready\n")
        if self._foreground:
            sys.stderr.write("the daemon is ready; stop it with Ctrl-C\n")

    def refuse(self, error: BulkheadError) -> None:
        self._write(f"no {error}\t{error.hint}".replace("\n", " ") + "\n")
        _log.error("refused to start: %s", error)
        if self._foreground:
            sys.stderr.write(f"bulkhead: {error}\n" + (f"try: {error.hint}\n" if error.hint else ""))

    def _write(self, text: str) -> None:
        if self._descriptor < 0:
            return
        try:
            os.write(self._descriptor, text.encode())
        except OSError:
            pass  # whoever started us is gone; being ready does not depend on them
        os.close(self._descriptor)
        self._descriptor = -1


async def _run(paths: Paths, presence: Presence, supervisor: Supervisor, ready: _Ready) -> None:
    from broker.api.sockets import AlreadyRunning, is_answered, take_lock  # after the fork: the supervisor stays small
    from broker.housekeeping import keep_house

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    deadline = loop.time() + OTHER_SECONDS
    while True:
        try:
            take_lock(paths.state / "daemon.lock")
            break
        except AlreadyRunning:
            if ready.is_unheard or loop.time() > deadline:
                raise
            if is_answered(paths.connect_socket):
                ready.say()  # two shims started a daemon at once; the other one's is as good
                return
        await asyncio.sleep(OTHER_STEP)  # the other one is on its way up, or down and then this one is wanted
    await keep_house(paths, presence, supervisor, stop, ready.say)


def _presence(paths: Paths, unsafe: bool) -> Presence:
    """How far a person is asked for in this home."""
    if unsafe:
        if not paths.explicit:
            raise ConfigError(
                "--unsafe-no-presence is refused for a real home", hint="name a home of its own: BULKHEAD_HOME=DIR"
            )
        return "unsafe-no-presence"
    in_temporary = Path(tempfile.gettempdir()).resolve() in paths.home.resolve().parents
    return "throw-away home" if paths.explicit and in_temporary and paths.throwaway_mark.exists() else "required"


def _open_log(paths: Paths, foreground: bool) -> None:
    """Our own log: events of the daemon, never messages of the protocol."""
    handler: logging.Handler
    if foreground:
        handler = logging.StreamHandler(sys.stderr)
    else:
        handler = RotatingFileHandler(paths.log, maxBytes=LOG_BYTES, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in ("httpx2", "httpcore2"):  # they would write down whole addresses, and what stands in them
        logging.getLogger(library).setLevel(logging.WARNING)


def _hide() -> None:
    """From here on there are keys in this process.  The supervisor, forked before, has none, and hides by itself."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        hide_memory()


def _raise_descriptor_limit() -> None:
    """Every link needs a handful of descriptors; the soft limit of many desktops is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
