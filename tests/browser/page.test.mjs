// Tests the page in Chromium against a running service, as users operate it.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs/promises";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { AXE, conversation, giveKey, KEY, openPage, startBrowser, startService, voice } from "./harness.mjs";

const PHONE = { viewport: { width: 360, height: 720 }, hasTouch: true, isMobile: true };
const DARK = { colorScheme: "dark" };

let [browser, service] = [];

before(async () => {
  [browser, service] = await Promise.all([startBrowser(), startService()]);
});

after(async () => {
  await browser?.close();
  await service?.stop();
});

/** Opens the page with its key at a view. */
async function open(view, options) {
  const page = await openPage(browser, service.url, options);
  await giveKey(page);
  await go(page, view);
  return page;
}

async function go(page, view) {
  await page.getByRole("link", { name: view }).click();
  await page.getByRole("heading", { level: 2 }).waitFor();
}

async function close(page) {
  assert.deepEqual(page.problems, []);
  await page.context().close();
}

const main = (page) => page.locator("main");

/** Records until the page has heard some seconds of speech. */
async function record(page, within) {
  await within.getByRole("button", { name: "Record", exact: true }).click();
  const dialog = page.getByRole("dialog", { name: "Record a voice" });
  await dialog.getByText(/[4-9]\.\d s of speech so far/).waitFor();
  assert.ok(await dialog.getByRole("meter").evaluate(({ value }) => value > 0.2), "the level is shown");
  await dialog.getByRole("button", { name: "Use recording" }).click();
}

/** Enrols a speaker with files. */
async function enrol(page, name, ...files) {
  await go(page, "Speakers");
  const summary = page.getByRole("heading", { name: "Enrol a speaker" });
  if (!(await page.getByLabel(/speaker alone/).isVisible())) await summary.click();
  await page.locator("details").last().getByLabel("Name").fill(name);
  await page.getByLabel(/speaker alone/).setInputFiles(voice(files[0]));
  await main(page).getByText(`${name} is enrolled.`).waitFor();
  for (const file of files.slice(1)) {
    await page.getByLabel(`Another sample of ${name}`).setInputFiles(voice(file));
    await main(page).getByText(/^Enrolled: /).waitFor();
  }
}

async function axe(page, view) {
  await page.addScriptTag({ path: AXE }).catch(() => page.evaluate(AXE_SOURCE));
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  assert.deepEqual(told, [], view);
}

const AXE_SOURCE = await fs.readFile(AXE, "utf8");

test("recordings are compared, recoloured and taken along", async () => {
  const page = await open("Compare", { permissions: ["microphone", "clipboard-read", "clipboard-write"] });
  await page.getByLabel(/Recordings to compare/).setInputFiles(["alan-2", "beth-1", "beth-2"].map(voice));
  const table = page.getByRole("table", { name: /Similarities/ });
  await table.waitFor();
  await record(page, main(page));
  const recorded = page.getByRole("columnheader", { name: /^recording-1/ });
  await recorded.waitFor();
  const cells = await table.getByRole("row").nth(1).getByRole("cell").allTextContents();
  assert.ok(parseFloat(cells[3]) > 0.75, `the microphone's voice is alan's: ${cells}`);
  const groups = page.locator(".groups > li");
  assert.deepEqual(await groups.allInnerTexts(), ["alan-2.wavrecording-1.webm", "beth-1.wavbeth-2.wav"]);

  // The text below the threshold is the service's statement about such comparisons.
  const slider = page.getByLabel("Threshold");
  await slider.fill("0.8");
  const meaning = await page.locator("#meaning").textContent();
  assert.match(meaning, /^Above 0\.800 two voices count as one\. On clean read English.* (about|at most) 1 in \d+ comparisons/);
  assert.equal(await table.locator("td.same").count(), 4);
  await slider.fill("0.995");
  assert.equal(await table.locator("td.same").count(), 0);
  await page.waitForFunction(() => document.querySelectorAll(".groups > li").length === 4);

  await page.getByRole("button", { name: "Copy as CSV" }).click();
  await page.getByText("Copied", { exact: true }).waitFor();
  const csv = (await page.evaluate(() => navigator.clipboard.readText())).trim().split("\n");
  assert.equal(csv.length, 5);
  assert.match(csv[0], /^,"alan-2.wav","beth-1.wav","beth-2.wav","recording-1.webm"$/);
  await page.getByRole("button", { name: "Copy as JSON" }).click();
  const json = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
  assert.deepEqual([json.labels.length, json.threshold, json.matrix[0][0]], [4, 0.995, 1]);

  await page.getByRole("button", { name: "Remove recording-1.webm" }).click();
  await recorded.waitFor({ state: "detached" });
  // The remaining recordings are grouped with the chosen threshold.
  assert.equal(await slider.inputValue(), "0.995");
  assert.equal(await groups.count(), 3);
  const command = await page.locator("pre").textContent();
  const answer = execFileSync("sh", ["-c", command], { cwd: path.dirname(voice("alan-1")), env: { ...process.env, API_KEY: KEY } });
  assert.deepEqual(JSON.parse(answer).clusters, [[0], [1], [2]]);
  await close(page);
});

