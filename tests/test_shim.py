"""What a client launches: it hands over its streams, speaks on standard error, and believes nobody but its home."""

import contextlib
import json
import os
import pwd
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from broker.config import Paths, make_folders, paths_under
from broker.home import CONF, SHIM, write_conf

LIMIT: Final = 20.0  # seconds; a loaded machine of two cores starts a bare interpreter in a tenth of one
SECRET: Final = "5ec7e7" * 10
BIG: Final = bytes(range(256)) * 8192  # 2 MB


@pytest.fixture
def paths() -> Iterator[Paths]:
    """A registered home with one client, short enough for its sockets."""
    folder = Path(tempfile.mkdtemp(prefix="bh-")).resolve()
    made = paths_under(folder)
    make_folders(made)
    write_conf(made, {})
    (made.config / "clients").mkdir(mode=0o700)
    (made.config / "clients" / "cursor.secret").write_text(SECRET + "\n")
    yield made
    shutil.rmtree(folder)


def rewrite(paths: Paths, **facts: object) -> None:
    """Change lines of `home.conf`."""
    conf = dict(line.split("=", 1) for line in (paths.home / CONF).read_text().splitlines())
    conf |= {key: str(value) for key, value in facts.items()}
    (paths.home / CONF).write_text("".join(f"{key}={value}\n" for key, value in conf.items()))


def argv(paths: Paths, *words: str, shim: Path = SHIM) -> list[str]:
    return [sys.executable, "-I", "-S", "-E", str(shim), *(words or ("files", "--client", "cursor")),
            "--home", str(paths.home)]  # fmt: skip


@contextlib.contextmanager
def started(
    paths: Paths,
    *words: str,
    stdin: Any = subprocess.PIPE,
    stdout: Any = subprocess.PIPE,
    env: Mapping[str, str] | None = None,
    shim: Path = SHIM,
    **more: Any,
) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(
        argv(paths, *words, shim=shim), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=env, **more
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def result(process: "subprocess.Popen[bytes]") -> tuple[int, bytes, str]:
    """Exit code, standard output and standard error, once it has ended."""
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out or b"", err.decode()


@dataclass
class Guest:
    """A shim that said hello, and what it handed over."""

    connection: socket.socket
    hello: list[bytes]
    streams: list[int] = field(default_factory=list)

    def say(self, line: bytes) -> None:
        self.connection.sendall(line)

    def let_go(self) -> None:
        while self.streams:
            os.close(self.streams.pop())

    def close(self) -> None:
        self.let_go()
        self.connection.close()


class FakeDoor:
    """A daemon that only knows the first line of the conversation."""

    def __init__(self, path: Path, backlog: int = 16) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen(backlog)
        self.listener.settimeout(LIMIT)

    def let_in(self) -> Guest:
        connection, _ = self.listener.accept()
        connection.settimeout(LIMIT)
        data, streams, _, _ = socket.recv_fds(connection, 8192, 4)
        assert data.endswith(b"\n")
        return Guest(connection, data[:-1].split(b"\0"), streams)


@pytest.fixture
def door(paths: Paths) -> Iterator[FakeDoor]:
    made = FakeDoor(paths.connect_socket)
    yield made
    made.listener.close()


# --- the main way ---------------------------------------------------------------------------------------------------


def test_the_clients_own_pipes_are_handed_over_and_the_shim_is_out_of_the_way(paths: Paths, door: FakeDoor) -> None:
    with started(paths, cwd="/") as process:
        guest = door.let_in()
        assert guest.hello == [b"bulkhead 1", b"files", b"cursor", SECRET.encode(), b"/"]
        assert [stat.S_ISFIFO(os.fstat(stream).st_mode) for stream in guest.streams] == [True, True]
        guest.say(b"ok link-1\n")
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"from the client\n")
        process.stdin.flush()
        assert os.read(guest.streams[0], 100) == b"from the client\n"
        os.write(guest.streams[1], b"from the server\n")
        assert process.stdout.readline() == b"from the server\n"
        guest.let_go()
        assert process.stdout.read() == b""  # the shim holds nothing open
        guest.say(b"end 0 \n")
        assert result(process) == (0, b"", "")
        guest.close()


