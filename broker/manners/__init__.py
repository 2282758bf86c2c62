"""The manners of a gateway, done once for every server: how often, how long, how much, and when to stop asking.

rules     what a person agreed to, for which clients, servers and tools (pure)
breaker   a server that keeps failing is left alone for a while (pure)
calls     the calls of one link that are under way, held against the rules (pure)
kept      answers that may be given again (pure)
book      the document, and the breakers of a home
courtesies  all of it, as one link asks for it
"""
