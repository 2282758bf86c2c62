"""`python -m ui SOCKET`: the screen as a program of its own, as a browser's page starts it."""

import sys
from pathlib import Path

from ui.app import run

if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
