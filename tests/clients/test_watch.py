"""The watch over clients' files: an entry that somebody put back is seen, and nothing is read for nothing."""

import json
import os
from pathlib import Path

from broker.clients.apply import apply
from broker.clients.found import found_clients
from broker.clients.plan import plan_import
from broker.clients.rewrite import fast_form
from broker.clients.watch import ClientWatch

DIRECT = {"command": "npx", "args": ["-y", "notes"]}


def written(home: Path, servers: dict[str, object]) -> Path:
    file = home / ".config/Claude/claude_desktop_config.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"mcpServers": servers}))
    return file


def test_an_entry_put_back_after_an_import_is_seen_and_so_is_its_import(tmp_path: Path) -> None:
    file, backups = written(tmp_path, {"notes": DIRECT}), tmp_path / "imports"
    watch = ClientWatch(tmp_path, "linux", {}, backups)
    [one] = watch.look()
    assert (one.client, one.through, one.past, one.came_back) == ("claude-desktop", 0, ("notes",), False)
    [config] = found_clients(tmp_path, "linux", {})
    apply(plan_import(config, fast_form("/usr/bin/python3", "/shim.py", config.client, "/home/x")), backups)
    [one] = watch.look()
    assert (one.through, one.past, one.came_back) == (1, (), False)
    document = json.loads(file.read_text())
    document["mcpServers"]["again"] = DIRECT
    file.write_text(json.dumps(document))
    [one] = watch.look()
    assert (one.through, one.past, one.came_back) == (1, ("again",), True)


def test_files_that_did_not_change_are_not_read_again(tmp_path: Path) -> None:
    file = written(tmp_path, {"notes": DIRECT})
    watch = ClientWatch(tmp_path, "linux", {}, tmp_path / "imports")
    first = watch.look()
    assert watch.look() is first
    os.utime(file, ns=(1, 1))
    assert watch.look() is not first


def test_a_file_that_cannot_be_read_is_told_with_its_problem(tmp_path: Path) -> None:
    written(tmp_path, {"notes": DIRECT}).write_text("{ half")
    [one] = ClientWatch(tmp_path, "linux", {}, tmp_path / "imports").look()
    assert "is not JSON its client can read" in one.problem
    assert one.past == ()
