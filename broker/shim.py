"""What a client launches in place of a server: hands its own stdin and stdout to the daemon, and waits.

Standard library only, and as little of it as possible: this starts once per server in every client, before anything
else happens.  Standard output belongs to the protocol, so everything for a person goes to standard error.

    PYTHON -I -S -E shim.py NAME --client CLIENT --home DIR

DIR holds `home.conf`, which only the installing user may have written; nothing is taken from the environment, so a
client cannot point us at another daemon.
"""

import _socket
import posix
import sys

CONNECT_TRIES = 2
CONNECT_SECONDS = 10  # a daemon with a full backlog is slow, one that never accepts is hung
START_SECONDS = 20  # a cold start was seen to take under a second; a loaded laptop waking up may need many
REPLY_SECONDS = 10
CONFIG_LIMIT = 65536
REGULAR_KINDS = (0o010000, 0o140000)  # FIFO and socket: what the event loop of the daemon can read
FILE_KIND = 0o170000
SCM_RIGHTS = 1
SIGKILL = 9


REFUSED, USAGE, NO_DAEMON = 1, 2, 3


class Refused(Exception):
    """The link cannot be opened; the text is for a person, `code` for whoever started us."""

    def __init__(self, text: str, code: int = NO_DAEMON) -> None:
        super().__init__(text)
        self.code = code


def main(argv: list[str]) -> int:
    """Return the exit code: 0 the client ended the link, 1 it was refused or broke, 2 wrong usage, 3 no daemon."""
    try:
        name, client, home = _arguments(argv)
        passable = _can_be_passed(0) and _can_be_passed(1)
        conf = _configuration(home)
        secret = _secret(conf, client)
        return _carry(_connect(conf, home), name, client, secret, passable)
    except Refused as problem:
        _say(str(problem))
        return problem.code
    except OSError as problem:
        _say(f"the daemon closed the connection ({problem})\ntry: bulkhead status")
        return 1


def _arguments(argv: list[str]) -> tuple[str, str, str]:
    name = client = home = ""
    words = list(argv)
    while words:
        word = words.pop(0)
        if word in ("--client", "--home") and words:
            if word == "--client":
                client = words.pop(0)
            else:
                home = words.pop(0)
        elif not name and not word.startswith("-"):
            name = word
        else:
            raise Refused(f"unknown argument {word!r}\ntry: bulkhead connect NAME [--client CLIENT]", USAGE)
    if not (name and client and home):
        raise Refused("a server's name, --client and --home are needed\ntry: bulkhead connect NAME", USAGE)
    if "/" in client:
        raise Refused("a client's name has no slash\ntry: bulkhead client list", USAGE)
    return name, client, home


def _configuration(home: str) -> dict[str, str]:
    path = home + "/home.conf"
    try:
        text = _read(path, CONFIG_LIMIT)
    except OSError:
        raise Refused(f"there is no Bulkhead home at {home}\ntry: bulkhead up") from None
    facts = posix.stat(path)
    if facts.st_uid != posix.getuid() or facts.st_mode & 0o022:
        raise Refused(f"{path} may be written by others, so it is not used\ntry: chmod 600 {path}")
    conf: dict[str, str] = {}
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        key, sign, value = line.partition("=")
        if sign:
            conf[key] = value
    missing = [key for key in ("connect", "clients", "python") if not conf.get(key)]
    if missing:
        raise Refused(f"{path} lacks {', '.join(missing)}\ntry: bulkhead up")
    return conf


def _secret(conf: dict[str, str], client: str) -> bytes:
    path = conf["clients"] + "/" + client + ".secret"
    try:
        return _read(path, CONFIG_LIMIT).strip()
    except FileNotFoundError:
        raise Refused(f"{client!r} is not a registered client\ntry: bulkhead client add {client}", REFUSED) from None
    except OSError as problem:
        raise Refused(f"{path} cannot be read ({problem})\ntry: bulkhead client list", REFUSED) from None


def _connect(conf: dict[str, str], home: str) -> _socket.socket:
    for attempt in range(CONNECT_TRIES):
        link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            link.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, _timeval(CONNECT_SECONDS))
            link.connect(conf["connect"])
            _require_ours(link, conf["connect"])
            return link
        except OSError as problem:
            link.close()
            if attempt:
                raise Refused(
                    f"the daemon does not answer at {conf['connect']} ({problem})\ntry: bulkhead up --foreground"
                ) from None
        _start_daemon(conf, home)
    raise Refused("the daemon does not answer\ntry: bulkhead up --foreground")


def _timeval(seconds: int) -> bytes:
    size = 8 if sys.maxsize > 1 << 32 else 4
    return seconds.to_bytes(size, sys.byteorder) + bytes(size)


def _require_ours(link: _socket.socket, path: str) -> None:
    """Whoever else listens under this name is told no secret, and gets nobody's standard streams."""
    credentials = link.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    if int.from_bytes(credentials[4:8], sys.byteorder) != posix.getuid():
        raise Refused(f"{path} belongs to another user, so it is not used\ntry: bulkhead status")