test("the page's rate is the service's", async () => {
  const page = await open("Compare");
  const worst = await page.evaluate(async (key) => {
    const { falseAcceptRate } = await import("./app/calibration.js");
    const headers = { "X-API-Key": key, "Content-Type": "application/json" };
    const calibration = await (await fetch("v1/calibration?model=resemblyzer", { headers })).json();
    const vector = (angle) => Array.from({ length: 256 }, (_, i) => [Math.cos(angle), Math.sin(angle)][i] ?? 0);
    let worst = 0;
    for (const [similarity, a, b] of [[0.6, 2, 2], [0.75, 0.7, 9], [0.8, 5, 3], [0.85, 1.2, 1.3], [0.9, 40, 12], [0.3, 6, 6]]) {
      const side = (angle, speech_seconds) => ({ embedding: vector(angle), model: "resemblyzer", speech_seconds });
      const body = JSON.stringify({ a: side(0, a), b: side(Math.acos(similarity), b) });
      const told = await (await fetch("v1/verify", { method: "POST", headers, body })).json();
      worst = Math.max(worst, Math.abs(falseAcceptRate(calibration, similarity, a, b).rate / told.false_accept_rate - 1));
    }
    return worst;
  }, KEY);
  assert.ok(worst < 1e-6, String(worst));
  await close(page);
});

