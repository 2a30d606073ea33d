// Looks at the status page of an operator in a real Chromium: `node check.mjs SCENE URL DIRECTORY`.
// Each page is looked at wide, on a phone, and dark: axe-core finds nothing (contrast included),
// nothing scrolls sideways, and the browser reports no error (which a breach of the policy is). Screenshots go to DIRECTORY.
//
// The scene `few` also asks for one more Ingress, by the line `add` on standard output, and looks at
// what becomes of the open page.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const PATIENCE = 30_000; // milliseconds
const VIEWS = [
  ["wide", { viewport: { width: 1280, height: 900 }, colorScheme: "light" }],
  ["phone", { viewport: { width: 390, height: 844 }, colorScheme: "light", isMobile: true, hasTouch: true }],
  ["dark", { viewport: { width: 1280, height: 900 }, colorScheme: "dark" }],
  ["dark-phone", { viewport: { width: 390, height: 844 }, colorScheme: "dark", isMobile: true, hasTouch: true }],
];

const [scene, base, directory] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const program = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
// A container has no user namespace for the browser's sandbox; the pages are our own.
const browser = await chromium.launch({ executablePath: program, args: ["--no-sandbox"] });

async function open(context, path) {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const errors = [];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  const answer = await page.goto(base + path, { waitUntil: "load" });
  assert.equal(answer.status(), 200, path);
  return { page, errors };
}

// Clicks on what leads to another page, and waits for that page.
async function follow(page, selector) {
  await Promise.all([page.waitForEvent("load"), page.click(selector)]);
}

async function check(name, path) {
  for (const [view, options] of VIEWS) {
    const context = await browser.newContext(options);
    const { page, errors } = await open(context, path);
    await page.screenshot({ path: join(directory, `${scene}-${name}-${view}.png`), fullPage: name !== "list" });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(wide <= 0, `${path} ${view}: scrolls sideways by ${wide}`);
    // Evaluated by the browser itself: the policy of the page lets no other script in.
    const found = await page.evaluate(`${axe}; axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })`);
    const words = (rule) => `${rule.id}: ${rule.nodes.map((node) => node.html + " " + node.failureSummary).join("; ")}`;
    assert.deepEqual(found.violations.map(words), [], `${path} ${view}`);
    assert.ok(found.passes.some((rule) => rule.id === "color-contrast"), "the contrast was looked at");
    assert.deepEqual(errors, [], `${path} ${view}`);
    await context.close();
  }
}

// All that the page has is there without its script: rows, search, and the next page.
async function withoutScript(rows, search) {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const { page } = await open(context, "ingresses");
  assert.equal(await page.locator("tbody tr").count(), rows);
  if (search) {
    await page.fill("header input", search.text);
    await follow(page, "header button");
    assert.equal(await page.locator("tbody tr").count(), search.rows, search.text);
    await follow(page, "tbody a");
    assert.match(await page.locator("h1").textContent(), new RegExp(search.text));
    await follow(page, "text=explain, as text");
    assert.match(await page.content(), /Records, newest last|No records of these/);
  }
  await context.close();
}

async function pages() {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const { page } = await open(context, "ingresses");
  let [seen, more] = [0, true];
  while (more) {
    seen += await page.locator("tbody tr").count();
    more = (await page.locator("a[rel=next]").count()) > 0;
    if (more) await follow(page, "a[rel=next]");
  }
  assert.equal(seen, 5000);
  await context.close();
}

// A new Ingress appears in the open page, and nothing else of the page is touched.
async function live() {
  const context = await browser.newContext();
  const { page, errors } = await open(context, "ingresses");
  await page.waitForFunction(() => document.getElementById("live").textContent === "live");
  await page.fill("header input", "half a wo");
  await page.evaluate(() => {
    const rows = document.querySelectorAll("tbody tr");
    window.before = { rows: [...rows], title: document.querySelector("h1") };
  });
  console.log("add");
  await page.waitForSelector("tbody tr >> text=later.example.org");
  await page.waitForSelector("tbody tr:has-text('later') .good");
  const kept = await page.evaluate(() => ({
    rows: window.before.rows.every((row) => row.isConnected),
    title: window.before.title.isConnected,
    input: document.querySelector("header input").value,
    focus: document.activeElement.name,
  }));
  assert.deepEqual(kept, { rows: true, title: true, input: "half a wo", focus: "search" });
  assert.deepEqual(errors, []);
  await context.close();
}

try {
  await check("overview", "");
  await check("list", "ingresses");
  if (scene === "none") {
    await withoutScript(0);
  } else if (scene === "few") {
    await check("failing", "ingresses?state=failing");
    const { page } = await open(await browser.newContext(), "ingresses");
    const links = await page.locator("tbody a").evaluateAll((all) => all.map((link) => link.getAttribute("href")));
    for (const [place, link] of links.entries()) await check(`ingress-${place + 1}`, link);
    await withoutScript(3, { text: "limited", rows: 1 });
    await live();
  } else {
    await withoutScript(100, { text: "site-4999", rows: 1 });
    await pages();
  }
} finally {
  await browser.close();
}