def test_a_link_that_ends_as_soon_as_it_began_is_a_good_end(paths: Paths, door: FakeDoor) -> None:
    """Both lines may come at once."""
    with started(paths) as process:
        guest = door.let_in()
        guest.say(b"ok link-1\nend 0 \n")
        guest.close()
        assert result(process) == (0, b"", "")


def test_a_refusal_is_told_with_what_to_do_and_never_on_standard_output(paths: Paths, door: FakeDoor) -> None:
    with started(paths) as process:
        guest = door.let_in()
        guest.say(b"no files is switched off\tbulkhead enable files\n")
        guest.close()
        assert result(process) == (1, b"", "bulkhead: files is switched off\ntry: bulkhead enable files\n")


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (b"end 1 the daemon stops\n", "bulkhead: the daemon stops\n"),
        (b"", "bulkhead: the daemon ended\ntry: bulkhead status\n"),
        (b"en", "bulkhead: the daemon ended\ntry: bulkhead status\n"),
    ],
)
def test_a_link_that_breaks_says_why(paths: Paths, door: FakeDoor, last: bytes, said: str) -> None:
    with started(paths) as process:
        guest = door.let_in()
        guest.say(b"ok link-1\n" + last)
        guest.close()
        assert result(process) == (1, b"", said)


def test_a_daemon_that_hangs_up_without_a_word_is_told(paths: Paths, door: FakeDoor) -> None:
    with started(paths) as process:
        door.let_in().close()
        code, out, said = result(process)
    assert (code, out) == (1, b"")
    assert said == "bulkhead: the daemon closed the connection\ntry: bulkhead status\n"


def test_a_folder_whose_name_holds_a_line_break_cannot_add_a_line(paths: Paths, door: FakeDoor, tmp_path: Path) -> None:
    odd = tmp_path / "a\nbulkhead 1"
    odd.mkdir()
    with started(paths, cwd=odd) as process:
        guest = door.let_in()
        assert guest.hello[4] == os.fsencode(odd).replace(b"\n", b"")
        guest.say(b"ok\nend 0\n")
        guest.close()
        assert result(process)[0] == 0


# --- terminals and files --------------------------------------------------------------------------------------------


def swap(stream: int, send: bytes, expect: int) -> bytes:
    """Write and read at once, as a relay does; neither waits for the other."""
    os.set_blocking(stream, False)
    rest, taken, more = memoryview(send), b"", True
    deadline = time.monotonic() + LIMIT
    while rest or (more and len(taken) < expect):
        assert time.monotonic() < deadline, (len(rest), len(taken))
        readable, writable, _ = select.select([stream] if more else [], [stream] if rest else [], [], 1)
        if readable:
            piece = os.read(stream, 65536)
            taken += piece
            more = bool(piece)  # the other side has said all it had; what we have to say goes on
        if writable:
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(stream, rest) :]
    return taken


def test_files_are_copied_both_ways_at_once_and_whole(paths: Paths, door: FakeDoor, tmp_path: Path) -> None:
    source, sink = tmp_path / "requests", tmp_path / "answers"
    source.write_bytes(BIG)
    with source.open("rb") as stdin, sink.open("wb") as stdout, started(paths, stdin=stdin, stdout=stdout) as process:
        guest = door.let_in()
        assert [stat.S_ISSOCK(os.fstat(stream).st_mode) for stream in guest.streams] == [True, True]
        guest.say(b"ok link-1\n")
        heard = swap(guest.streams[0], BIG[::-1], len(BIG))
        assert heard == BIG
        assert os.read(guest.streams[0], 1) == b""  # the end of the file is the end of the client's words
        guest.let_go()
        guest.say(b"end 0 \n")
        assert result(process) == (0, b"", "")
        guest.close()
    assert sink.read_bytes() == BIG[::-1]


def test_a_file_in_and_a_pipe_out_are_copied_too(paths: Paths, door: FakeDoor, tmp_path: Path) -> None:
    source = tmp_path / "requests"
    source.write_bytes(b"one\n")
    with source.open("rb") as stdin, started(paths, stdin=stdin) as process:
        guest = door.let_in()
        guest.say(b"ok link-1\n")
        assert swap(guest.streams[0], b"answer\n", 4) == b"one\n"
        guest.let_go()
        guest.say(b"end 0 \n")
        assert result(process) == (0, b"answer\n", "")
        guest.close()


