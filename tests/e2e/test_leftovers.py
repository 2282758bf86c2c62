"""What a server leaves in a folder of the user is on record, and shown, once it has ended."""

import pytest

from broker.api import schema
from tests.e2e.running import Running

pytestmark = pytest.mark.sandbox


def test_a_new_file_that_runs_by_itself_is_told_with_its_place_when_its_server_ends(running: Running) -> None:
    project = running.user / "project"
    project.mkdir()
    project.chmod(0o777)  # started as root, the server is a user of its own
    running.add_toy("honest", write=[project], connect=["local"])
    assert running.bulkhead("policy", "use", "observe").returncode == 0
    with running.connect("honest") as link:
        link.open()
        for name in ("notes.txt", ".mcp.json"):
            link.call_text("write_note", {"path": str(project / name), "text": '{"mcpServers": {}}'})
        link.leave()
        assert link.wait() == 0

    def told(event: schema.WatchEvent) -> list[str] | None:
        servers = event.servers if isinstance(event, schema.Snapshot | schema.ServersChanged) else []
        return [one.text for server in servers for one in server.happened] or None

    place = f"{project / '.mcp.json'} (runs)"
    assert running.desk.until(told, "what the server left") == [f"it left {place}"]
    (receipt,) = running.desk.receipts(kind="violation", server="honest")
    assert (receipt["method"], receipt["body"]) == ("leftover", {"left": [place], "more": 0, "whole": True})
    assert (project / ".mcp.json").exists()
