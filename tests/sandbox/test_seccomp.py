"""The filter, rule by rule, on both architectures, asked through an interpreter of its instructions."""

import errno
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import MachineError
from broker.sandbox.notices import of_machine, telling
from broker.sandbox.seccomp import ALLOW, ARCHITECTURES, KILL, REFUSE, TELL, assemble, error_of, refused
from broker.sandbox.syscalls import ABSENT, CALLS, FORBIDDEN, OUTSIDE, SORTS
from tests.sandbox.bpf import STEP, run, verdict

MACHINES = tuple(ARCHITECTURES)
MAX_STEPS = 4096  # BPF_MAXINSNS
EPERM, ENOSYS = REFUSE | errno.EPERM, REFUSE | errno.ENOSYS
NO_FAMILY = REFUSE | errno.EAFNOSUPPORT

UNIX, INET, INET6, NETLINK, VSOCK, PACKET, ALG = 1, 2, 10, 16, 40, 17, 38
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5
CLOEXEC = 0o2000000
HIGH = 1 << 32
WORDS = (0, 1, 2, 3, 9, 10, 16, 0x5412, 0x10000011, 0x11, 0o020666, 0o060666, 0o100644, HIGH, 1 | HIGH)


def ask(name: str, *arguments: int, machine: str = "x86_64", unix_sockets: bool = False) -> int:
    numbers = CALLS[name]
    number = numbers.x86_64 if machine == "x86_64" else numbers.aarch64
    assert number is not None
    return verdict(assemble(machine, unix_sockets=unix_sockets), machine, number, arguments)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("names", "answer"), [(ABSENT, ENOSYS), (FORBIDDEN, EPERM)])
def test_a_refused_call_is_refused_whatever_its_arguments(machine: str, names: tuple[str, ...], answer: int) -> None:
    for name in names:
        number = CALLS[name].x86_64 if machine == "x86_64" else CALLS[name].aarch64
        if number is not None:
            for argument in (0, 1, HIGH, (1 << 64) - 1):
                assert verdict(assemble(machine), machine, number, [argument] * 6) == answer, name


@pytest.mark.parametrize("machine", MACHINES)
def test_a_call_that_no_rule_names_is_allowed(machine: str) -> None:
    program = assemble(machine)
    named = {number for numbers in CALLS.values() for number in numbers if number is not None}
    for number in set(range(600)) - named:
        assert verdict(program, machine, number, (1, 2, 3)) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_architecture_kill(machine: str) -> None:
    for other in (0x40000003, *(value for name, value in ARCHITECTURES.items() if name != machine)):
        data = struct.pack("<IIQ6Q", 1, other, 0, *[0] * 6)
        assert run(assemble(machine), data) == KILL


def test_the_x32_calls_of_x86_64_do_not_exist() -> None:
    assert verdict(assemble("x86_64"), "x86_64", 0x40000000 + 39) == ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("family", "kind", "protocol", "answer"),
    [
        (INET, STREAM, 0, ALLOW),
        (INET, STREAM | CLOEXEC, 6, ALLOW),
        (INET6, STREAM, 0, ALLOW),
        (INET, DGRAM, 0, ALLOW),
        (INET6, DGRAM | CLOEXEC, 17, ALLOW),
        (INET, STREAM, 262, EPERM),  # MPTCP
        (INET, STREAM, 132, EPERM),  # SCTP
        (INET, RAW, 1, EPERM),
        (INET, SEQPACKET, 132, EPERM),
        (INET6, RAW, 58, EPERM),
        (NETLINK, RAW, 0, ALLOW),
        (NETLINK, RAW, 12, EPERM),
        (UNIX, STREAM, 0, NO_FAMILY),
        (UNIX | HIGH, STREAM, 0, NO_FAMILY),
        (VSOCK, STREAM, 0, NO_FAMILY),
        (PACKET, RAW, 0, NO_FAMILY),
        (ALG, SEQPACKET, 0, NO_FAMILY),
    ],
)
def test_socket_makes_tcp_udp_and_routing_and_nothing_else(
    machine: str, family: int, kind: int, protocol: int, answer: int
) -> None:
    assert ask("socket", family, kind, protocol, machine=machine) == answer


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_no_socket_but_these_three_families_is_ever_made(family: int, kind: int, protocol: int) -> None:
    if family not in (INET, INET6, NETLINK):
        assert ask("socket", family, kind, protocol) == NO_FAMILY
    elif ask("socket", family, kind, protocol) == ALLOW:
        assert protocol == 0 if family == NETLINK else kind & 0xF in (STREAM, DGRAM)


