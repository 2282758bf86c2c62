"""Runs every attempt of one server at its walls: inside a sandbox, or outside, to know what the walls are good for."""

from tests.sandbox import deeper, inside

ATTEMPTS = inside.ATTEMPTS | deeper.ATTEMPTS
CONTROLS = inside.CONTROLS | deeper.CONTROLS

if __name__ == "__main__":
    inside.run(ATTEMPTS, CONTROLS)
