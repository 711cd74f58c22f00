// Saves screenshots of each view in target/screenshots: light, dark and as on a phone.

import fs from "node:fs/promises";
import path from "node:path";

import { openPage, REPOSITORY, startBrowser, startService } from "./harness.mjs";

const LOOKS = {
  light: { viewport: { width: 1000, height: 700 } },
  dark: { viewport: { width: 1000, height: 700 }, colorScheme: "dark" },
  phone: { viewport: { width: 390, height: 800 }, isMobile: true, hasTouch: true },
};

const folder = path.join(REPOSITORY, "target/screenshots");
await fs.mkdir(folder, { recursive: true });
// The page knows the default key.
const [browser, service] = await Promise.all([startBrowser(), startService({ API_KEY: "" })]);
const sample = (name) => path.join(REPOSITORY, "assets/voices", `${name}.opus`);

for (const [look, options] of Object.entries(LOOKS)) {
  const page = await openPage(browser, service.url, options);
  const shoot = async (view) => {
    // Removes the focus and waits for the last drawing.
    await page.evaluate(() => document.activeElement.blur());
    await page.waitForTimeout(300);
    await page.screenshot({ path: path.join(folder, `${view}-${look}.png`), fullPage: true });
    // The README shows the part of the result that is visible without scrolling.
    await page.locator("main").getByRole("heading").nth(view === "turns" ? 1 : 0).evaluate((element) => element.scrollIntoView());
    await page.screenshot({ path: path.join(folder, `${view}-${look}-top.png`) });
  };
  await page.getByRole("button", { name: "Try with sample voices" }).click();
  await page.getByRole("table").waitFor();
  await shoot("compare");

  await page.getByRole("link", { name: "Speakers" }).click();
  for (const [name, file] of [["Anna", "anna-1"], ["Grace", "grace-1"], ["Marcus", "marcus-1"]]) {
    if (look !== "light") break;
    if (!(await page.getByLabel(/speaker alone/).isVisible())) await page.getByText("Enrol a speaker").click();
    await page.locator("details").last().getByLabel("Name").fill(name);
    await page.getByLabel(/speaker alone/).setInputFiles(sample(file));
    await page.locator("main").getByText(`${name} is enrolled.`).waitFor();
  }
  await page.locator(".speakers").getByRole("button", { name: /Anna/ }).click();
  await page.getByRole("heading", { name: "Anna", level: 4 }).waitFor();
  await page.getByLabel("A recording of somebody").setInputFiles(sample("anna-2"));
  await page.locator("main").getByText("This is Anna.").waitFor();
  await shoot("speakers");

  await page.getByRole("link", { name: "Who spoke when" }).click();
  await page.getByRole("button", { name: "Try with a sample meeting" }).click();
  await page.getByRole("table").waitFor();
  await shoot("turns");
  await page.context().close();
}
await browser.close();
await service.stop();