@pytest.mark.parametrize("machine", MACHINES)
def test_unix_sockets_are_a_choice_of_the_policy(machine: str) -> None:
    assert ask("socket", UNIX, STREAM, 0, machine=machine, unix_sockets=True) == ALLOW
    assert ask("socket", VSOCK, STREAM, 0, machine=machine, unix_sockets=True) == NO_FAMILY
    assert ask("socketpair", UNIX, STREAM, 0, machine=machine) == ALLOW
    assert ask("socketpair", INET, STREAM, 0, machine=machine) == NO_FAMILY


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("ioctl", (0, 0x5412), EPERM),
        ("ioctl", (0, 0x5412 | HIGH), EPERM),
        ("ioctl", (0, 0x541C), EPERM),
        ("ioctl", (0, 0x5423), EPERM),
        ("ioctl", (0, 0x5413), ALLOW),
        ("clone", (0x11,), ALLOW),
        ("clone", (0x3D0F00,), ALLOW),  # what pthread_create asks for
        ("clone", (0x10000011,), EPERM),
        ("clone", (0x00020011,), EPERM),
        ("clone", (0x40000011,), EPERM),
        ("prctl", (1, 9), ALLOW),
        ("prctl", (1, 0), EPERM),
        ("prctl", (1, 15), EPERM),
        ("prctl", (1 | HIGH, 0), EPERM),
        ("prctl", (15, 0), ALLOW),
        ("personality", (0,), ALLOW),
        ("personality", (0xFFFFFFFF,), ALLOW),
        ("personality", (0x0040000,), EPERM),
        ("mknodat", (0, 0, 0o100644), ALLOW),
        ("mknodat", (0, 0, 0o010644), ALLOW),
        ("mknodat", (0, 0, 0o020666), EPERM),
        ("mknodat", (0, 0, 0o060666), EPERM),
    ],
)
def test_some_calls_are_looked_into(machine: str, name: str, arguments: tuple[int, ...], answer: int) -> None:
    assert ask(name, *arguments, machine=machine) == answer


def test_devices_cannot_be_made_with_the_old_call_either() -> None:
    assert [ask("mknod", 0, mode) for mode in (0o100644, 0o020666, 0o060666)] == [ALLOW, EPERM, EPERM]


@given(st.integers(0, 2**64 - 1))
def test_the_parent_death_signal_can_be_armed_but_never_disarmed(signal_number: int) -> None:
    kernel_takes_it_for_kill = signal_number & 0xFFFFFFFF == 9
    assert (ask("prctl", 1, signal_number) == ALLOW) == kernel_takes_it_for_kill


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_is_short_enough_and_every_jump_lands_inside(machine: str) -> None:
    for program in (assemble(machine, unix_sockets=True), assemble(machine, watched=True), telling(machine)):
        steps = list(STEP.iter_unpack(program))
        assert len(steps) <= MAX_STEPS
        for place, (_, if_true, if_false, _) in enumerate(steps):
            assert place + 1 + max(if_true, if_false) < len(steps) or place == len(steps) - 1


@given(
    st.sampled_from(MACHINES),
    st.sampled_from(sorted(CALLS)),
    st.lists(st.integers(0, 2**64 - 1) | st.sampled_from(WORDS), min_size=6, max_size=6),
    st.booleans(),
)
def test_a_watched_server_is_refused_the_same_calls_and_each_is_told(
    machine: str, name: str, arguments: list[int], unix_sockets: bool
) -> None:
    number = CALLS[name].x86_64 if machine == "x86_64" else CALLS[name].aarch64
    if number is None:
        return
    plain = verdict(assemble(machine, unix_sockets=unix_sockets), machine, number, arguments)
    own = verdict(assemble(machine, unix_sockets=unix_sockets, watched=True), machine, number, arguments)
    told = verdict(telling(machine), machine, number, arguments)
    decided = min(own, told)  # the kernel's order: the action with the smallest number wins, but for KILL
    assert (own == ALLOW) == (plain == ALLOW)  # also when nobody watches any more
    if decided == TELL:
        assert of_machine(machine)[number] == name and plain == REFUSE | error_of(name, arguments[0])
    else:
        assert decided == plain


@pytest.mark.parametrize("machine", MACHINES)
def test_every_call_that_is_told_belongs_to_one_sort(machine: str) -> None:
    sorted_calls = [call for sort in SORTS for call in sort.calls]
    assert len(sorted_calls) == len(set(sorted_calls))
    assert set(refused(machine).values()) <= set(sorted_calls) <= set(CALLS)
    assert all(sort.name and sort.advice for sort in SORTS)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_rule_has_a_number_somewhere(machine: str) -> None:
    looked_into = set(CALLS) - {*ABSENT, *FORBIDDEN, *OUTSIDE}
    always = {"socket", "socketpair", "ioctl", "clone", "prctl", "personality", "mknod", "mknodat"}
    assert looked_into == {*always, "setrlimit", "prlimit64"}  # the last two behind Landlock only
    assert {*ABSENT, *FORBIDDEN, *OUTSIDE} <= set(CALLS)


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        ("x86_64", Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")),
        ("aarch64", Path("/usr/include/asm-generic/unistd.h")),
    ],
)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str, header: Path) -> None:
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    known = {name: int(number) for name, number in re.findall(r"#define __NR3?_?(\w+)\s+(\d+)", header.read_text())}
    assert len(known) > 250
    for name, numbers in CALLS.items():
        ours = numbers.x86_64 if machine == "x86_64" else numbers.aarch64
        if name in known:
            assert ours == known[name], name


def test_an_unknown_processor_is_refused_by_name() -> None:
    with pytest.raises(MachineError, match="riscv64"):
        assemble("riscv64")


@pytest.mark.parametrize("machine", MACHINES)
def test_behind_landlock_the_limit_by_which_a_process_is_known_cannot_be_changed(machine: str) -> None:
    walled, bare = assemble(machine), assemble(machine, network=False)
    for name, arguments in (("setrlimit", (12, 0)), ("prlimit64", (0, 12))):
        number = CALLS[name].x86_64 if machine == "x86_64" else CALLS[name].aarch64
        assert number is not None
        assert verdict(bare, machine, number, arguments) == EPERM
        assert verdict(walled, machine, number, arguments) == ALLOW
        assert verdict(bare, machine, number, [7 if one == 12 else one for one in arguments]) == ALLOW
