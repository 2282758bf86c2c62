"""Servers that share a folder or a service are one to whoever asks where private data may go."""

import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from broker.model import Grants, ServerName
from broker.sandbox.channels import Channel, Seat, channels, joinings

NOTES, GIT, WEB = map(ServerName, ("notes", "git", "web"))


def grants(read: str = "", write: str = "", hosts: str = "", boxed: bool = True) -> Grants:
    return Grants(tuple(map(Path, read.split())), tuple(map(Path, write.split())), tuple(hosts.split()), boxed=boxed)


def told(new: Seat, *others: Seat) -> list[str]:
    return [str(joining) for joining in joinings(new, others)]


def test_a_folder_that_one_writes_and_another_reads_is_a_channel_that_way_only() -> None:
    writer, reader = Seat(NOTES, grants(write="/data/notes")), Seat(GIT, grants(read="/data"))
    assert channels([writer, reader]) == (Channel(NOTES, GIT, "/data/notes"),)
    assert channels([Seat(NOTES, grants(read="/data")), reader]) == ()
    assert channels([Seat(NOTES, grants(write="/database")), reader]) == ()


def test_a_private_reader_joined_to_a_sender_through_a_folder_is_told_with_the_way() -> None:
    new = Seat(WEB, grants(read="/out", hosts="api.example"))
    assert told(new, Seat(NOTES, grants(read="/home/private", write="/out"))) == [
        "what notes reads could leave through web: notes to web through /out"
    ]
    assert told(Seat(WEB, grants(hosts="api.example")), Seat(NOTES, grants(write="/out"))) == []
    assert told(Seat(WEB, grants(read="/out")), Seat(NOTES, grants(write="/out"))) == []


def test_a_way_over_a_third_server_is_found_and_told_step_by_step() -> None:
    others = (Seat(NOTES, grants(write="/a")), Seat(WEB, grants(read="/b", hosts="api.example")))
    middle = Seat(GIT, grants(read="/a", write="/b"))
    assert "what notes reads could leave through web: notes to git through /a, then git to web through /b" in told(
        middle, *others
    )
    assert told(Seat(GIT, grants(read="/a", write="/c")), *others) == []


def test_a_service_of_this_machine_joins_both_ways() -> None:
    one = Seat(NOTES, grants(hosts="127.0.0.1:5432"), private=True)
    other = Seat(WEB, grants(hosts="127.0.0.1:5432 api.example"))
    assert {(c.source, c.sink) for c in channels([one, other])} == {(NOTES, WEB), (WEB, NOTES)}
    assert "through the service at 127.0.0.1:5432" in told(other, one)[0]
    assert channels([one, Seat(WEB, grants(hosts="127.0.0.1:6000"))]) == ()
    assert channels([Seat(NOTES, grants(hosts="api.example")), Seat(WEB, grants(hosts="api.example"))]) == ()


def test_a_server_out_of_its_sandbox_is_joined_to_every_one_that_writes() -> None:
    free = Seat(WEB, grants(boxed=False))
    assert told(free, Seat(NOTES, grants(write="/out")))
    assert not any(one.source == NOTES for one in channels([free, Seat(NOTES, grants(read="/out"))]))


def test_what_was_joined_without_the_new_one_is_not_asked_again() -> None:
    joined = (Seat(NOTES, grants(write="/out")), Seat(WEB, grants(read="/out", hosts="api.example")))
    assert told(Seat(GIT, grants(read="/else")), *joined) == []


FOLDERS = st.lists(st.sampled_from(["/a", "/a/b", "/c", "/d/e"]), max_size=2).map(" ".join)
SEATS = st.builds(
    lambda name, read, write, hosts: Seat(ServerName(name), grants(read, write, hosts)),
    st.sampled_from(["n1", "n2", "n3"]), FOLDERS, FOLDERS, st.sampled_from(["", "api.example", "127.0.0.1:1"]),
)  # fmt: skip


@given(SEATS, st.lists(SEATS, max_size=4, unique_by=lambda seat: seat.server))
def test_a_joining_is_always_a_chain_from_a_reader_to_a_sender_through_the_new_one(
    new: Seat, others: list[Seat]
) -> None:
    seats = {seat.server: seat for seat in (*others, new)}
    for joining in joinings(new, others):
        steps = joining.channels
        assert seats[steps[0].source].reads and seats[steps[-1].sink].sends
        assert all(one.sink == following.source for one, following in itertools.pairwise(steps))
        assert any(new.server in (one.source, one.sink) for one in steps)


@given(SEATS, SEATS, FOLDERS)
def test_more_to_read_never_removes_a_channel(one: Seat, other: Seat, more: str) -> None:
    read = " ".join([*map(str, other.grants.read), more])
    wider = Seat(other.server, grants(read, " ".join(map(str, other.grants.write)), " ".join(other.grants.hosts)))
    before = {(c.source, c.sink) for c in channels([one, other])}
    assert before <= {(c.source, c.sink) for c in channels([one, wider])}