test("speakers are enrolled, identified, corrected and deleted", async () => {
  const page = await open("Speakers", { permissions: ["microphone"], acceptDownloads: true });
  await page.getByLabel("Collection").fill("family");
  await page.getByLabel("Collection").blur();
  await enrol(page, "Beth", "beth-1");
  await enrol(page, "alan", "alan-1", "alan-2");
  const list = page.locator(".speakers");
  assert.deepEqual(await list.locator("strong").allInnerTexts(), ["alan", "Beth"], "by name");
  await page.locator(".detail").getByLabel("Name").fill("Alan");
  await page.getByRole("button", { name: "Rename" }).click();
  await list.getByRole("button", { name: /Beth/ }).click();
  await page.getByRole("heading", { name: "Beth", level: 4 }).waitFor();
  assert.match(await page.locator(".detail > p").first().textContent(), /^\d+\.\d s of speech/, "no id that was made");

  // The page reports what is wrong with a sample, and the user may override it.
  const sample = page.getByLabel("Another sample of Beth");
  await sample.setInputFiles(voice("alan-2"));
  await page.locator(".detail .message.error").getByText(/enrolled/).waitFor();
  await sample.setInputFiles(voice("cole-2"));
  await main(page).getByText(/the voice differs from this speaker's enrolments/).waitFor();
  await page.getByRole("button", { name: "Enrol anyway" }).waitFor();
  await page.locator("details").last().getByLabel("Name").fill("Nobody");
  await page.getByLabel(/speaker alone/).setInputFiles(voice("alan-2"));
  await main(page).getByText(/This voice matches Alan/).waitFor();

  // The microphone plays alan-1.
  await record(page, page.locator("details").first());
  await main(page).getByText("This is Alan.").waitFor();
  const ranking = await page.locator(".ranking li").allInnerTexts();
  assert.match(ranking[0], /^Alan/);
  assert.match(await page.locator(".ranking + p").textContent(), /Of searches among 2 for people who are not enrolled/);

  await page.getByLabel("Search by name").fill("ALA");
  await list.getByRole("button", { name: /Beth/ }).waitFor({ state: "detached" });
  await list.getByRole("button", { name: /Alan/ }).click();
  await page.getByRole("heading", { name: "Alan", level: 4 }).waitFor();
  await page.locator(".detail").getByLabel("Name").fill("Alan T.");
  await page.getByRole("button", { name: "Rename" }).click();
  await list.getByRole("button", { name: /Alan T\. 2 samples/ }).waitFor();

  await page.getByLabel("Search by name").fill("");
  await list.getByRole("button", { name: /Beth/ }).waitFor();
  await page.getByRole("button", { name: /^Move the sample/ }).last().click();
  await page.getByRole("dialog").getByRole("button", { name: "Move" }).click();
  await list.getByRole("button", { name: /Beth 2 samples/ }).waitFor();
  await page.getByRole("button", { name: "Merge another speaker into this one" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Merge" }).click();
  await list.getByRole("button", { name: /Beth/ }).waitFor({ state: "detached" });
  await list.getByRole("button", { name: /Alan T\. 3 samples/ }).waitFor();

  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Export this collection" }).click();
  const lines = (await fs.readFile(await (await download).path(), "utf8")).trim().split("\n");
  assert.deepEqual(JSON.parse(lines.at(-1)), { end: true, speakers: 1 });

  await page.getByRole("button", { name: /^Delete the sample/ }).first().click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await list.getByRole("button", { name: /Alan T\. 2 samples/ }).waitFor();
  await page.getByRole("button", { name: "Delete Alan T." }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  await list.getByRole("button", { name: /Alan T\./ }).waitFor();
  await page.getByRole("button", { name: "Delete Alan T." }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await main(page).getByText("Alan T. is deleted.").waitFor();
  assert.equal(await page.locator(".ranking").count(), 0, "whose voice it was is not known any more");
  await list.getByText("No speakers yet.").waitFor();
  await close(page);
});

test("on this machine the well-known key is enough, and a click gives a result", async (t) => {
  const local = await startService({ API_KEY: "" });
  t.after(() => local.stop());
  const page = await openPage(browser, local.url);
  await page.getByRole("button", { name: "Try with sample voices" }).click();
  await main(page).getByText("anna-1 and anna-2 are the same person; marcus-1 is somebody else.").waitFor();
  await go(page, "Who spoke when");
  await page.getByRole("button", { name: "Try with a sample meeting" }).click();
  const table = page.getByRole("table", { name: "Who said what" });
  await table.waitFor();
  assert.equal(await page.locator(".lane").count(), 3);
  assert.equal(await table.locator("tbody tr").first().locator("td").nth(2).textContent(), "Shall we start? Marcus, how did the test go?");
  assert.ok((await table.locator(".dot").count()) > 5, "lines have their speaker's colour");
  await table.getByRole("button").nth(1).click();
  await table.locator("tr.now").waitFor();

  // Overlapping speech is marked in both lanes.
  const overlapping = page.locator(".lane").filter({ has: page.locator(".overlap") });
  assert.equal(await overlapping.count(), 2);
  await page.getByText(/^Model: CAM\+\+\. Hatched: overlapping speech, 0\.\d s/).waitFor();

  // An edited name appears everywhere, including in downloads.
  await page.getByLabel("Name of S2").fill("Marcus <M> & Co");
  await table.getByRole("row", { name: /0:03\.8 Marcus <M> & Co It went well/ }).waitFor();
  await page.getByRole("button", { name: /^Play Marcus <M> & Co from 0:03/ }).waitFor();
  const save = async (format) => {
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: `Download ${format}` }).click()]);
    return fs.readFile(await file.path(), "utf8");
  };
  const [rttm, vtt, srt] = [await save("RTTM"), await save("VTT"), await save("SRT")];
  assert.match(rttm, / S1 .*\nSPEAKER meeting 1 3\.\d+ 3\.\d+ <NA> <NA> Marcus_<M>_&_Co <NA> <NA>\n/);
  assert.match(vtt, /<v S1>Shall we start\?.*\n\n.*\n<v Marcus &lt;M&gt; &amp; Co>It went well/);
  assert.match(srt, /\nS1: Shall we start\?.*\n\n2\n.*\nMarcus <M> & Co: It went well/);

  // Repeats the analysis with the other model.
  await page.getByLabel("Model").selectOption("Resemblyzer");
  await page.getByText(/^Model: Resemblyzer\./).waitFor();
  await go(page, "Compare");
  await page.getByRole("table", { name: "Similarities by Resemblyzer, from -1 to 1" }).waitFor();
  await page.getByLabel("Model").selectOption("automatic");
  await page.getByRole("table", { name: "Similarities by CAM++, from -1 to 1" }).waitFor();
  await close(page);
});

test("a transcript of cues is shown as a table", async () => {
  const page = await open("Who spoke when");
  const file = path.join(await fs.mkdtemp(path.join(os.tmpdir(), "page-")), "talk.srt");
  await fs.writeFile(file, "1\n00:00:00,500 --> 00:00:04,000\nOne &amp; two: three\n\n2\n00:00:08,000 --> 00:00:12,000\nFour\n");
  await page.getByLabel(/A recording of a conversation/).setInputFiles([await conversation(), file]);
  const rows = page.getByRole("table", { name: "Who said what" }).locator("tbody tr");
  await rows.nth(1).waitFor();
  assert.deepEqual(await rows.nth(1).locator("td").allTextContents(), ["0:08.0", "S2", "Four"]);
  await close(page);
});

test("a microphone is listened to live, with a name, and taken along", async () => {
  const page = await open("Speakers", { permissions: ["microphone"] });
  await enrol(page, "Alan", "alan-2");
  await go(page, "Live");
  await page.getByRole("button", { name: "Listen" }).click();
  await page.getByText(/^Listening: 0:0[1-9]\.\d/).waitFor();
  const name = page.getByLabel("Name of S1");
  await name.waitFor();
  await page.waitForFunction(() => document.querySelector("input[aria-label='Name of S1']")?.value === "Alan", null, { timeout: 30_000 });
  await page.getByText(/^Listening: .* – Alan/).waitFor();
  await name.fill("Alan himself");
  await page.getByRole("button", { name: "Stop" }).click();
  await main(page).getByText(/^1 speaker, \d+ turns? in 0:/).waitFor();
  assert.equal(await name.inputValue(), "Alan himself");
  const save = async (format) => {
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: `Download ${format}` }).click()]);
    return fs.readFile(await file.path());
  };
  assert.match(String(await save("RTTM")), /^SPEAKER live 1 \d+\.\d{3} \d+\.\d{3} <NA> <NA> Alan_himself <NA> <NA>\n/);
  assert.match(String(await save("VTT")), /^WEBVTT\n\n00:00:\d\d\.\d{3} --> 00:00:\d\d\.\d{3}\n<v Alan himself>/);
  const wav = await save("WAV");
  assert.deepEqual([String(wav.subarray(0, 4)), wav.readUInt32LE(40)], ["RIFF", wav.length - 44]);
  // Starts a second session.
  await page.getByRole("button", { name: "Listen" }).click();
  await page.getByText(/^Listening: 0:0[1-9]/).waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await main(page).getByText(/in 0:0/).waitFor();
  // The voices of the other tests are too similar to this one.
  await go(page, "Speakers");
  await page.getByRole("button", { name: "Delete Alan" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await main(page).getByText("Alan is deleted.").waitFor();
  await close(page);
});

