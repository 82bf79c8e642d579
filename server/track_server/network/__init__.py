"""The daemon: sockets, logins, sessions, requests, limits."""