def children_of(group: int) -> list[int]:
    """Processes of this group that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def test_at_a_terminal_the_end_of_the_link_gives_the_terminal_back(paths: Paths, door: FakeDoor) -> None:
    """Nobody may be left that reads the person's next line."""
    person, terminal = os.openpty()
    with started(paths, stdin=terminal, stdout=terminal, start_new_session=True) as process:
        os.close(terminal)
        guest = door.let_in()
        guest.say(b"ok link-1\n")
        os.write(person, b"hello\n")
        assert swap(guest.streams[0], b"welcome\n", 6) == b"hello\n"
        guest.let_go()
        guest.say(b"end 1 you ended this session\n")
        code, _, said = result(process)
        assert (code, said) == (1, "bulkhead: you ended this session\n")
        assert children_of(process.pid) == []
        guest.close()
    assert b"welcome" in os.read(person, 1000)
    os.close(person)


def write_until_refused(stream: int) -> None:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        os.write(stream, b"x" * 4096)


def test_a_reader_that_left_ends_the_link(paths: Paths, door: FakeDoor, tmp_path: Path) -> None:
    source = tmp_path / "requests"
    source.write_bytes(b"one\n")
    with source.open("rb") as stdin, started(paths, stdin=stdin) as process:
        guest = door.let_in()
        guest.say(b"ok link-1\n")
        assert process.stdout is not None
        process.stdout.close()
        with pytest.raises(ConnectionError):
            write_until_refused(guest.streams[1])
        guest.say(b"end 0 \n")
        assert process.wait(LIMIT) == 0
        guest.close()


# --- whom it believes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_home_file_that_others_may_write_is_not_used(paths: Paths, door: FakeDoor, mode: int) -> None:
    (paths.home / CONF).chmod(mode)
    with started(paths) as process:
        code, out, said = result(process)
    assert (code, out) == (3, b"")
    assert said == f"bulkhead: {paths.home / CONF} may be written by others, so it is not used\n" + (
        f"try: chmod 600 {paths.home / CONF}\n"
    )


def test_a_home_that_is_none_is_named(tmp_path: Path) -> None:
    with started(paths_under(tmp_path)) as process:
        assert result(process) == (3, b"", f"bulkhead: there is no Bulkhead home at {tmp_path}\ntry: bulkhead up\n")


def test_a_home_file_without_what_is_needed_is_named(paths: Paths) -> None:
    rewrite(paths, connect="", python="")
    with started(paths) as process:
        code, _, said = result(process)
    assert (code, said) == (3, f"bulkhead: {paths.home / CONF} lacks connect, python\ntry: bulkhead up\n")


def test_what_only_looks_like_a_line_break_in_the_home_file_is_none(paths: Paths, door: FakeDoor) -> None:
    conf = (paths.home / CONF).read_bytes()
    (paths.home / CONF).write_bytes(conf + "note=x\u2028connect=/nowhere\x0cpython=/bin/false\n".encode())
    with started(paths) as process:
        guest = door.let_in()
        guest.say(b"ok\nend 0\n")
        guest.close()
        assert result(process)[0] == 0


