// The official `openai` package against sluice-engine, as its users write it.
//
// SLUICE_ENGINE=... node --test client_test.mjs, from the folder where `npm ci` has put the package: run.sh does both.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { test, before, after } from "node:test";
import path from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(path.join(process.cwd(), "package.json"));
const { default: OpenAI } = await import(pathToFileURL(require.resolve("openai")));
const engine = process.env.SLUICE_ENGINE;
const words = " the water runs down from".split(/(?= )/);  // how the script begins

let child, base, client;

before(async () => {
  child = spawn(engine, ["--backend", "scripted", "--script", "ttft=5ms,gap=1ms,tokens=5", "--port", "0", "--queue", "64",
                         "--die-with-parent"], { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  const port = await new Promise((resolve, reject) => {
    child.stderr.on("data", (bytes) => {
      log += bytes;
      const match = log.match(/^sluice-engine: listening on 127\.0\.0\.1:(\d+)$/m);
      if (match) resolve(match[1]);
    });
    child.on("error", reject);
    child.on("exit", () => reject(new Error(`the engine ended: ${log}`)));
  });
  base = `http://127.0.0.1:${port}`;
  for (const deadline = Date.now() + 20000; ;) {
    const response = await fetch(`${base}/ready`);
    if (response.ok) break;
    assert.ok(Date.now() < deadline, log);
  }
  client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0 });
});

after(async () => {
  child.removeAllListeners("exit");
  const ended = new Promise((resolve) => child.on("exit", resolve));
  child.kill("SIGTERM");
  assert.equal(await ended, 0);
});

const ask = (more = {}) => ({ model: "scripted", messages: [{ role: "user", content: "hi" }], ...more });

async function metric(name, label = "") {
  const text = await (await fetch(`${base}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(name + "{") && one.includes(label));
  return Number(line.split(" ").at(-1));
}

test("lists the model", async () => {
  const models = await client.models.list();
  assert.deepEqual(models.data.map((model) => model.id), ["scripted"]);
  assert.equal((await client.models.retrieve("scripted")).object, "model");
});

test("a whole answer", async () => {
  const answer = await client.chat.completions.create(ask());
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.choices[0].message.content, words.join(""));
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage.completion_tokens, 5);
});

test("a stream, chunk by chunk, with usage", async () => {
  const stream = await client.chat.completions.create(ask({ stream: true, stream_options: { include_usage: true } }));
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.deepEqual(chunks.slice(1, 6).map((chunk) => chunk.choices[0].delta.content), words);
  assert.equal(chunks[6].choices[0].finish_reason, "stop");
  assert.equal(chunks[7].usage.total_tokens, chunks[7].usage.prompt_tokens + 5);
  assert.equal(chunks.length, 8);
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
});

test("the stream helper gathers the same message", async () => {
  const runner = client.chat.completions.stream(ask({ max_tokens: 3 }));
  const message = await runner.finalMessage();
  assert.equal(message.content, words.slice(0, 3).join(""));
  assert.equal((await runner.finalChatCompletion()).choices[0].finish_reason, "length");
});

test("text completions", async () => {
  const answer = await client.completions.create({ model: "scripted", prompt: "hi", stop: " runs" });
  assert.equal(answer.choices[0].text, words.slice(0, 2).join(""));
  const stream = await client.completions.create({ model: "scripted", prompt: "hi", stream: true, max_tokens: 2 });
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0].text;
  assert.equal(text, words.slice(0, 2).join(""));
});

test("log probabilities, whole, streamed and gathered by the helper", async () => {
  const tokens = (choice) => choice.logprobs.content.map((one) => [one.token, Buffer.from(one.bytes).toString(), one.logprob]);
  const expected = words.map((word) => [word, word, 0]);
  const answer = await client.chat.completions.create(ask({ logprobs: true, top_logprobs: 2, n: 2 }));
  for (const choice of answer.choices) {
    assert.deepEqual(tokens(choice), expected);
    assert.deepEqual(choice.logprobs.content[0].top_logprobs.map((one) => one.token), [words[0]]);
  }
  const gathered = await client.chat.completions.stream(ask({ logprobs: true })).finalChatCompletion();
  assert.deepEqual(tokens(gathered.choices[0]), expected);
  const text = await client.completions.create({ model: "scripted", prompt: "hi", logprobs: 1, max_tokens: 3 });
  const { tokens: said, token_logprobs, top_logprobs, text_offset } = text.choices[0].logprobs;
  assert.deepEqual(said, words.slice(0, 3));
  assert.deepEqual(token_logprobs, [0, 0, 0]);
  assert.deepEqual(top_logprobs, said.map((word) => ({ [word]: 0 })));
  assert.deepEqual(text_offset, [0, words[0].length, words[0].length + words[1].length]);
});

test("errors are the package's own kinds, with param and code", async () => {
  await assert.rejects(client.chat.completions.create(ask({ temperature: 9 })), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "temperature");
    assert.equal(error.type, "invalid_request_error");
    return true;
  });
  await assert.rejects(client.chat.completions.create(ask({ model: "nothing" })), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    return true;
  });
});

test("an aborted stream is cancelled at the server", async () => {
  const cancelled = () => metric("sluice_requests_finished_total", 'reason="cancelled"');
  const earlier = await cancelled();
  const stream = await client.chat.completions.create(ask({ stream: true, ignore_eos: true, max_tokens: 100000 }));
  let seen = 0;
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content && ++seen === 3) break;  // the package aborts the request here
  }
  for (const deadline = Date.now() + 20000; (await metric("sluice_requests_running")) !== 0;) {
    assert.ok(Date.now() < deadline, "the request went on without its client");
  }
  assert.equal(await cancelled(), earlier + 1);
});

test("many at once", async () => {
  const answers = await Promise.all(Array.from({ length: 50 }, () => client.chat.completions.create(ask({ stream: false }))));
  for (const answer of answers) assert.equal(answer.choices[0].message.content, words.join(""));
});
