"""A small interpreter for the filter's instructions, so that each rule can be asked what it answers."""

import struct
from collections.abc import Sequence

from broker.sandbox import seccomp

STEP = struct.Struct("=HBBI")


def verdict(program: bytes, machine: str, number: int, arguments: Sequence[int] = ()) -> int:
    """What the kernel would answer to a system call; the filter's own RET value."""
    words = [argument & (1 << 64) - 1 for argument in (*arguments, *[0] * (6 - len(arguments)))]
    data = struct.pack("<IIQ6Q", number, seccomp.ARCHITECTURES[machine], 0, *words)
    return run(program, data)


def run(program: bytes, data: bytes) -> int:
    steps = list(STEP.iter_unpack(program))
    accumulator = place = 0
    while True:
        code, if_true, if_false, value = steps[place]
        place += 1
        if code == seccomp.LOAD:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == seccomp.MASK:
            accumulator &= value
        elif code == seccomp.RETURN:
            return int(value)
        else:
            tests = {
                seccomp.JUMP_EQUAL: accumulator == value,
                seccomp.JUMP_AT_LEAST: accumulator >= value,
                seccomp.JUMP_ANY_BIT: bool(accumulator & value),
            }
            place += if_true if tests[code] else if_false
