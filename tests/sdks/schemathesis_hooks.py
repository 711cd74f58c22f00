"""Leaves headers alone that frame a message: the server's HTTP library answers nonsense in them before any route is found. A value
by which urllib3 means no header cannot be sent at all."""

import schemathesis
from urllib3.util import SKIP_HEADER

FRAMING = ("content-length", "transfer-encoding", "connection", "upgrade", "expect", "te", "trailer")


@schemathesis.hook
def map_headers(context, headers):
    return headers and {
        name: value for name, value in headers.items() if name.lower() not in FRAMING and value != SKIP_HEADER
    }
