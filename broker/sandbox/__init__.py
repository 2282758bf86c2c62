"""Run it with its hands tied.

`plan` says what a server may see, `bubblewrap` and `seccomp` say how the kernel holds it to that, `supervisor` starts
it and, with the kernel, ends it, `process` is what the daemon keeps in its hand.  The rule: nothing of the host is
visible, inherited or reachable that the plan does not name, and nothing outlives the daemon.
"""
