"""The daemon is killed with SIGKILL at random moments under load: is everything it forwarded on record?

    python -m benchmarks.crash [--kills 300] [--seed N]

Ends with 0 only if no forwarded message lacks its receipt, the chain was whole after every start, and there was work.
"""

import argparse
import random
import sys
import time

from tests.e2e.crashes import CrashTest
from tests.e2e.running import home_of_a_stranger


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    rng = random.Random(wanted.seed)  # noqa: S311 - nothing secret
    sent = answered = written = lost = broken = 0
    began = time.monotonic()
    with home_of_a_stranger() as home:
        home.up()
        test = CrashTest(home)
        for number in range(wanted.kills):
            crash = test.once(number, rng)
            sent, answered, written = sent + crash.sent, answered + len(crash.answered), written + len(crash.written)
            lost, broken = lost + len(crash.lost), broken + bool(crash.problem)
            if crash.lost or crash.problem:
                sys.stdout.write(f"kill {number}: {crash.problem} {sorted(crash.lost)[:5]}\n")
        receipts = home.desk.status().receipts
    sys.stdout.write(
        f"{wanted.kills} kills, seed {wanted.seed}: {sent} calls sent, {answered} answered, {written} notes written; "
        f"{lost} without a receipt, {broken} times a broken chain; {receipts} receipts, "
        f"{time.monotonic() - began:.0f} s\n"
    )
    return 1 if lost or broken or not answered or not written else 0


if __name__ == "__main__":
    sys.exit(main())
