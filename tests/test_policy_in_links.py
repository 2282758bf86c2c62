"""Rules that look around a call, on live links: masks change results, rates count calls, folders are told apart."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from broker.model import JsonObject
from tests.house import ME, OPEN, housed
from tests.peers import ToyServer, echo
from tests.protocol.stage import INITIALIZE, INITIALIZED, call, refusal_of, request
from tests.test_judge import LETTER, answered, mailbox, opened, reply


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


MASKING: Final = b"""
version = 1
name = "masking"
description = "for a test"

[[rule]]
name = "all"
effect = "allow"
reason = "fine"

[[rule]]
name = "no-addresses"
effect = "mask"
reason = "addresses stay here"
tool = "write"
mask = { kinds = ["mail"] }
"""


@pytest.mark.claim("C81")
async def test_a_result_is_changed_only_where_a_mask_matches_and_the_receipt_says_so(tmp_path: Path) -> None:
    async with housed(tmp_path, toy=mailbox, policy=MASKING) as rooms:
        far = await opened(rooms)
        await far.say(call(1, text="what is new"))
        shown = await reply(far, 1)
        assert shown["result"]["content"][0]["text"] == LETTER.replace("collect@far.example", "[masked]")
        (fact,) = [receipt for receipt in rooms.receipts() if receipt["kind"] == "policy"]
        assert fact["body"] == {"masked": 1, "rules": ["no-addresses"]}
        await far.say(request(2, "tools/call", name="read", arguments={}))
        assert (await reply(far, 2))["result"]["content"][0]["text"] == LETTER
        await far.say(call(3, text="to collect@far.example"))  # what was hidden counts as read all the same
        why, _ = await answered(rooms, allowed=False)
        assert why.startswith("R4")
        far.close()


@pytest.mark.claim("C81")
async def test_what_a_mask_of_arguments_names_reaches_neither_the_server_nor_the_record(tmp_path: Path) -> None:
    rule = (
        'name = "no-names"\neffect = "mask"\nreason = "it stays here"\ntool = "write"\n'
        'mask = { words = ["Rosebud"], kinds = ["mail"], of = "arguments" }'
    )
    masking = OPEN.replace(b"[[rule]]", f"[[rule]]\n{rule}\n\n[[rule]]".encode(), 1)
    heard: list[JsonObject] = []

    def listening(message: JsonObject) -> JsonObject | None:
        heard.append(message)
        return echo(message)

    async with housed(tmp_path, toy=lambda: ToyServer(answer=listening), policy=masking) as rooms:
        far = await opened(rooms)
        await far.say(call(1, text="about Rosebud, to a@far.example"), call(2, text="about the weather"))
        assert "result" in await reply(far, 1) and "result" in await reply(far, 2)
        asked = [message["params"]["arguments"] for message in heard if message.get("method") == "tools/call"]
        assert asked == [{"text": "about [masked], to [masked]"}, {"text": "about the weather"}]
        assert "Rosebud" not in json.dumps(rooms.receipts())
        (fact,) = [receipt for receipt in rooms.receipts() if receipt["kind"] == "policy"]
        assert fact["body"] == {"masked": 2, "rules": ["no-names"], "of": "arguments"}
        far.close()


async def test_a_rule_with_a_rate_counts_each_call_once(tmp_path: Path) -> None:
    slow = OPEN.replace(
        b"[[rule]]", b'[[rule]]\nname = "slow"\neffect = "deny"\nreason = "too fast"\nbeyond = "2/day"\n\n[[rule]]', 1
    )
    async with housed(tmp_path, policy=slow) as rooms:
        far = await opened(rooms)
        for number in (1, 2):  # the first of them is judged when it comes and again when its server has started
            await far.say(call(number, text="hello"))
            assert "result" in await reply(far, number)
        await far.say(call(3, text="hello"))
        assert "refused by Bulkhead (slow)" in refusal_of(await reply(far, 3))
        far.close()


async def test_a_rule_about_a_folder_is_about_the_one_its_client_works_in(tmp_path: Path) -> None:
    rule = f'name = "there"\neffect = "deny"\nreason = "not there"\nworkspace = "{tmp_path}/secret"'
    only = OPEN.replace(b"[[rule]]", f"[[rule]]\n{rule}\n\n[[rule]]".encode(), 1)
    async with housed(tmp_path, policy=only) as rooms:
        for folder, refused in ((tmp_path / "secret" / "deep", True), (tmp_path / "open", False), (Path.home(), True)):
            _, far = rooms.enter(peer=replace(ME, cwd=str(folder)))
            await far.say(INITIALIZE, INITIALIZED)
            await reply(far, "open")
            await far.say(call(1, text="hello"))
            answer = await reply(far, 1)
            assert ("refused by Bulkhead (there)" in json.dumps(answer)) is refused, folder
            far.close()