def test_the_clients_environment_is_not_looked_at(paths: Paths, door: FakeDoor, tmp_path: Path) -> None:
    (tmp_path / "posix.py").write_text("raise SystemExit('hijacked')")
    (tmp_path / "sitecustomize.py").write_text("print('hijacked')")
    (tmp_path / "usercustomize.py").write_text("print('hijacked')")
    env = {
        "BULKHEAD_HOME": str(tmp_path), "PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere",
        "PYTHONSTARTUP": str(tmp_path / "sitecustomize.py"), "PYTHONINSPECT": "1", "PYTHONVERBOSE": "1",
        "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path),
    }  # fmt: skip
    with started(paths, env=env, cwd=tmp_path) as process:
        guest = door.let_in()
        assert guest.hello[3] == SECRET.encode()
        guest.say(b"ok link-1\nend 0 \n")
        guest.close()
        assert result(process) == (0, b"", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can let another user listen")
def test_another_users_socket_gets_no_secret_and_no_streams(paths: Paths) -> None:
    for folder in (paths.home, paths.runtime):
        folder.chmod(0o777)
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            trap = FakeDoor(paths.connect_socket)
            os.write(tell, b"1")
            connection, _ = trap.listener.accept()
            os.write(tell, b"got " + connection.recv(8192))
        finally:
            os._exit(0)
    os.close(tell)
    assert os.read(ready, 1) == b"1"
    with started(paths) as process:
        code, out, said = result(process)
    os.waitpid(child, 0)
    heard = os.read(ready, 8192)
    os.close(ready)
    assert (code, out) == (3, b"")
    assert "belongs to another user" in said
    assert heard == b"got "


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("files", "--client", "nobody"), 1, "try: bulkhead client add nobody\n"),
        (("files", "--client", "../cursor"), 2, "a client's name has no slash"),
        (("files",), 2, "--client and --home are needed"),
        (("--client", "cursor"), 2, "a server's name"),
        (("files", "--client", "cursor", "more"), 2, "unknown argument 'more'"),
        (("files", "--client", "cursor", "--loud"), 2, "unknown argument '--loud'"),
    ],
)
def test_a_wrong_line_says_what_is_wrong(
    paths: Paths, door: FakeDoor, words: tuple[str, ...], code: int, said: str
) -> None:
    done = subprocess.run(argv(paths, *words), stdin=subprocess.PIPE, capture_output=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stdout) == (code, b"")
    assert said in done.stderr.decode()
    assert SECRET not in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_without_streams_there_is_no_link(paths: Paths, door: FakeDoor, closed: str) -> None:
    """Else the next file that is opened would be taken for the client."""
    line = ["sh", "-c", f'exec "$@" {closed}', "sh", *argv(paths)]
    done = subprocess.run(line, stdin=subprocess.PIPE, capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 2
    assert "standard input and output must be open" in done.stderr.decode()


def test_a_damaged_secret_file_is_no_reason_to_hang(paths: Paths, door: FakeDoor) -> None:
    path = paths.config / "clients" / "cursor.secret"
    path.write_bytes(b"x" * 100_000)
    with started(paths) as process:
        code, out, said = result(process)
    assert out == b""
    assert code in (1, 3)
    assert "is larger than it can be" in said


# --- starting the daemon --------------------------------------------------------------------------------------------

FAKE_DAEMON: Final = """#!{python}
import json, os, socket, sys
home, tell = sys.argv[sys.argv.index("--home") + 1], int(sys.argv[sys.argv.index("--ready-fd") + 1])
said = {said!r}
fds = []
for name in os.listdir("/proc/self/fd"):
    try:
        fds.append([int(name), os.readlink("/proc/self/fd/" + name)])
    except OSError:
        pass
with open(home + "/seen", "w") as file:
    json.dump({{"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(), "fds": sorted(fds),
               "session": os.getsid(0) == os.getpid(), "tell": tell, "parent": os.getppid()}}, file)
if said == "ready":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind({connect!r})
    listener.listen()
    os.write(tell, b"ready\\n")
    os.close(tell)
    listener.settimeout(20)
    connection, _ = listener.accept()
    connection.recv(8192)
    connection.sendall(b"no this daemon is a fake\\ttry nothing\\n")
else:
    os.write(tell, said.encode())
"""


def fake_daemon(paths: Paths, said: str) -> None:
    program = paths.home / "daemon"
    program.write_text(FAKE_DAEMON.format(python=sys.executable, said=said, connect=str(paths.connect_socket)))
    program.chmod(0o700)
    rewrite(paths, python=program)


def test_a_daemon_that_does_not_run_is_started_with_the_passwd_entrys_environment(paths: Paths) -> None:
    fake_daemon(paths, "ready")
    rewrite(paths, **{"session-bus": "unix:path=/run/bus"})
    leak, other = os.pipe()
    os.set_inheritable(leak, True)
    hostile = {
        "HOME": "/evil",
        "PATH": "/evil",
        "LD_LIBRARY_PATH": "/evil",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/evil",
    }
    with started(paths, env=hostile, pass_fds=(leak,)) as process:
        assert result(process) == (1, b"", "bulkhead: this daemon is a fake\ntry: try nothing\n")
    for end in (leak, other):
        os.close(end)
    seen = json.loads((paths.home / "seen").read_text())
    me = pwd.getpwuid(os.getuid())
    assert seen["argv"] == ["-I", "-m", "broker.daemon", "--home", str(paths.home), "--ready-fd", str(seen["tell"])]
    assert {key: value for key, value in seen["env"].items() if key != "LC_CTYPE"} == {
        "HOME": me.pw_dir, "USER": me.pw_name, "LOGNAME": me.pw_name, "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/bus",
    }  # fmt: skip
    assert (seen["cwd"], seen["session"]) == ("/", False)  # a child of the session's leader: no terminal can reach it
    kept = {number: target for number, target in seen["fds"] if not target.startswith("/proc/")}
    assert {number: target for number, target in kept.items() if number != seen["tell"]} == dict.fromkeys(
        (0, 1, 2), "/dev/null"
    )


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no the keychain is locked\tunlock it\n", "bulkhead: the keychain is locked\ntry: unlock it\n"),
        ("", "bulkhead: the daemon could not be started\ntry: bulkhead up --foreground\n"),
        ("garbage\n", "bulkhead: the daemon could not be started\ntry: bulkhead up --foreground\n"),
    ],
)
def test_a_daemon_that_refuses_to_start_says_why_at_once(paths: Paths, said: str, told: str) -> None:
    fake_daemon(paths, said)
    with started(paths) as process:
        assert result(process) == (3, b"", told)


