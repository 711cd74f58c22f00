"""Sends a recording to a running service: ask.py URL AUDIO_FILE. The exit status is 1 if the service does not respond yet."""

import base64
import json
import os
import sys
import urllib.error
import urllib.request

url, path = sys.argv[1:]
with open(path, "rb") as file:
    body = json.dumps({"audio_base64": base64.b64encode(file.read()).decode()}).encode()
headers = {"Content-Type": "application/json", "X-API-Key": os.environ.get("API_KEY", "dev-key-change-me")}
try:
    # The service runs on this machine, so a proxy from the environment must not be used.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(f"{url}/extract-embedding", body, headers)) as answer:
        embedding = json.load(answer)
except urllib.error.HTTPError as error:
    sys.exit(f"{error.code}: {error.read().decode()}")
except urllib.error.URLError:
    sys.exit(1)
print(f"{embedding['dimension']} dimensions, model {embedding['model']}, audio {embedding['audio']}")
