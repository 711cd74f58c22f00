// Pictures of each view, light, dark and as on a phone, into target/screenshots.

import fs from "node:fs/promises";
import path from "node:path";

import { conversation, giveKey, openPage, REPOSITORY, startBrowser, startService, voice } from "./harness.mjs";

const LOOKS = {
  light: { viewport: { width: 1000, height: 700 } },
  dark: { viewport: { width: 1000, height: 700 }, colorScheme: "dark" },
  phone: { viewport: { width: 390, height: 800 }, isMobile: true, hasTouch: true },
};

const folder = path.join(REPOSITORY, "target/screenshots");
await fs.mkdir(folder, { recursive: true });
const [browser, service, talk] = await Promise.all([startBrowser(), startService(), conversation()]);

for (const [look, options] of Object.entries(LOOKS)) {
  const page = await openPage(browser, service.url, options);
  const shoot = async (view) => {
    // What is drawn, and focused, last.
    await page.evaluate(() => document.activeElement.blur());
    await page.waitForTimeout(300);
    await page.screenshot({ path: path.join(folder, `${view}-${look}.png`), fullPage: true });
  };
  await shoot("key");
  await giveKey(page);
  await page.getByLabel(/Recordings to compare/).setInputFiles(["alan-1", "alan-2", "beth-1", "beth-2"].map(voice));
  await page.getByRole("table").waitFor();
  await shoot("compare");

  await page.getByRole("link", { name: "Speakers" }).click();
  for (const [name, file] of [["Alan", "alan-1"], ["Beth", "beth-1"]]) {
    if (look !== "light") break;
    if (!(await page.getByLabel(/speaker alone/).isVisible())) await page.getByText("Enrol somebody").click();
    await page.locator("details").last().getByLabel("Name").fill(name);
    await page.getByLabel(/speaker alone/).setInputFiles(voice(file));
    await page.locator("main").getByText(`${name} is enrolled.`).waitFor();
  }
  await page.locator(".speakers").getByRole("button", { name: /Alan/ }).click();
  await page.getByRole("heading", { name: "Alan", level: 4 }).waitFor();
  await page.getByLabel("A recording of somebody").setInputFiles(voice("alan-2"));
  await page.locator("main").getByText("This is Alan.").waitFor();
  await shoot("speakers");

  await page.getByRole("link", { name: "Who spoke when" }).click();
  await page.getByLabel("Number of speakers").fill("2");
  await page.getByLabel(/A recording of a conversation/).setInputFiles(talk);
  await page.getByRole("table").waitFor();
  await shoot("turns");
  await page.context().close();
}
await browser.close();
await service.stop();
