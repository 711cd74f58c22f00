"""Tests OpenAI's Python SDK against a running service. Arguments: URL KEY AUDIO_FILE OTHER_AUDIO_FILE."""

import base64
import sys

import openai

url, key, *paths = sys.argv[1:]
recordings = [base64.b64encode(open(path, "rb").read()).decode() for path in paths]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

# By default, the SDK requests base64 and decodes it.
asked_for_base64 = client.embeddings.create(model="resemblyzer", input=recordings, user="someone")
floats = client.embeddings.create(model="resemblyzer", input=recordings, encoding_format="float")
for one, other in zip(asked_for_base64.data, floats.data, strict=True):
    assert len(one.embedding) == 256 and one.index == other.index
    assert max(abs(a - b) for a, b in zip(one.embedding, other.embedding, strict=True)) < 1e-6
assert asked_for_base64.usage.total_tokens > 0
single = client.embeddings.create(model=floats.model, input=recordings[0])
assert list(single.data[0].embedding) == list(asked_for_base64.data[0].embedding)
assert [model.id for model in client.models.list()] == ["resemblyzer"]
assert client.models.retrieve(floats.model).owned_by


def error(of, make):
    try:
        make()
    except of as error:
        return error
    raise AssertionError(f"no {of}")


def create(input=recordings[0], model="resemblyzer", **options):
    return client.embeddings.create(model=model, input=input, **options)


bad = error(openai.UnprocessableEntityError, lambda: create([recordings[0], "AAAA"], extra_body={"colour": 1}))
assert (bad.code, bad.param, bad.type) == ("validation_error", "colour", "invalid_request_error"), bad
assert error(openai.NotFoundError, lambda: create(model="whisper")).code == "model_not_found"
assert error(openai.ConflictError, lambda: create(model="resemblyzer-0.1.4/0")).code == "model_mismatch"
assert error(openai.BadRequestError, lambda: create(dimensions=3)).param == "dimensions"
assert "check_embedding_ctx_length" in error(openai.UnprocessableEntityError, lambda: create([[1, 2]])).message
wrong = openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0)
assert error(openai.AuthenticationError, wrong.models.list).code == "invalid_api_key"
print("openai works")

try:
    from langchain_openai import OpenAIEmbeddings
except ImportError:
    print("langchain_openai is not installed")
else:
    langchain = OpenAIEmbeddings(
        model="resemblyzer", base_url=f"{url}/v1", api_key=key, check_embedding_ctx_length=False
    )
    embedded = langchain.embed_documents(recordings)
    assert max(abs(a - b) for a, b in zip(embedded[1], floats.data[1].embedding, strict=True)) < 1e-6
    print("langchain_openai works")
