"""Users and the identity of the server."""
