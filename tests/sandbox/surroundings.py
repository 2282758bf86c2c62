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


class Surroundings:
    def __init__(self, yard: Path) -> None:
        home, work = Path(os.environ["HOME"]), yard / "work"
        if yard not in home.parents:
            raise SystemExit("refusing to plant secrets in a home that is not the test's")
        self.name = f"bulkhead-{os.getpid()}"
        self._open: list[socket.socket] = []
        for path in (
            home / ".ssh/id_ed25519",
            home / ".bashrc",
            work / "other-session/secret",
            Path("/tmp", self.name),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(SECRET)
        Path("/dev/shm", self.name).write_text(SECRET)
        self._shm = ctypes.CDLL(None).shmget(SHM_KEY, 4096, 0o1666)
        self._victim = subprocess.Popen(
            [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()", self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"TOKEN": SECRET},
        )
        assert self._victim.stdout is not None
        self._victim.stdout.readline()
        os.environ["TOKEN"] = SECRET
        leaked = os.open(home, os.O_RDONLY)
        os.set_inheritable(leaked, True)
        self.facts = {
            "secret": SECRET,
            "home": str(home),
            "temporary": f"/tmp/{self.name}",
            "shared_memory": f"/dev/shm/{self.name}",
            "shm_key": SHM_KEY,
            "other_session": str(work / "other-session"),
            "read": str(work / "read"),
            "write": str(work / "write"),
            "victim": self._victim.pid,
            "victim_mark": self.name,
            "read_socket": self._listen_unix(str(work / "read/app.sock")),
            "write_socket": self._listen_unix(str(work / "write/app.sock")),
            "agent_socket": self._listen_unix(str(home / "agent.sock")),
            "abstract_socket": self._listen_unix(f"\0{self.name}"),
            "tcp": self._listen_tcp(socket.AF_INET, "127.0.0.1"),
            "udp": self._listen_udp(),
            "host_name": socket.gethostname(),
            "net_namespace": os.readlink("/proc/self/ns/net"),
        }

    def answer(self) -> None:
        """Answer datagrams from now on; it takes a thread, so the supervisor must have been started."""
        threading.Thread(target=_answer, args=(self._echo,), daemon=True).start()

    def close(self) -> None:
        assert self._victim.stdin is not None
        self._victim.stdin.close()
        self._victim.wait()
        for path in (Path("/tmp", self.name), Path("/dev/shm", self.name)):
            path.unlink()
        if self._shm >= 0:
            ctypes.CDLL(None).shmctl(self._shm, 0, None)
        for listener in self._open:
            listener.close()

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
