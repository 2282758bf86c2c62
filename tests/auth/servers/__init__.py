"""Authorization servers nobody here wrote, brought by npm and uv with their hashes, and run on this machine."""
