"""A daemon says once that it is ready or why it is not, asks for a person as far as its home says, and ends closed."""

import asyncio
import json
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from broker.cli import start
from broker.config import Paths, make_folders, paths_under
from broker.consent import ConsentDesk
from broker.daemon import _presence, _Ready
from broker.errors import AuditError, ConfigError, DaemonUnreachable
from broker.home import CONF, write_conf
from broker.housekeeping import _until_stopped, _watch
from broker.model import ClientName, ServerName, SessionId
from broker.news import News
from tests.fakes.home import PROJECT, Home, throwaway_home
from tests.waiting import WITHIN, open_descriptors, turns, until

LIMIT: Final = 60.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def paths() -> Iterator[Paths]:
    with tempfile.TemporaryDirectory(prefix="bh-") as folder:
        made = paths_under(Path(folder).resolve())
        make_folders(made)
        write_conf(made, {})
        yield made


# --- its first word -------------------------------------------------------------------------------------------------


def said_by(act: Callable[[_Ready], None]) -> str:
    """Everything that whoever started it hears."""
    hear, tell = os.pipe()
    act(_Ready(tell, foreground=False))
    try:
        return os.read(hear, 10_000).decode() + os.read(hear, 10_000).decode()  # up to the end: it is closed after
    finally:
        os.close(hear)


def test_ready_is_one_word_and_said_once() -> None:
    unheard: list[bool] = []

    def twice(ready: _Ready) -> None:
        unheard.append(ready.is_unheard)
        ready.say()
        unheard.append(ready.is_unheard)
        ready.say()
        ready.refuse(ConfigError("too late"))

    assert said_by(twice) == "ready\n"
    assert unheard == [False, True]


def test_a_refusal_is_one_line_with_what_to_do() -> None:
    problem = ConfigError("the policy\nis wrong", hint="bulkhead policy check")
    assert said_by(lambda ready: ready.refuse(problem)) == "no the policy is wrong\tbulkhead policy check\n"


def test_being_ready_does_not_depend_on_whoever_asked() -> None:
    hear, tell = os.pipe()
    os.close(hear)
    before = open_descriptors()
    _Ready(tell, foreground=False).say()
    assert open_descriptors() == before - 1


def run_daemon(home: Path, *options: str) -> tuple[int, str, str]:
    """A real daemon that is expected to refuse: its exit code, its first line, its standard error."""
    hear, tell = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "broker.daemon", "--home", str(home), "--ready-fd", str(tell), *options],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            pass_fds=(tell,),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        os.close(tell)
        tell = -1
        return done.returncode, os.read(hear, 10_000).decode(), done.stderr
    finally:
        os.close(hear)
        if tell >= 0:
            os.close(tell)


def test_a_home_file_others_may_write_keeps_it_from_starting(paths: Paths) -> None:
    (paths.home / CONF).chmod(0o666)
    code, first, _ = run_daemon(paths.home)
    assert (code, first) == (3, f"no {paths.home / CONF} may be written by others\tchmod 600 {paths.home / CONF}\n")


def test_a_home_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_bytes(b"")
    code, first, _ = run_daemon(tmp_path / "home")
    assert code == 3
    assert first.startswith(f"no {tmp_path / 'home'}")


def test_no_presence_is_refused_where_nobody_named_the_home(paths: Paths) -> None:
    text = (paths.home / CONF).read_text()
    (paths.home / CONF).write_text(text.replace("explicit=1", "explicit=0"))
    code, first, _ = run_daemon(paths.home, "--unsafe-no-presence")
    assert code == 3
    assert first.startswith("no --unsafe-no-presence is refused for a real home\t")


def test_a_damaged_file_of_values_keeps_it_from_starting_by_name(paths: Paths) -> None:
    """What must be kept out of receipts is then not known."""
    (paths.config / "env").mkdir()
    (paths.config / "env" / "files.json").write_text("{")
    code, first, _ = run_daemon(paths.home)
    assert code == 3
    assert first.startswith(f"no {paths.config / 'env' / 'files.json'} holds no environment values\t")


# --- how far a person is asked for ----------------------------------------------------------------------------------


