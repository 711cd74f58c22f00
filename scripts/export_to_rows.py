"""Converts an export of speakers on standard input into rows for COPY in PostgreSQL with pgvector.

The columns are collection, speaker, enrolment, model and embedding.
"""

import base64
import json
import struct
import sys

for line in sys.stdin:
    speaker = json.loads(line)
    for enrolment in speaker.get("enrolments", []):
        packed = base64.b64decode(enrolment["embedding"])
        embedding = list(struct.unpack(f"<{len(packed) // 4}f", packed))
        print(speaker["collection"], speaker["id"], enrolment["id"], enrolment["model"], embedding, sep="\t")