def _start_daemon(conf: dict[str, str], home: str) -> None:
    """Start it apart from this process and wait until it says that it is ready, or why it is not."""
    ready, tell = posix.pipe()
    child = posix.fork()
    if child == 0:
        try:
            posix.setsid()
            if posix.fork():
                posix._exit(0)
            posix.close(ready)
            posix.set_inheritable(tell, True)
            null = posix.open("/dev/null", posix.O_RDWR)
            for number in (0, 1, 2):
                posix.dup2(null, number)
            posix.closerange(3, tell)  # whatever else the client left open here would never see its end
            posix.closerange(tell + 1, posix.sysconf("SC_OPEN_MAX"))
            posix.chdir("/")
            argv = [conf["python"], "-I", "-m", "broker.daemon", "--home", home, "--ready-fd", str(tell)]
            posix.execve(argv[0], argv, _daemon_environment(conf))
        finally:
            posix._exit(127)
    posix.close(tell)
    posix.waitpid(child, 0)
    said = _first_line(ready, START_SECONDS)
    posix.close(ready)
    if said == b"ready":
        return
    if said.startswith(b"no "):
        raise Refused(said[3:].decode("utf-8", "replace").replace("\t", "\ntry: "))
    raise Refused("the daemon could not be started\ntry: bulkhead up --foreground")


def _daemon_environment(conf: dict[str, str]) -> dict[str, str]:
    """The daemon's environment comes from the passwd entry, never from the client that happens to start it."""
    import pwd  # only when a daemon has to be started

    entry = pwd.getpwuid(posix.getuid())
    environment = {
        "HOME": entry.pw_dir,
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
    }
    if conf.get("session-bus"):
        environment["DBUS_SESSION_BUS_ADDRESS"] = conf["session-bus"]
    return environment


def _first_line(descriptor: int, seconds: int) -> bytes:
    import select  # only when a daemon has to be started

    said = b""
    while b"\n" not in said and len(said) < 4096:
        if not select.select([descriptor], [], [], seconds)[0]:
            break
        piece = posix.read(descriptor, 4096)
        if not piece:
            break
        said += piece
    return said.split(b"\n")[0]


def _carry(link: _socket.socket, name: str, client: str, secret: bytes, passable: bool) -> int:
    ours = None
    ends = (0, 1)
    if not passable:
        ours, theirs = _socket.socketpair()
        ends = (theirs.fileno(), theirs.fileno())
    try:
        cwd = posix.getcwdb()
    except OSError:
        cwd = b""
    fields = [b"bulkhead 1", _bytes(name), _bytes(client), secret, cwd]
    hello = b"\0".join(field.replace(b"\n", b"") for field in fields) + b"\n"
    packed = b"".join(number.to_bytes(4, sys.byteorder) for number in ends)
    link.sendmsg([hello], [(_socket.SOL_SOCKET, SCM_RIGHTS, packed)])
    link.settimeout(REPLY_SECONDS)
    reply = _socket_line(link)
    link.settimeout(None)
    if not reply.startswith(b"ok"):
        raise _refusal(reply[3:] if reply.startswith(b"no ") else b"the daemon closed the connection\tbulkhead status")
    if ours is None:
        posix.close(0)
    else:
        theirs.close()
        _copy(ours, link)
    posix.close(1)
    ending = _socket_line(link)
    if ending.startswith(b"end 0"):
        return 0
    raise _refusal(ending[6:] if ending.startswith(b"end ") else b"the daemon ended\tbulkhead status")


def _refusal(said: bytes) -> Refused:
    return Refused(said.decode("utf-8", "replace").replace("\t", "\ntry: "), REFUSED)


def _bytes(word: str) -> bytes:
    return word.encode("utf-8", "surrogateescape")


def _copy(ours: _socket.socket, link: _socket.socket) -> None:
    """A terminal or a file cannot be handed over: one process a direction, so that neither waits for the other."""
    descriptor = ours.fileno()
    reader = posix.fork()
    if reader:
        posix.close(0)
        _pump(descriptor, 1)
        posix.kill(reader, SIGKILL)  # it may wait for a terminal's next line, which is the user's again
        posix.waitpid(reader, 0)
        ours.close()
        return
    try:
        link.close()
        posix.close(1)
        _pump(0, descriptor)
        ours.shutdown(_socket.SHUT_WR)
    finally:
        posix._exit(0)


def _pump(source: int, sink: int) -> None:
    try:
        while True:
            piece = posix.read(source, 262144)
            if not piece:
                return
            while piece:
                piece = piece[posix.write(sink, piece) :]
    except OSError:
        return


def _can_be_passed(descriptor: int) -> bool:
    try:
        return posix.fstat(descriptor).st_mode & FILE_KIND in REGULAR_KINDS
    except OSError:
        raise Refused("standard input and output must be open: a client talks through them", USAGE) from None


def _socket_line(link: _socket.socket) -> bytes:
    """One line and not a byte more: the daemon may have said the next one already."""
    said = b""
    while not said.endswith(b"\n") and len(said) < 8192:
        try:
            piece = link.recv(1)
        except OSError:
            piece = b""
        if not piece:
            break
        said += piece
    return said.rstrip(b"\n")


def _read(path: str, limit: int) -> bytes:
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        data = b""
        while len(data) <= limit:
            piece = posix.read(descriptor, limit + 1 - len(data))
            if not piece:
                return data
            data += piece
    finally:
        posix.close(descriptor)
    raise Refused(f"{path} is larger than it can be")


def _say(text: str) -> None:
    posix.write(2, ("bulkhead: " + text + "\n").encode("utf-8", "replace"))


if __name__ == "__main__":
    posix._exit(main(sys.argv[1:]))