def test_a_person_is_needed_but_in_a_marked_throw_away_home_under_the_temporary_folder(paths: Paths) -> None:
    assert _presence(paths, unsafe=False) == "required"
    paths.throwaway_mark.write_bytes(b"")
    assert _presence(paths, unsafe=False) == "throw-away home"
    assert _presence(replace(paths, explicit=False), unsafe=False) == "required"
    assert _presence(paths, unsafe=True) == "unsafe-no-presence"


def test_a_mark_in_a_home_elsewhere_means_nothing(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.throwaway_mark.write_bytes(b"")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/tmp")
    assert _presence(paths, unsafe=False) == "required"


def test_a_link_in_the_temporary_folder_to_a_real_home_is_a_real_home(paths: Paths, tmp_path: Path) -> None:
    real = paths_under(Path("/usr/lib"))
    link = tmp_path / "home"
    link.symlink_to(real.home)
    assert _presence(replace(paths, home=link), unsafe=False) == "required"


# --- starting one ---------------------------------------------------------------------------------------------------

FAKE: Final = "import json, os, sys, time; fd = int(sys.argv[sys.argv.index('--ready-fd') + 1]); "


def fake_daemon(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    def argv(paths: Paths, *options: str) -> list[str]:
        return [sys.executable, "-c", FAKE + code, *options]

    monkeypatch.setattr(start, "daemon_argv", argv)


@pytest.mark.parametrize(
    ("code", "what", "hint"),
    [
        ("os.write(fd, b'no the keychain is locked\\tunlock it\\n')", "the keychain is locked", "unlock it"),
        ("os.write(fd, b'no reason to go on\\t\\n')", "reason to go on", "bulkhead up --foreground"),
        ("pass", "the daemon could not be started", "bulkhead up --foreground"),
        ("sys.exit('Traceback')", "the daemon could not be started", "bulkhead up --foreground"),
        ("time.sleep(60)", "the daemon did not say that it is ready in time", "bulkhead up --foreground"),
    ],
)
def test_a_daemon_that_does_not_come_up_is_told_in_its_own_words(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, code: str, what: str, hint: str
) -> None:
    monkeypatch.setattr(start, "START_SECONDS", 0.5 if "sleep" in code else LIMIT)
    fake_daemon(monkeypatch, code)
    before = open_descriptors()
    with pytest.raises(DaemonUnreachable) as refused:
        start.start(paths, {})
    assert (str(refused.value), refused.value.hint) == (what, hint)
    assert open_descriptors() == before


def test_a_daemon_gets_the_passwd_entrys_environment_and_the_persons_bus(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = paths.home / "seen"
    look = f"json.dump([dict(os.environ), os.getcwd(), os.getsid(0) == os.getpid()], open({str(seen)!r}, 'w')); "
    fake_daemon(monkeypatch, look + "os.write(fd, b'ready\\n')")
    mine = {
        "HOME": "/evil",
        "LD_PRELOAD": "/evil.so",
        "PYTHONPATH": "/evil",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/bus",
    }
    start.start(paths, mine, "--unsafe-no-presence")
    environment, cwd, leads = json.loads(seen.read_text())
    me = pwd.getpwuid(os.getuid())
    assert {name: value for name, value in environment.items() if name != "LC_CTYPE"} == {
        "HOME": me.pw_dir, "USER": me.pw_name, "LOGNAME": me.pw_name, "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/bus",
    }  # fmt: skip
    assert (cwd, leads) == ("/", True)


def test_a_home_that_cannot_be_registered_starts_nothing(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "write_conf", _refuse)
    with pytest.raises(ConfigError, match="No space left"):
        start.start(paths, {})


def _refuse(*_: object) -> None:
    raise ConfigError("home.conf cannot be written: No space left on device")


# --- a real one, without servers ------------------------------------------------------------------------------------


@pytest.fixture
def home() -> Iterator[Home]:
    with throwaway_home() as made:
        yield made


def test_a_daemon_comes_up_again_without_the_local_clients_secret(home: Home) -> None:
    assert home.bulkhead("up").returncode == 0
    secret = home.paths.config / "clients" / "local.secret"
    lost = secret.read_text()
    assert home.bulkhead("down").returncode == 0
    secret.unlink()
    up = home.bulkhead("up", "--json")
    assert up.returncode == 0, up.stderr
    assert json.loads(up.stdout)["presence"] == "throw-away home"
    assert secret.read_text() != lost


def test_a_daemon_told_to_stop_removes_its_sockets_and_says_so_in_its_receipts(home: Home) -> None:
    up = json.loads(home.bulkhead("up", "--json").stdout)
    os.kill(up["pid"], signal.SIGTERM)
    deadline = time.monotonic() + LIMIT
    while home.paths.connect_socket.exists() or Path(f"/proc/{up['pid']}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not home.paths.control_socket.exists()
    verified = home.bulkhead("audit", "verify", "--json")
    assert verified.returncode == 0
    report = json.loads(verified.stdout)
    assert report["ok"] is True
    assert report["receipts"] >= 2
    assert home.bulkhead("status").returncode == 3


# --- inside ---------------------------------------------------------------------------------------------------------


async def test_news_wake_everybody_once_and_many_changes_in_one_breath_are_one() -> None:
    news = News()
    woken: list[int] = []

    async def look(number: int) -> None:
        await news.wait(LIMIT)
        woken.append(number)

    watchers = [asyncio.ensure_future(look(number)) for number in range(3)]
    await turns()
    for _ in range(5):
        news.tell()
    async with asyncio.timeout(WITHIN):
        await asyncio.gather(*watchers)
    assert sorted(woken) == [0, 1, 2]
    assert news._waiting == set()


async def test_without_news_a_watcher_looks_again_after_a_while_and_one_that_leaves_is_forgotten() -> None:
    news = News()
    async with asyncio.timeout(WITHIN):
        await news.wait(0.01)
    watcher = asyncio.ensure_future(news.wait(LIMIT))
    await turns()
    watcher.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watcher
    assert news._waiting == set()
    news.tell()


async def test_questions_are_news_until_the_desk_closes_and_a_dropped_watcher_starts_again() -> None:
    consent = ConsentDesk(
        time.time, iter(f"q{number}" for number in range(10_000)).__next__, per_client=5000, in_all=5000
    )
    told = 0

    class Counting(News):
        def tell(self) -> None:
            nonlocal told
            told += 1

    watching = asyncio.ensure_future(_watch(consent, Counting()))
    await turns()
    for number in range(3000):  # more than anybody looks at in one breath
        consent.ask(
            "connection", client=ClientName("c"), server=ServerName(f"s{number}"), session=SessionId("s"), what="w",
            why="y", digest_of=b"", wait_seconds=60,
        )  # fmt: skip
    await until(lambda: told)
    seen = told
    consent.ask(
        "connection", client=ClientName("c"), server=ServerName("last"), session=SessionId("s"), what="w", why="y",
        digest_of=b"", wait_seconds=60,
    )  # fmt: skip
    await until(lambda: told > seen)
    consent.close()
    async with asyncio.timeout(WITHIN):
        await watching


async def test_the_word_to_stop_ends_the_wait_and_a_failed_background_task_ends_it_with_its_reason() -> None:
    async def for_ever() -> None:
        await asyncio.sleep(3600)

    async def fail() -> None:
        raise AuditError("the disk is full")

    stop = asyncio.Event()
    background = [asyncio.ensure_future(for_ever()) for _ in range(2)]
    waiting = asyncio.ensure_future(_until_stopped(stop, background))
    await turns()
    assert not waiting.done()
    stop.set()
    async with asyncio.timeout(WITHIN):
        await waiting
        with pytest.raises(AuditError, match="the disk is full"):
            await _until_stopped(asyncio.Event(), [asyncio.ensure_future(fail()), background[1]])
    for task in background:
        task.cancel()


HIDDEN: Final = """
import os, sys
from broker.sandbox import kernel
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
kernel._prctl(kernel.PR_SET_DUMPABLE, 1)  # a change of user takes it away
def another_process_reads():
    child = os.fork()
    if child == 0:
        try:
            open(f"/proc/{os.getppid()}/mem", "rb").close(), open(f"/proc/{os.getppid()}/environ", "rb").read()
        except PermissionError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
before = another_process_reads()
kernel.hide_memory()
print(before, another_process_reads(), os.listdir("/proc/self/fd") != [], os.stat("/proc/self/fd/1").st_mode > 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
def test_a_process_that_holds_keys_is_closed_to_others_of_its_user_and_sees_itself_still() -> None:
    done = subprocess.run([sys.executable, "-c", HIDDEN], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True False True True\n", done.stderr