test("turns are shown, named, enrolled and downloaded", async () => {
  const talk = await conversation();
  const page = await open("Who spoke when", { acceptDownloads: true });
  await page.getByLabel("Number of speakers").fill("2");
  await page.getByLabel("Names from the collection").fill("talk");
  await page.getByLabel(/A recording of a conversation/).setInputFiles(talk);
  await page.getByRole("button", { name: /^Play S1 from 0:00/ }).waitFor();
  assert.equal(await page.locator(".lane").count(), 2);
  assert.equal(await page.locator(".turn").count(), 4);
  await page.getByRole("button", { name: /^Play S2 from/ }).first().click();
  await page.waitForFunction(() => document.querySelector("audio").currentTime > 5);

  await page.getByLabel("Name of S1").fill("Ann");
  await page.getByRole("button", { name: "Enrol S1 …" }).click();
  assert.equal(await page.getByRole("dialog").getByLabel("Name").inputValue(), "Ann");
  await page.getByRole("dialog").getByRole("button", { name: "Enrol" }).click();
  await page.getByRole("button", { name: "Enrol S2 …" }).waitFor();
  await page.getByRole("button", { name: "Enrol S1 …" }).waitFor({ state: "detached" });
  assert.equal(await page.getByLabel("Name of S1").inputValue(), "Ann");

  // After her enrolment, the next result has her name, also in a transcript.
  const transcript = talk.replace("talk.wav", "talk.vtt");
  await fs.writeFile(transcript, "WEBVTT\n\n00:00:01.000 --> 00:00:05.000\nhello\n\n00:00:07.000 --> 00:00:11.000\ngood day\n");
  await page.getByLabel(/A recording of a conversation/).setInputFiles(transcript);
  await page.getByRole("row", { name: /Ann hello$/ }).waitFor();
  for (const [format, expected] of [["RTTM", /^SPEAKER talk 1 0\.\d+ \d/], ["VTT", /<v Ann>hello/], ["SRT", /Ann: hello/]]) {
    const download = page.waitForEvent("download");
    await page.getByRole("button", { name: `Download ${format}` }).click();
    const file = await download;
    assert.equal(file.suggestedFilename(), `talk.${format.toLowerCase()}`);
    assert.match(await fs.readFile(await file.path(), "utf8"), expected);
  }
  const whisper = talk.replace("talk.wav", "whisper.json");
  await fs.writeFile(whisper, JSON.stringify({ text: "hello", segments: [{ id: 0, start: 1, end: 5, text: "hello" }] }));
  await page.getByLabel(/A recording of a conversation/).setInputFiles([whisper, talk]);
  await page.getByRole("row", { name: /0:01\.0 Ann hello/ }).waitFor();
  await page.getByLabel("Number of speakers").fill("1");
  await page.getByRole("button", { name: "Without the transcript" }).click();
  await page.waitForFunction(() => document.querySelectorAll(".lane").length === 1);
  await page.getByRole("table", { name: "Who spoke when" }).waitFor();
  // A bad transcript leaves the result in place.
  const wrong = talk.replace("talk.wav", "wrong.srt");
  await fs.writeFile(wrong, "no transcript");
  await page.getByLabel(/A recording of a conversation/).setInputFiles(wrong);
  await page.getByRole("alert").waitFor();
  assert.equal(await page.locator(".lane").count(), 1);
  await page.getByRole("button", { name: "Analyse again" }).click();
  await page.getByRole("alert").waitFor({ state: "hidden" });
  await close(page);
});

