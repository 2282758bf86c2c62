"""Bulkhead: the broker between the AI applications of one user and the MCP servers they use.

One sentence to remember: a pure middle decides, a thin ring acts, and every act is recorded before it happens.

The rooms, from the street inwards:

    cli         arguments -> one command -> print; the only place with exit codes
    shim        what a client launches: hands its stdin and stdout to the daemon (standard library only)
    daemon      builds every object once, starts and stops them in order
    api         the front desk: two sockets with two powers, what can be asked, who may ask it
    upkeep      looks at every pin again, each day
    sessions    who is calling, which session, and the way of a link: admit, verify, plan, spawn, relay
    clients     the AI applications: where their configuration lives, import, byte-exact undo
    edges       what a relay needs of the world, as functions
    relay       carries one link: feeds the conversation, performs its effects
    endpoints   lines on descriptors
    consent     asks a person; no answer is no
    pinning     from a launch line to a pin; stocktaking asks a server for all it offers; drift keeps what changed
    registry    servers, pins and clients as documents that a person agreed to (see agreed)
    trust       is it what we agreed to: launch lines, npm, PyPI, the content-addressed store
    sandbox     run it with its hands tied
    audit       what happened: the chain of receipts and its index
    vault       keys and secrets
    policy      may it happen (pure, but for its store)
    flow        where did it come from (pure, but for its store)
    protocol    what is being said (pure): frames, methods, catalog, Conversation.receive(event) -> effects
    applications, agreed, rollback, home, processes, sentences, files, config, pin, model, errors: what every room
    stands on
"""

__version__ = "0.1.0"
