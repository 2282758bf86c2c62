"""Print the command of the README's fenced block that follows an HTML comment: `readme_command.py test-command`.

CI runs what the README says, never a copy of it.
"""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def command(mark: str) -> str:
    found = re.findall(rf"^<!-- {re.escape(mark)} -->\n```sh\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    if len(found) != 1:
        sys.exit(f"{README.name} has {len(found)} blocks marked {mark}, not one")
    return str(found[0]).strip()


if __name__ == "__main__":
    print(command(sys.argv[1]))
