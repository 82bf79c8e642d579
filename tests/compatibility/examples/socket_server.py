"""A server in front of a local file; its port is this program's argument, 0 for a free one."""

import sys

from track.persistence.socketed import start_track_server

address = "127.0.0.1"
port = int(sys.argv[1])
layer = "AES"

if __name__ == "__main__":
    start_track_server("file:server_test.json", address, port, backend=layer)
