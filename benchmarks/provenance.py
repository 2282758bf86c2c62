"""How long it takes to remember where a result came from, and to look where a call's values came from.

    python -m benchmarks.provenance [--rounds N] [--results FILE]

Results of 10 KB, as prose, as a table of JSON, and as JSON inside JSON; with `--results` those of a file of lines
`{"text": ...}` (.jsonl, .jsonl.gz), scaled to 10 KB.  Remembering is making the marks and entering them into a new
session's index; calls have a path, an address and 200 characters of text, in a session that has read a hundred results.
Each figure is the median over all results or calls of the best of the rounds.
"""

import argparse
import gzip
import json
import random
import statistics
import string
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from broker.flow.carried import carried
from broker.flow.fingerprint import Marker, leaves
from broker.flow.labels import WORST
from broker.flow.provenance import Origin, Provenance
from broker.model import Call, ClientName, ServerName, SessionId

SIZE: Final = 10 * 1024
SAMPLES: Final = 24
MARKER: Final = Marker(b"benchmark 16 key")
MAIL, FILES = ServerName("mail"), ServerName("files")


def words(seed: int) -> str:
    """Prose of words nobody uses twice, the worst for whoever looks at each."""
    chance = random.Random(seed)  # noqa: S311 - the same texts each time
    made: list[str] = []
    while sum(map(len, made)) < SIZE:
        made += ("".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 9))) for _ in range(100))
        made.append(chance.choice((", ", ".\n")))
    return " ".join(made)[:SIZE]


def table(seed: int) -> str:
    """What most tools answer: rows with ids, names, addresses and paths."""
    chance = random.Random(seed)  # noqa: S311 - as above
    rows = [
        {"id": chance.randrange(10**6), "name": "".join(chance.choices(string.ascii_letters, k=8)),
         "mail": "".join(chance.choices(string.ascii_lowercase, k=6)) + "@mail.example",
         "path": "/srv/data/" + "".join(chance.choices(string.ascii_lowercase, k=5)), "on": "2026-01-15"}
        for _ in range(100)
    ]  # fmt: skip
    return json.dumps(rows, indent=1)[:SIZE]


def nested(seed: int) -> str:
    return json.dumps({"content": [{"type": "text", "text": table(seed)}]})[:SIZE]


def results_of(path: Path) -> list[str]:
    """The texts of a file that are about as long as the figure is for."""
    with gzip.open(path, "rt") if path.name.endswith(".gz") else path.open() as file:
        texts = [json.loads(line)["text"] for line in file]
    return [text for text in texts if 0.85 * SIZE <= len(text) <= 1.15 * SIZE]


def remember(text: str) -> Provenance:
    provenance = Provenance(MARKER)
    provenance.read(Origin(1, MAIL, "", "read", WORST.flags), MARKER.of_read((text,)))
    return provenance


def best(work: Callable[[], object], rounds: int) -> float:
    """Milliseconds."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken) * 1000


def calls(rounds: int) -> list[float]:
    provenance = Provenance(MARKER)
    for number in range(100):
        origin = Origin(number + 1, MAIL, "", "read", WORST.flags)
        provenance.read(origin, MARKER.of_read((table(number),)))
    found = []
    text = words(1000)
    for seed in range(SAMPLES):
        made = iter(
            [call_of(seed, text[20 * number :][:200]) for number in range(rounds)]
        )  # none is like the one before

        def judge(made: Iterator[Call] = made) -> None:
            call = next(made)
            carried(call, WORST, provenance)
            provenance.wrote(leaves(call.arguments))

        found.append(best(judge, rounds))
    return found


def call_of(seed: int, text: str) -> Call:
    arguments = {"path": f"/home/me/notes/{seed}.md", "to": f"bo{seed}@x.example", "text": text}
    return Call(ClientName("c"), FILES, SessionId("s"), "client", "tools/call", "write", arguments, "")


def show(name: str, taken: Sequence[float]) -> None:
    print(f"{name:32} p50 {statistics.median(taken):.3f} ms, worst {max(taken):.3f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description="the cost of provenance")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args()
    kinds = {"prose": words, "table": table, "JSON in JSON": nested}
    samples = {name: [make(seed) for seed in range(SAMPLES)] for name, make in kinds.items()}
    if args.results is not None:
        samples[args.results.name] = results_of(args.results)
    for name, texts in samples.items():
        taken = [best(lambda text=text: remember(text), args.rounds) * SIZE / len(text) for text in texts]  # type: ignore[misc]
        show(f"remember 10 KB of {name}", taken)
    show("judge a call", calls(args.rounds))


if __name__ == "__main__":
    main()
