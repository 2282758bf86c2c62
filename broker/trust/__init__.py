"""Is it what we agreed to: from a launch line to bytes that are checked again before every start.

`launch_spec` understands the line, `resolve` fetches and verifies what it means, `store` keeps it, `pins` says what
was agreed to.  `launch_spec`, `launchers`, `variables` and `pins` are pure.
"""