test("answers that come too late are dropped", async () => {
  const page = await open("Compare");
  const table = page.getByRole("table", { name: /Similarities/ });
  await page.getByLabel(/Recordings to compare/).setInputFiles(["alan-1", "alan-2", "beth-1", "cole-1"].map(voice));
  await table.waitFor();
  // The response to the first removal arrives after the response to the second.
  let n = 0;
  await page.route("**/v1/similarities", async (route) => {
    n += 1;
    if (n === 1) await new Promise((resolve) => setTimeout(resolve, 1_500));
    await route.continue();
  });
  await page.getByRole("button", { name: "Remove cole-1.wav" }).click();
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Remove beth-1.wav");
  await page.getByRole("button", { name: "Remove beth-1.wav" }).click();
  await page.waitForFunction(() => document.querySelectorAll(".matrix tbody tr").length === 2);
  await page.waitForTimeout(2_000);
  assert.equal(await table.locator("tbody tr").count(), 2);
  assert.equal(await page.locator(".groups > li").count(), 1);
  await close(page);
});

test("details belong to their collection", async () => {
  const page = await open("Speakers");
  for (const collection of ["one", "two"]) {
    await page.getByLabel("Collection").fill(collection);
    await page.getByLabel("Collection").blur();
    if (!(await page.getByLabel(/speaker alone/).isVisible())) await page.getByRole("heading", { name: "Enrol a speaker" }).click();
    await page.locator("details").last().getByLabel("Id").fill("ann");
    await enrol(page, `Ann of ${collection}`, "beth-1");
  }
  await page.getByLabel("Collection").fill("one");
  // The field still has the focus, so the page still shows the other collection.
  const asked = page.waitForRequest((request) => request.method() === "DELETE");
  await page.getByRole("button", { name: "Delete Ann of two" }).dispatchEvent("click");
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  assert.match((await asked).url(), /\/v1\/speakers\/ann\?collection=two$/);
  await page.locator(".speakers").getByRole("button", { name: /Ann of one/ }).click();
  await page.getByRole("heading", { name: "Ann of one" }).waitFor();
  await page.getByLabel("Collection").fill("two");
  await page.getByLabel("Collection").blur();
  await page.getByRole("heading", { name: "Ann of one" }).waitFor({ state: "detached" });
  await close(page);
});

