"""Hosts at the desk: allowed, seen as blocked, taken back; and how closely a server is looked at."""

from pathlib import Path

import pytest

from broker.api import schema
from broker.errors import DeskError, PolicyError, SandboxError
from broker.model import Decision, Fact, Verdict
from tests.api.test_routes import Office, office


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def only(at: Office) -> str:
    return at.rooms.house.registry.servers()[0].name


async def view(at: Office) -> schema.ServerView:
    found: schema.Servers = await at.ask(schema.SERVERS)
    return next(server for server in found.servers if server.name == only(at))


async def test_what_was_blocked_is_shown_until_it_is_allowed_and_can_be_taken_back_singly(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        server = at.rooms.house.registry.servers()[0]
        decision = Decision(Verdict.DENY, "hosts", "no grant covers it")
        fact = Fact("egress", "server", "connect", "a.example:443", decision=decision, body={"grant": "a.example"})
        at.rooms.house.blocked.note(server.name, fact)
        assert [(one.target, one.grant) for one in (await view(at)).blocked] == [("a.example:443", "a.example")]
        await at.ask(schema.GRANT_PATHS, name=server.name, hosts=["a.example", "b.example"])
        assert (await view(at)).hosts == ["a.example", "b.example"] and (await view(at)).blocked == []
        await at.ask(schema.FORBID, name=server.name, hosts=["a.example"])
        assert (await view(at)).hosts == ["b.example"]
        with pytest.raises(DeskError, match=r"was not granted a\.example"):
            await at.ask(schema.FORBID, name=server.name, hosts=["a.example"])
        assert ("server.forbid", server.name) in at.receipts("grant")


async def test_a_server_is_shown_with_its_box_and_what_happened_in_it(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        body = {"limit": "memory", "reason": "it was over its limit of 64M"}
        name = at.rooms.house.registry.servers()[0].name
        at.rooms.house.blocked.note(name, Fact("exit", "broker", "limit", name, body=body))
        await at.ask(schema.SANDBOX_SET, name=name, limits={"memory": "64M"}, state="server")
        shown = await view(at)
        assert [(one.text, one.times) for one in shown.happened] == [("it was over its limit of 64M", 1)]
        assert (shown.boxed, shown.keeps, shown.limits) == (True, "server", {"memory": "64M"})


async def test_inspection_is_set_as_a_whole_shown_in_words_and_ended(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        name = only(at)
        await at.ask(schema.GRANT_PATHS, name=name, hosts=["api.example.com"])
        await at.ask(schema.INSPECT, name=name, rules=["GET api.example.com/v1/*"])
        assert any("GET api.example.com/v1/*" in line for line in (await view(at)).network)
        place = {"name": "TOKEN", "header": "Authorization", "host": "api.example.com", "method": ["GET"]}
        with pytest.raises(SandboxError, match="names no variable"):
            await at.ask(schema.INSPECT, name=name, secrets=[place])
        await at.ask(schema.GRANT_PATHS, name=name, hosts=["b.example"])
        assert len((await view(at)).network) == 2
        await at.ask(schema.INSPECT, name=name, on=False)
        assert (await view(at)).network == []


async def test_a_proxy_serves_its_hosts_once_a_person_agreed_to_the_document(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        file = at.rooms.paths.config / "proxy.toml"
        proxies = at.rooms.house.proxies

        async def agree() -> None:
            shown: schema.Review = await at.ask(schema.REVIEW)
            (digest,) = [item.digest for item in shown.items if item.name == "proxy.toml"]
            await at.ask(schema.ACCEPT, name="proxy.toml", digest=digest)

        file.write_text("version = 1\nurl = 'http://p.example:3128'\nhosts = ['*']\n")
        with pytest.raises(PolicyError, match="it means every host"):
            await agree()
        file.write_text("version = 1\nurl = 'http://p.example:3128'\nhosts = ['a.example']\n")
        assert not proxies.current.serves("https", "a.example", 443)
        await agree()
        assert proxies.current.serves("https", "a.example", 443)
        file.unlink()
        await agree()
        assert not proxies.current.serves("https", "a.example", 443)
