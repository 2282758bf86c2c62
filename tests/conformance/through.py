"""The SDK's client for the suite, through Bulkhead: `python -m tests.conformance.through CLIENT URL`.

The suite starts this with the address of its own server appended.  It is added as a remote server to the home that the
environment names, and the client is given Bulkhead's address for it.
"""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Final

from broker.config import HOME_VARIABLE, paths_under
from tests.conformance.bearer import with_bearer
from tests.fakes.home import Home

WITHIN: Final = 60.0
CLIENT: Final = "suite"


def main() -> int:
    program, url = sys.argv[1:]
    home = Home(paths_under(Path(os.environ[HOME_VARIABLE])), os.environ)
    name = f"suite-{secrets.token_hex(4)}"
    for words in (["add", name, "--yes", "--url", url], ["endpoint", name, "--client", CLIENT, "--json"]):
        done = home.bulkhead(*words, within=WITHIN)
        if done.returncode:
            print(done.stdout + done.stderr, file=sys.stderr)
            return 1
    found = json.loads(done.stdout)
    with with_bearer(found["url"], found["headers"]) as near:
        return subprocess.run([sys.executable, program, near], timeout=WITHIN, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