@pytest.mark.parametrize("python", ["/nonexistent/python", "/bin/false", "/"])
def test_a_daemon_that_cannot_start_is_found_out_within_a_second(paths: Paths, python: str) -> None:
    rewrite(paths, python=python)
    began = time.monotonic()
    with started(paths) as process:
        assert result(process) == (
            3, b"", "bulkhead: the daemon could not be started\ntry: bulkhead up --foreground\n"
        )  # fmt: skip
    assert time.monotonic() - began < 5  # a second, and what a loaded machine adds


def test_a_stale_socket_is_no_daemon(paths: Paths) -> None:
    FakeDoor(paths.connect_socket).listener.close()
    rewrite(paths, python="/bin/false")
    with started(paths) as process:
        assert result(process)[0] == 3


def test_a_daemon_that_says_ready_and_does_not_listen_is_told(paths: Paths) -> None:
    fake_daemon(paths, "ready\n")
    with started(paths) as process:
        code, out, said = result(process)
    assert (code, out) == (3, b"")
    assert f"the daemon does not answer at {paths.connect_socket}" in said


def test_a_daemon_that_never_accepts_is_given_up(paths: Paths, tmp_path: Path) -> None:
    """Its backlog is full; connecting would wait for ever."""
    hasty = tmp_path / "shim.py"
    text = SHIM.read_text()
    hasty.write_text(text.replace("CONNECT_SECONDS = 10", "CONNECT_SECONDS = 1", 1))
    assert hasty.read_text() != text
    rewrite(paths, python="/bin/false")
    door = FakeDoor(paths.connect_socket, backlog=0)
    waiting = []
    try:
        for _ in range(4):
            one = socket.socket(socket.AF_UNIX)
            one.setblocking(False)
            waiting.append(one)
            if one.connect_ex(str(paths.connect_socket)):
                break
        with started(paths, shim=hasty) as process:
            code, out, _ = result(process)
        assert (code, out) == (3, b"")
    finally:
        for one in waiting:
            one.close()
        door.listener.close()


def test_a_shim_that_is_killed_leaves_no_process(paths: Paths, door: FakeDoor) -> None:
    with started(paths, start_new_session=True) as process:
        guest = door.let_in()
        guest.say(b"ok link-1\n")
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT)
        with contextlib.suppress(ConnectionResetError):
            assert guest.connection.recv(10) == b""  # which is how the daemon knows
        assert children_of(process.pid) == []
        guest.close()
