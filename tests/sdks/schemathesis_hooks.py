"""Leaves headers alone that frame a message: the server's HTTP library answers nonsense in them before any route is found."""

import schemathesis

FRAMING = ("content-length", "transfer-encoding", "connection", "upgrade", "expect", "te", "trailer")


@schemathesis.hook
def map_headers(context, headers):
    return headers and {name: value for name, value in headers.items() if name.lower() not in FRAMING}
