"""Signing in at servers that run elsewhere: one owner for every sign-in, and a token for one client at one server only.

What is asked next, and what an answer means, is decided by pure modules (`challenge`, `places`, `metadata`,
`registration`, `scopes`, `requests`, `answers`, `callback`); `wire`, `loopback`, `browser` act, `sign_in` joins them
for one sign-in and `tokens` keeps what came of it.  Nothing that a server wrote is ever part of an error.
"""
