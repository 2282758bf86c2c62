"""The only way out: what a server may reach is served to it by the daemon, on sockets made inside its own network.

`hello`, `head` and `lookup` read what a server says, `way` judges, resolves, checks and dials, `proxy`, `capture` and
`stub` are the three doors, `service` opens and closes them.  The rule: nothing is dialled that no rule covers, and what
is dialled is the address that was checked; each connection and each denial is recorded before it happens.
"""
