"""The official conformance suite, directly and through Bulkhead, and clients people use: `python -m tests.conformance`.

What is run here comes from the registries while it runs: the suite from npm, the SDK's fixtures from its own source
distribution.  Nothing of it lies in this folder, and everything is installed into a folder that is thrown away.
"""