test("a wrong key is told and asked for again, and kept in the tab alone", async () => {
  const page = await openPage(browser, service.url);
  await giveKey(page, "wrong");
  await page.getByRole("dialog").getByText(/Invalid API key/).waitFor();
  await giveKey(page, "naïve – €");
  await page.getByRole("dialog").getByText(/ASCII letters/).waitFor();
  await giveKey(page);
  await page.getByRole("button", { name: "Key: default" }).waitFor();
  await page.reload();
  await page.getByRole("heading", { name: "Compare voices" }).waitFor();
  // A wrong key in place of a valid one loses nothing.
  await page.getByLabel(/Recordings to compare/).setInputFiles(voice("alan-1"));
  await page.getByRole("button", { name: "Key: default" }).click();
  await giveKey(page, "wrong");
  await page.getByRole("dialog").getByText(/Invalid API key/).waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Key: default" }).waitFor();
  await page.getByRole("heading", { name: "alan-1.wav" }).waitFor();
  assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [0, 1, ""]);
  const other = await page.context().newPage();
  await other.goto(`${service.url}/`);
  await other.getByRole("dialog", { name: "API key" }).waitFor();
  await other.getByRole("button", { name: "Cancel" }).click();
  await other.getByText("This page needs an API key").waitFor();
  await close(page);
});

test("only what the key may do is shown", async (t) => {
  const made = spawnSync(process.env.SERVICE, ["key", "new", "phone", "--rights", "embed,identify"], { encoding: "utf8" });
  const [key] = /ves_\S+/.exec(made.stderr) ?? assert.fail(made.stderr);
  const limited = await startService({ KEYS: made.stdout });
  t.after(limited.stop);
  const page = await openPage(browser, limited.url);
  await giveKey(page, key);
  await page.getByRole("button", { name: "Key: phone" }).waitFor();
  await go(page, "Speakers");
  await page.getByRole("heading", { name: "Whose voice is it?" }).waitFor();
  await page.getByText("This key may not list speakers.").waitFor();
  assert.equal(await page.getByText("Enrol a speaker").count(), 0);
  assert.equal(await page.getByRole("button", { name: "Export this collection" }).count(), 0);
  await page.getByRole("link", { name: "Compare" }).click();
  await page.getByText("it needs embed and verify").waitFor();
  await close(page);
});

test("without a store conversations are told all the same", async (t) => {
  const bare = await startService({ DATABASE_URL: "none" });
  t.after(bare.stop);
  const page = await openPage(browser, bare.url);
  await giveKey(page);
  await go(page, "Who spoke when");
  await page.waitForFunction(() => !document.querySelector("input[pattern]").value);
  await page.getByLabel(/A recording of a conversation/).setInputFiles(await conversation());
  await page.locator(".lane").first().waitFor();
  assert.equal(await page.getByRole("button", { name: /This is/ }).count(), 0);
  await close(page);
});

test("a service that stops, a recording that is too large and one that is none are told", async (t) => {
  const small = await startService({ MAX_BODY_BYTES: "150000" });
  t.after(small.stop);
  const page = await openPage(browser, small.url);
  await giveKey(page);
  const input = page.getByLabel(/Recordings to compare/);
  await input.setInputFiles(voice("alan-1"));
  await page.locator(".report.error").getByText(/larger|limit|bytes/i).waitFor();
  const text = path.join(os.tmpdir(), "none.wav");
  await fs.writeFile(text, "no recording");
  await input.setInputFiles(text);
  await page.locator("li", { hasText: "none.wav" }).locator(".report.error").waitFor();
  await page.getByText("This browser cannot show the waveform of this file.").waitFor();
  await small.stop();
  await input.setInputFiles(voice("beth-2"));
  const failed = page.locator("li", { hasText: "beth-2" });
  await failed.getByText("The service does not answer. Is it running?").waitFor();
  await failed.getByRole("button", { name: "Try beth-2.wav again" }).waitFor();
  await go(page, "Speakers");
  await main(page).getByText("The service does not answer. Is it running?").waitFor();
  await close(page);
});

