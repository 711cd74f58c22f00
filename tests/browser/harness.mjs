// A browser and a service for the tests.

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import fs from "node:fs/promises";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const REPOSITORY = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

// `make browser` installs these packages.
const require = createRequire(path.join(REPOSITORY, "target/browser/package.json"));
const { chromium } = require("playwright-core");
export const AXE = require.resolve("axe-core/axe.min.js");

export const KEY = "a-key-for-tests";

export const voice = (name) => path.join(REPOSITORY, "tests/fixtures/audio", `${name}.wav`);

async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts a service that stores speakers in memory. Resolves to its URL and a function that stops it. */
export async function startService(variables = {}) {
  const port = await freePort();
  const environment = {
    ORT_DYLIB_PATH: path.join(REPOSITORY, "target/onnxruntime/library"), ...process.env, HOST: "127.0.0.1", PORT: String(port), API_KEY: KEY, DATABASE_URL: "memory:", ENCODER: "native",
    MODELS_DIR: path.join(REPOSITORY, "models"), ...variables,
  };
  const server = spawn(process.env.SERVICE, ["serve"], { env: environment, stdio: "ignore" });
  const url = `http://127.0.0.1:${port}`;
  const stop = async () => {
    if (server.exitCode !== null) return;
    const ended = new Promise((resolve) => server.once("exit", resolve));
    server.kill("SIGTERM");
    await ended;
  };
  for (let attempt = 0; attempt < 300; attempt += 1) {
    if (server.exitCode !== null) throw new Error("the service ended by itself");
    const answer = await fetch(`${url}/ready`).catch(() => null);
    if (answer?.ok) return { url, stop };
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await stop();
  throw new Error("the service is not ready after 30 seconds");
}

/** Starts Chromium with a microphone that plays a recording. */
export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
      "--disable-sync", "--use-fake-device-for-media-stream", `--use-file-for-fake-audio-capture=${voice("alan-1")}`,
    ],
  });
}

/** Opens the page in a separate browser context. A test fails if the page throws, is blocked or sends requests elsewhere. */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  page.on("console", (line) => {
    if (line.type() === "error" && !line.text().startsWith("Failed to load resource")) page.problems.push(line.text());
  });
  page.on("request", (request) => {
    if (!/^(blob:|data:)/.test(request.url()) && !request.url().startsWith(url)) page.problems.push(`asked ${request.url()}`);
  });
  await page.goto(`${url}/`);
  return page;
}

/** Enters the key in the page's dialog. */
export async function giveKey(page, key = KEY) {
  await page.getByLabel("Key", { exact: true }).fill(key);
  await page.getByRole("button", { name: "Use key" }).click();
}

/** Writes a WAV file at 16 kHz in which two voices speak in turns. */
export async function conversation() {
  const files = await Promise.all(["alan-1", "beth-1", "alan-2", "beth-2"].map((name) => fs.readFile(voice(name))));
  const samples = Buffer.concat(files.map((file) => file.subarray(file.indexOf("data") + 8)));
  const header = Buffer.from(files[0].subarray(0, files[0].indexOf("data") + 8));
  header.writeUInt32LE(header.length + samples.length - 8, 4);
  header.writeUInt32LE(samples.length, header.length - 4);
  const file = path.join(await fs.mkdtemp(path.join(os.tmpdir(), "page-")), "talk.wav");
  await fs.writeFile(file, Buffer.concat([header, samples]));
  return file;
}
