"""Tests the client of openapi-python-client against a running service. Arguments: URL KEY AUDIO_FILE OTHER_AUDIO_FILE."""

import base64
import importlib
import io
import pkgutil
import sys

import voice_embedding_service_client.api as api
from voice_embedding_service_client import AuthenticatedClient, models
from voice_embedding_service_client.types import File

url, key, *paths = sys.argv[1:]
recordings = [open(path, "rb").read() for path in paths]
client = AuthenticatedClient(base_url=url, token=key, prefix="", auth_header_name="X-API-Key")
modules = {
    module.name.rsplit(".", 1)[-1]: importlib.import_module(module.name)
    for module in pkgutil.walk_packages(api.__path__, "voice_embedding_service_client.api.")
}


def ask(module, **arguments):
    response = modules[module].sync_detailed(client=client, **arguments)
    assert response.status_code == 200, (module, response.content)
    return response.parsed


def file(recording):
    return File(payload=io.BytesIO(recording), file_name="voice.wav", mime_type="audio/wav")


text = base64.b64encode(recordings[0]).decode()
as_json = ask("extract_embedding", body=models.ExtractRequest(audio_base64=text))
as_body = ask("extract_embedding", body=file(recordings[0]))
as_form = ask("upload", body=models.UploadForm(file=file(recordings[0])))
assert as_json.dimension == 256 and len(as_json.embedding) == 256
assert as_json.embedding == as_body.embedding == as_form.embedding
compared = ask(
    "compare_embeddings",
    body=models.CompareRequest(embedding1=as_json.embedding, embedding2=as_form.embedding),
)
assert compared.is_same_speaker and abs(compared.similarity - 1) < 1e-6
many = ask("embeddings", body=models.EmbeddingsRequest(input_=[base64.b64encode(r).decode() for r in recordings]))
assert [data.index for data in many.data] == [0, 1] and many.usage.total_tokens > 0
voice = models.VoiceFields(audio_base64=text)
verified = ask("verify", body=models.VerifyRequest(a=voice, b=voice))
assert verified.is_same_speaker and verified.a.audio.warnings == []
refused = modules["extract_embedding"].sync(client=client, body=models.ExtractRequest(audio_base64="AAAA"))
assert refused.code == "unsupported_audio", refused
assert ask("health").status == "healthy"
print("the generated client works")