test("a microphone that is refused is told", async () => {
  const page = await open("Compare");
  await page.getByRole("button", { name: "Record", exact: true }).click();
  await page.getByRole("dialog").getByText(/does not let this page use the microphone/).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await close(page);
});

test("the keyboard is enough", async () => {
  const page = await openPage(browser, service.url);
  await page.getByRole("dialog").waitFor();
  await page.keyboard.type(KEY);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Compare voices" }).waitFor();
  const focused = () => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.type);
  const tabTo = async (wanted) => {
    for (let i = 0; i < 40; i += 1) {
      await page.keyboard.press("Tab");
      if (wanted.test(await focused())) return;
    }
    assert.fail(`no way to ${wanted}`);
  };
  await page.evaluate(() => document.activeElement.blur());
  await tabTo(/^Skip to content$/);
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await page.getByLabel(/Recordings to compare/).setInputFiles(["alan-1", "alan-2"].map(voice));
  await page.getByRole("table").waitFor();
  await page.evaluate(() => document.querySelector("main").focus());
  await tabTo(/^file$/);
  await tabTo(/^Record$/);
  await tabTo(/^range$/);
  const before = await page.locator("#meaning").textContent();
  await page.keyboard.press("ArrowRight");
  assert.notEqual(await page.locator("#meaning").textContent(), before);
  await page.getByRole("link", { name: "Speakers" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Speakers", level: 2 }).waitFor();
  await tabTo(/^Whose voice is it/);
  await page.keyboard.press("Enter");
  await page.getByLabel("A recording of somebody").waitFor({ state: "hidden" });
  await close(page);
});

test("nothing stands in the way of screen readers and small screens", async () => {
  const talk = await conversation();
  for (const options of [{}, DARK, PHONE]) {
    // axe is a script that the page's content security policy would block.
    const page = await open("Compare", { ...options, bypassCSP: true, permissions: ["microphone"] });
    const isWide = () => page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    await page.getByLabel(/Recordings to compare/).setInputFiles(["alan-1", "alan-2", "beth-1"].map(voice));
    await page.getByRole("table").waitFor();
    await axe(page, "compare");
    assert.equal(await isWide(), false, "compare");
    await enrol(page, "Cole", "cole-1");
    await page.getByLabel("A recording of somebody").setInputFiles(voice("cole-2"));
    await page.locator(".ranking").waitFor();
    await axe(page, "speakers");
    assert.equal(await isWide(), false, "speakers");
    await page.getByRole("button", { name: "Delete Cole" }).click();
    await axe(page, "a dialog");
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await main(page).getByText("Cole is deleted.").waitFor();
    await go(page, "Who spoke when");
    await page.getByLabel("Number of speakers").fill("2");
    await page.getByLabel(/A recording of a conversation/).setInputFiles(talk);
    await page.getByRole("table").waitFor();
    await axe(page, "turns");
    assert.equal(await isWide(), false, "turns");
    await go(page, "Live");
    await page.getByRole("button", { name: "Listen" }).click();
    await page.getByLabel("Name of S1").waitFor();
    await axe(page, "live");
    assert.equal(await isWide(), false, "live");
    await page.getByRole("button", { name: "Stop" }).click();
    await main(page).getByText(/^\d+ speakers?, \d+ turns? in 0:/).waitFor();
    await close(page);
  }
});

test("a path prefix and no other host", async (t) => {
  const proxy = http.createServer((request, response) => {
    const target = http.request(`${service.url}${request.url.replace(/^\/voice/, "")}`, { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    request.pipe(target);
  });
  t.after(() => proxy.close());
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const page = await openPage(browser, `http://127.0.0.1:${proxy.address().port}/voice`);
  await giveKey(page);
  await page.getByLabel(/Recordings to compare/).setInputFiles(["alan-1", "alan-2"].map(voice));
  await page.getByRole("table").waitFor();
  await page.getByRole("link", { name: "API" }).click();
  await page.waitForURL(/\/voice\/docs\/$/);
  await close(page);
});
