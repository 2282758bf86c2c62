"""Many servers as one: for a client that can hold only one connection.  Pure."""
