"""What an attacker would like to reach: secrets, sockets, processes and services of the user, all made for the test.

Runs as the sandboxed server's own user outside the sandbox, in a throw-away home that belongs to the test.
"""

import ctypes
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

SECRET = "the-secret-of-the-test"
SHM_KEY = 0x42_48


class SharedIpc:
    """What the kernel keeps for this user beside files: shared memory, semaphores, messages, a queue, a key."""

    def __init__(self, name: str) -> None:
        self._libc, self._name = ctypes.CDLL(None), name.encode()
        self._shm = self._libc.shmget(SHM_KEY, 4096, 0o1666)
        self._semaphores = self._libc.semget(SHM_KEY, 1, 0o1666)
        self._messages = self._libc.msgget(SHM_KEY, 0o1666)
        self._queues = ctypes.CDLL("librt.so.1")
        self._queues.mq_open(b"/" + self._name, os.O_CREAT | os.O_RDWR, 0o666, None)
        numbers = {"x86_64": 248, "aarch64": 217}
        self._libc.syscall(numbers.get(os.uname().machine, -1), b"user", self._name, b"secret", 6, -4)

    def close(self) -> None:
        if self._shm >= 0:
            self._libc.shmctl(self._shm, 0, None)
        if self._semaphores >= 0:
            self._libc.semctl(self._semaphores, 0, 0)
        if self._messages >= 0:
            self._libc.msgctl(self._messages, 0, None)
        self._queues.mq_unlink(b"/" + self._name)


class Surroundings:
    def __init__(self, yard: Path) -> None:
        home, work = Path(os.environ["HOME"]), yard / "work"
        if yard not in home.parents:
            raise SystemExit("refusing to plant secrets in a home that is not the test's")
        self.name = f"bulkhead-{os.getpid()}"
        self._open: list[socket.socket] = []
        for path in (
            home / ".ssh/id_ed25519",
            home / ".aws/credentials",
            home / ".bashrc",
            home / ".local/state/bulkhead/token",
            work / "other-session/secret",
            Path("/tmp", self.name),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(SECRET)
        (home / ".config/autostart").mkdir(parents=True)
        Path("/dev/shm", self.name).write_text(SECRET)
        self._ipc = SharedIpc(self.name)
        self._victims = [self._victim(), self._victim()]
        os.environ.update({"TOKEN": SECRET, "SSH_AUTH_SOCK": str(home / "ssh.sock")})
        leaked = os.open(home, os.O_RDONLY)
        os.set_inheritable(leaked, True)
        self.facts = {
            "secret": SECRET,
            "home": str(home),
            "temporary": f"/tmp/{self.name}",
            "shared_memory": f"/dev/shm/{self.name}",
            "shm_key": SHM_KEY,
            "queue": self.name,
            "key": self.name,
            "marked": str(work / "read/marked"),
            "bare": False,
            "other_session": str(work / "other-session"),
            "read": str(work / "read"),
            "write": str(work / "write"),
            "victim": self._victims[0].pid,
            "traced": self._victims[1].pid,
            "victim_mark": self.name,
            "read_socket": self._listen_unix(str(work / "read/app.sock")),
            "write_socket": self._listen_unix(str(work / "write/app.sock")),
            "agent_socket": self._listen_unix(str(home / "agent.sock")),
            "abstract_socket": self._listen_unix(f"\0{self.name}"),
            "sockets": {
                "ssh": self._listen_unix(str(home / "ssh.sock")),
                "session bus": self._listen_unix(str(home / "bus")),
                "docker": self._listen_unix(str(home / "docker.sock")),
                "X11": self._listen_unix(f"/tmp/{self.name}.x11"),
                "Wayland": self._listen_unix(str(home / "wayland-0")),
                "gpg": self._listen_unix(str(home / "S.gpg-agent")),
                "system bus": "/run/dbus/system_bus_socket",
            },
            "tcp": self._listen_tcp(socket.AF_INET, "127.0.0.1"),
            "tcp6": self._listen_tcp(socket.AF_INET6, "::1"),
            "udp": self._listen_udp(),
            "host_name": socket.gethostname(),
            "net_namespace": os.readlink("/proc/self/ns/net"),
        }

    def answer(self) -> None:
        """Answer datagrams from now on; it takes a thread, so the supervisor must have been started."""
        threading.Thread(target=_answer, args=(self._echo,), daemon=True).start()

    def close(self) -> None:
        for victim in self._victims:
            assert victim.stdin is not None
            victim.stdin.close()
            victim.wait()
        for path in (Path("/tmp", self.name), Path("/dev/shm", self.name), Path("/tmp", f"{self.name}.x11")):
            path.unlink()
        self._ipc.close()
        for listener in self._open:
            listener.close()

    def _victim(self) -> "subprocess.Popen[bytes]":
        victim = subprocess.Popen(
            [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()", self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"TOKEN": SECRET},
        )
        assert victim.stdout is not None
        victim.stdout.readline()
        return victim

    def _listen_unix(self, name: str) -> str:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(name)
        listener.listen()
        self._open.append(listener)
        if not name.startswith("\0"):
            os.chmod(name, 0o777)
        return name

    def _listen_tcp(self, family: int, address: str) -> int:
        listener = socket.socket(family)
        listener.bind((address, 0))
        listener.listen()
        self._open.append(listener)
        return int(listener.getsockname()[1])

    def _listen_udp(self) -> int:
        echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        echo.bind(("127.0.0.1", 0))
        self._open.append(echo)
        self._echo = echo
        return int(echo.getsockname()[1])


def _answer(echo: socket.socket) -> None:
    while True:
        try:
            data, sender = echo.recvfrom(512)
            echo.sendto(data, sender)
        except OSError:
            return
