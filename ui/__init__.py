"""The screen: shows what the daemon says, asks a person, and decides nothing.

    splash.py    one line while the rest is loaded
    app.py       BulkheadApp: one subscription worker, one short connection per answer; `run` opens it
    present.py   the only door for text from outside to the screen
    facts.py     what the screens say about a question, a session, a server, a receipt
    known.py     what the daemon told us last
    clock.py     time as an argument, and the pause before a card may be answered
    messages.py  what workers post
    query.py     what a person types to find receipts
    shell.py     commands of `bulkhead`, run for the screen or in its terminal
    web/         the same in a browser
    screens/     the eight places, questions first; and what opens over them
    widgets/     rows, the consent card, the status lines

It knows only the front desk: `broker.api.client`, `broker.api.schema`, `broker.model`, `broker.errors`.  Nothing of the
daemon imports it, and the command line does so only when a person opens it.
"""
