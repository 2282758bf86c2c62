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
START_SECONDS = 20  # a cold start was seen to take under a second; a loaded laptop waking up may need many
REPLY_SECONDS = 10
CONFIG_LIMIT = 65536
REGULAR_KINDS = (0o010000, 0o140000)  # FIFO and socket: what the event loop of the daemon can read
FILE_KIND = 0o170000
SCM_RIGHTS = 1


class Refused(Exception):
    """The link cannot be opened; the text is for a person."""


def main(argv: list[str]) -> int:
    """Return the exit code: 0 the client ended the link, 1 it was refused or broke, 3 no daemon."""
    try:
        name, client, home = _arguments(argv)
        conf = _configuration(home)
        link = _connect(conf, home)
    except Refused as problem:
        _say(str(problem))
        return 3
    try:
        return _carry(link, name, client, _secret(conf, client))
    except Refused as problem:
        _say(str(problem))
        return 1
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
            raise Refused(f"unknown argument {word!r}\ntry: bulkhead connect NAME [--client CLIENT]")
    if not (name and client and home):
        raise Refused("a server's name, --client and --home are needed\ntry: bulkhead connect NAME")
    if "/" in client or "\0" in name + client:
        raise Refused("a client's name has no slash")
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
    for line in text.decode("utf-8", "surrogateescape").splitlines():
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
        raise Refused(f"{client!r} is not a registered client\ntry: bulkhead client add {client}") from None
    except OSError as problem:
        raise Refused(f"{path} cannot be read ({problem})\ntry: bulkhead client list") from None


def _connect(conf: dict[str, str], home: str) -> _socket.socket:
    for attempt in range(CONNECT_TRIES):
        link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            link.connect(conf["connect"])
            return link
        except OSError as problem:
            link.close()
            if attempt:
                raise Refused(
                    f"the daemon does not answer at {conf['connect']} ({problem})\ntry: bulkhead up --foreground"
                ) from None
        _start_daemon(conf, home)
    raise Refused("the daemon does not answer\ntry: bulkhead up --foreground")


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


def _carry(link: _socket.socket, name: str, client: str, secret: bytes) -> int:
    ours = None
    ends = (0, 1)
    if not all(_can_be_passed(number) for number in ends):
        ours, theirs = _socket.socketpair()
        ends = (theirs.fileno(), theirs.fileno())
    try:
        cwd = posix.getcwd()
    except OSError:
        cwd = ""
    fields = [b"bulkhead 1", name.encode(), client.encode(), secret, cwd.encode("utf-8", "surrogateescape")]
    hello = b"\0".join(field.replace(b"\n", b"") for field in fields) + b"\n"
    packed = b"".join(number.to_bytes(4, sys.byteorder) for number in ends)
    link.sendmsg([hello], [(_socket.SOL_SOCKET, SCM_RIGHTS, packed)])
    link.settimeout(REPLY_SECONDS)
    reply = _socket_line(link)
    link.settimeout(None)
    if not reply.startswith(b"ok"):
        said = reply[3:] if reply.startswith(b"no ") else b"the daemon closed the connection\tbulkhead status"
        raise Refused(said.decode("utf-8", "replace").replace("\t", "\ntry: "))
    if ours is not None:
        theirs.close()
        _copy(ours, link)
    posix.close(0)
    posix.close(1)
    ending = _socket_line(link)
    if ending.startswith(b"end 0"):
        return 0
    said = ending[6:] if ending.startswith(b"end ") else b"the daemon ended\tbulkhead status"
    raise Refused(said.decode("utf-8", "replace").replace("\t", "\ntry: "))


def _copy(ours: _socket.socket, link: _socket.socket) -> None:
    """A terminal or a file cannot be handed over: one process a direction, so that neither waits for the other."""
    descriptor = ours.fileno()
    if posix.fork():
        posix.close(0)
        _pump(descriptor, 1)
        return
    link.close()
    posix.close(1)
    try:
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
    return posix.fstat(descriptor).st_mode & FILE_KIND in REGULAR_KINDS


def _socket_line(link: _socket.socket) -> bytes:
    said = b""
    while b"\n" not in said and len(said) < 8192:
        try:
            piece = link.recv(4096)
        except OSError:
            piece = b""
        if not piece:
            break
        said += piece
    return said.split(b"\n")[0]


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
