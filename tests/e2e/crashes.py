"""A daemon killed with SIGKILL in the middle of its work, and what its receipts say of it afterwards."""

import json
import os
import signal
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from broker.audit.keys import AuditKeys
from broker.audit.segments import lines, segments
from broker.audit.verify import verify
from broker.vault.keychain import integrity_key
from tests.e2e.running import Running
from tests.fakes.raw_client import RawClient

OUTSTANDING: Final = 32  # calls under way
WINDOW: Final = 0.4  # seconds after the first answer in which the daemon is killed
WITHIN: Final = 60.0


def worked(message: dict[str, Any]) -> bool:
    """An answer, and no failure: a call that did nothing proves nothing."""
    return "result" in message and not message["result"].get("isError")


@dataclass(slots=True)
class Crash:
    """One kill: what went through before it, and what is missing on record.  `lost` is empty when all is well."""

    sent: int = 0
    answered: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    problem: str = ""


class CrashTest:
    """A home with one server that answers and writes notes; it is crashed as often as one likes."""

    def __init__(self, home: Running) -> None:
        self.home = home
        self.notes = home.user / "notes"
        self.notes.mkdir()
        self.notes.chmod(0o777)  # started as root, each server is a user of its own
        home.add_toy("honest", name="quick")
        home.add_toy("honest", name="writer", write=[self.notes])
        self._clients = {name: home.newcomer(name) for name in ("quick", "writer")}
        told = home.bulkhead("policy", "use", "observe")  # nobody is there to answer
        assert told.returncode == 0, told.stderr
        self._keys = AuditKeys(integrity_key(home.paths.state, home.paths.home).key)
        self._seen = 0

    def once(self, number: int, rng: Random) -> Crash:
        """Kill the daemon at a random moment under load, start it again, and look."""
        crash = Crash()
        server = rng.choice(("quick", "writer"))
        pid = self.home.desk.status().pid
        with self.home.connect(server, self._clients[server]) as link:
            link.open(within=WITHIN)
            self._load(link, server, number, rng, pid, crash)
        crash.written = {path.name for path in self.notes.glob(f"n-{number}-*")}
        self.home.up()
        self._look(crash)
        return crash

    def _load(self, link: RawClient, server: str, number: int, rng: Random, pid: int, crash: Crash) -> None:
        asked: dict[int, str] = {}
        answers, kill_at = 0, 0.0
        deadline = time.monotonic() + WITHIN
        while not kill_at or time.monotonic() < kill_at:
            assert time.monotonic() < deadline, "no answer came"
            while len(asked) - answers < OUTSTANDING:
                tag = f"n-{number}-{crash.sent}"
                crash.sent += 1
                arguments = {"text": tag}
                if server == "writer":
                    arguments["path"] = str(self.notes / tag)
                tool = "write_note" if server == "writer" else "echo"
                asked[link.start_request("tools/call", {"name": tool, "arguments": arguments})] = tag
            message = link.receive(within=WITHIN)
            answers += message.get("id") in asked
            if worked(message) and message["id"] in asked:
                crash.answered.add(asked[message["id"]])
            kill_at = kill_at or time.monotonic() + rng.uniform(0, WINDOW)
        os.kill(pid, signal.SIGKILL)
        while line := link.receive_line(within=WITHIN):  # what was under way, to the end
            message = json.loads(line)
            if worked(message) and message["id"] in asked:
                crash.answered.add(asked[message["id"]])

    def _look(self, crash: Crash) -> None:
        paths = self.home.paths
        report = verify(paths.audit, self._keys.public, paths.audit_witness)
        crash.problem = str(report.broken or "")
        decided, answered = set[str](), set[str]()
        for entry in self._fresh():
            said = json.dumps(self._keys.opened(entry)["body"])
            if entry["kind"] == "decision" and entry["verdict"] == "allow":
                decided |= {word for word in said.split('"') if word.startswith("n-")}
            elif entry["kind"] == "result" and entry["side"] == "server":
                answered.add(entry["digest"])
        crash.lost = (crash.answered | crash.written) - decided
        if len(answered) < len(crash.answered):
            crash.lost |= {f"{len(crash.answered) - len(answered)} results"}

    def _fresh(self) -> list[dict[str, Any]]:
        entries = []
        for file in segments(self.home.paths.audit):
            for line in lines(file):
                entry = json.loads(line)
                if entry["seq"] > self._seen:
                    entries.append(entry)
        self._seen = entries[-1]["seq"] if entries else self._seen
        return entries
