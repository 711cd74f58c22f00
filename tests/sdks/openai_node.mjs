// Tests OpenAI's Node SDK against a running service. Arguments: URL KEY AUDIO_FILE OTHER_AUDIO_FILE.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const OpenAI = createRequire(`${process.env.SDK_FOLDER}/`)("openai").default;
const [url, key, ...paths] = process.argv.slice(2);
const recordings = paths.map((path) => readFileSync(path).toString("base64"));
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });

// By default, the SDK requests base64 and decodes it.
const askedForBase64 = await client.embeddings.create({ model: "resemblyzer", input: recordings });
const floats = await client.embeddings.create({
  model: "resemblyzer",
  input: recordings,
  encoding_format: "float",
});
assert.equal(floats.data.length, 2);
floats.data.forEach(({ embedding, index }, i) => {
  assert.equal(index, i);
  assert.equal(embedding.length, 256);
  embedding.forEach((c, j) => assert(Math.abs(c - askedForBase64.data[i].embedding[j]) < 1e-6));
});
const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.deepEqual(models, ["resemblyzer"]);
assert.equal((await client.models.retrieve(floats.model)).id, "resemblyzer");

const create = (options) => client.embeddings.create({ model: "resemblyzer", input: recordings[0], ...options });
await assert.rejects(create({ input: [recordings[0], "!"] }), (error) => {
  assert(error instanceof OpenAI.BadRequestError);
  assert.equal(error.code, "invalid_base64");
  assert.equal(error.param, "input[1]");
  assert.equal(error.type, "invalid_request_error");
  return true;
});
await assert.rejects(create({ model: "whisper" }), OpenAI.NotFoundError);
await assert.rejects(create({ model: "resemblyzer-0.1.4/0" }), OpenAI.ConflictError);
await assert.rejects(create({ input: [] }), OpenAI.UnprocessableEntityError);
const wrong = new OpenAI({ baseURL: `${url}/v1`, apiKey: "wrong", maxRetries: 0 });
await assert.rejects(wrong.models.list(), OpenAI.AuthenticationError);
console.log("openai works");
