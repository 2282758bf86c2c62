"""The measurements of the README, one command each: `python -m benchmarks.NAME`."""
