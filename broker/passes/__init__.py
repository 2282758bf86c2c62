"""Bulkhead as the authorization server of its own addresses, for applications by HTTP that insist on OAuth.

What an application gets is a pass: for one client at one server, after a person said yes.
"""
