"""The AI applications: where their configuration lives, what it says, and how a server's entry is moved in and back.

A client's file belongs to its user: it is edited at exact places, never written anew, and every edit can be undone
without the daemon.

    tree       a text's values and where every one of them stands       pure
    jsonc, toml_text, yaml_text   text -> tree; notation chooses        pure
    families   one row a client: files, server maps, dialect            pure
    entries    what one server entry means, and whether it can move     pure
    configs    one file of one client, as it was when read              pure
    rewrite    a moved entry's new text                                 pure
    plan       ClientConfig -> ImportPlan: servers, edits, diff         pure
    diff       the plan as a person may see it: no secrets              pure
    merge      an undo over later edits                                 pure
    found      reads the files that exist
    backups    the owner-only copies and what they are of
    apply      writes a plan; undo
"""
