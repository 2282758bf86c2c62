"""Fail unless every named group of tests ran, whole: `groups.py REPORT.xml sandbox registry e2e`.

The groups are properties in pytest's JUnit report (see tests/conftest.py).  A skipped test proves nothing, however
green the run.
"""

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path


def count(report: Path) -> tuple[Counter[str], dict[str, list[str]]]:
    """How many tests of each group ran, and which did not."""
    ran: Counter[str] = Counter()
    skipped: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        groups = {p.get("value", "") for p in case.iter("property") if p.get("name") == "group"}
        skip = case.find("skipped")
        for group in groups:
            if skip is None:
                ran[group] += 1
            else:
                skipped.setdefault(group, []).append(f"{case.get('name')}: {skip.get('message')}")
    return ran, skipped


def main() -> int:
    report, wanted = Path(sys.argv[1]), sys.argv[2:]
    if not report.is_file():
        print(f"ci: there is no report {report.name}: pytest did not run", file=sys.stderr)
        return 1
    try:
        ran, skipped = count(report)
    except ElementTree.ParseError:
        print(f"ci: {report.name} is cut short: pytest did not end by itself", file=sys.stderr)
        return 1
    failed = False
    for group in wanted:
        left_out = skipped.get(group, [])
        print(f"ci: group {group}: {ran[group]} ran, {len(left_out)} skipped")
        for line in left_out:
            print(f"ci:   skipped {line}", file=sys.stderr)
        failed = failed or not ran[group] or bool(left_out)
    if failed:
        print("ci: a group of tests that must run did not", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
