"""Leaves headers alone that frame a message: the server's HTTP library answers nonsense in them before any route is found. A value
by which urllib3 means no header cannot be sent at all. Lines of JSON are sent as the text that they are."""

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
