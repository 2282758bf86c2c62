"""Bulkhead: the broker between the AI applications of one user and the MCP servers they use.

One sentence to remember: a pure middle decides, a thin ring acts, and every act is recorded before it happens.

The rooms, from the street inwards:

    cli         arguments -> one command -> print; the only place with exit codes
    shim        what a client launches: hands its stdin and stdout to the daemon (standard library only)
    daemon      builds every object once, starts and stops them in order
    api         the front desk: two sockets with two powers, what can be asked, who may ask it
    news        wakes whoever watches
    notices     tells the desktop that a question waits; service  the files of systemd and launchd
    alarms      what a person should hear of without looking; rounds  what is looked at every few seconds
    resting     which servers are stopped because nobody uses them
    upkeep      looks at every pin again, each day; flaws  asks about what became known
    root_book   the root of trust in force, and how a newer one is fetched
    sessions    who is calling, which session, and whether a link may be opened
    assembly    all servers of one client behind one connection; visit  who comes, and what a link is to its holder
    links       one link: the rooms it joins
    autonomy    how much of what a session did went without a question
    judge       may this call of a link happen: policy, ledger, grants, and a person; inside  answers given in a client
    cards       what a held call would do, in lines for a person
    launch      verify, plan, spawn the server of a link
    house       every owner of state that links share; refusals  what one client was refused, so many in full
    clients     the AI applications: where their configuration lives, import, byte-exact undo
    edges       what a relay needs of the world, as functions
    recorded    what opened receipts say of calls; replay judges them again, traces those of a file
    relay       carries one link: feeds the conversation, performs its effects
    lessons     which servers are watched, and the grants that would give them what they asked for in vain
    hosted      the server side of a relay: starting it, its streams, its end; inbox  what waits its turn there
    outbox      what a relay says, held until its receipts are written; farewell  its last words; errands
                what it has under way beside messages
    manners     how often, how long, how much, and when a server is left alone
    stories     which receipts belong to one request; telemetry  traces and numbers for whoever watches
    endpoints   lines on descriptors, clients that come in by HTTP, servers that are reached by it
    auth        signing in at servers that run elsewhere, and a token for one client at one server
    passes      those by HTTP that insist on OAuth sign in here; entries  where that meets the person
    guest_book  the bearers of clients by HTTP and the port they know; tcp  who is behind a connection
    remotes     servers that run elsewhere, started as if they ran here
    consent     asks a person; no answer is no
    installing  the box in which npm, uv, pip and git get packages
    pinning     from a launch line to a pin; stocktaking asks a server for all it offers; drift keeps what changed
    registry    servers and their pins as documents that a person agreed to (see agreed); client_book  the clients and
                their secrets; documents  what may be a name and what a document may say
    provisions  what a server is given at its start; secrecy  which values are secrets
    trust       is it what we agreed to: launch lines, npm, PyPI, the content-addressed store
    sandbox     run it with its hands tied
    audit       what happened: the chain of receipts and its index
    vault       tokens, API keys and keys of our own, sealed under one key that lies in the system's keychain
    policy      may it happen (pure, but for its store)
    flow        where did it come from (pure, but for its store)
    protocol    what is being said (pure): frames, methods, catalog, Conversation.receive(event) -> effects
    applications, agreed, rollback, home, processes, sentences, spelling, files, config, pin, model, errors: what every
    room stands on
"""

__version__ = "0.1.0"
