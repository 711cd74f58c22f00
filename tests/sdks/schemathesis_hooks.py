"""Hooks for Schemathesis.

They keep the headers that frame a message out of the tests: the server's HTTP library rejects bad values in them before any
route is chosen. They also remove the value with which urllib3 marks a missing header, because it cannot be sent. JSON Lines are
sent unchanged.
"""

import json

import schemathesis
from urllib3.util import SKIP_HEADER

FRAMING = ("content-length", "transfer-encoding", "connection", "upgrade", "expect", "te", "trailer")


@schemathesis.hook
def map_headers(context, headers):
    return headers and {
        name: value for name, value in headers.items() if name.lower() not in FRAMING and value != SKIP_HEADER
    }


@schemathesis.serializer("application/x-ndjson")
def as_it_is(context, value):
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode(errors="surrogatepass")
