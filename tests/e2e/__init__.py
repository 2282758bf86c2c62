"""Through the real daemon, the real shim and real sandboxes, as a person and a client would go."""
