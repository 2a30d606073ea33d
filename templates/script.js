// Keeps the page current. The operator sends a message when something has changed; this script then
// fetches the same page and puts the parts that differ in place of the old ones, so that scroll
// position, focus and selection stay. Without this script the page is whole, and is reloaded by hand.
"use strict";

const PAUSE = 1000; // between two fetches, in milliseconds
const PATIENCE = 10000; // for one fetch, and before the page says that it is not live

// Elements whose children are replaced one by one. All others are replaced as a whole.
const PARTS = new Set(["SECTION", "DL", "TABLE", "TBODY", "TR"]);

const live = document.getElementById("live");

function tell(text) {
  if (live.textContent !== text) live.textContent = text;
}

// Rows have ids; other children are known by their place.
function keyed(parent) {
  return new Map([...parent.children].map((child, place) => [child.id || place, child]));
}

function update(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.tagName !== fresh.tagName || !PARTS.has(old.tagName)) {
    old.replaceWith(fresh);
    return;
  }
  old.className = fresh.className;
  const before = keyed(old);
  let place = old.firstElementChild;
  for (const [key, child] of keyed(fresh)) {
    const known = before.get(key);
    before.delete(key);
    if (!known) {
      old.insertBefore(child, place);
    } else if (known === place) {
      place = place.nextElementSibling;
      update(known, child);
    } else {
      old.insertBefore(known, place);
      update(known, child);
    }
  }
  for (const gone of before.values()) gone.remove();
}

function show(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  if (document.title !== page.title) document.title = page.title;
  const sections = (root) => root.querySelectorAll("main > [data-live]");
  const [old, fresh] = [sections(document), sections(page)];
  const ids = (all) => [...all].map((section) => section.id).join();
  if (ids(old) === ids(fresh)) {
    old.forEach((section, place) => update(section, fresh[place]));
  } else {
    document.querySelector("main").replaceWith(page.querySelector("main"));
  }
}

let fetching = false;
let again = false;

async function refresh() {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(PATIENCE) });
    if (answer.ok) {
      show(await answer.text());
      tell("live");
    } else {
      tell(answer.status === 404 ? "not live: this is gone" : `not live: the operator answers ${answer.status}`);
    }
  } catch {
    tell("not live: no answer"); // the next message begins another fetch
  }
  setTimeout(() => {
    fetching = false;
    if (again) {
      again = false;
      refresh();
    }
  }, PAUSE);
}

let source = null;
let late = null;

function listen() {
  if (document.hidden || source) return;
  const opened = new EventSource("changes");
  source = opened;
  opened.addEventListener("changed", refresh);
  opened.addEventListener("open", () => {
    clearTimeout(late);
    late = null;
    tell("live");
  });
  // A stream ends after a while, and the browser opens another one.
  opened.addEventListener("error", () => {
    late ??= setTimeout(() => tell("not live: reload the page to see changes"), PATIENCE);
    if (opened.readyState !== EventSource.CLOSED || source !== opened) return;
    source = null;
    setTimeout(listen, PATIENCE);
  });
}

// A page that nobody looks at takes none of the few streams.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && source) {
    source.close();
    source = null;
  }
  listen();
});

listen();
