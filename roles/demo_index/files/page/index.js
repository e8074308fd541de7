// Copyright: (c) 2026, the weblab.stacks maintainers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Asks every site who served it, through this page's own origin, and shows the answers.
"use strict";

const PAUSE = 4000;
const SHOWN = 16;
const words = document.body.dataset;

function show(card, section, found) {
  const box = card.querySelector(`svg [data-box="${CSS.escape(section.dataset.box)}"]`);
  for (const place of section.querySelectorAll("[data-live]")) {
    place.textContent = found?.[place.dataset.live] ?? "—";
  }
  for (const place of box?.querySelectorAll("[data-live]") ?? []) {
    const value = found?.[place.dataset.live];
    place.textContent = value === undefined || value === null ? "" : place.dataset.live === "pid" ? `pid ${value}` : value;
  }
  box?.classList.toggle("dead", !found);
  if (box && found) {
    box.classList.add("fresh");
    setTimeout(() => box.classList.remove("fresh"), 600);
  }
  const list = section.querySelector(".answers");
  const mark = document.createElement("li");
  if (found) {
    mark.style.setProperty("--hue", hue(`${found.hostname} ${found.pid}`));
    mark.title = `${words.process} ${found.pid}`;
  } else {
    mark.className = "none";
    mark.title = words.down;
  }
  list.append(mark);
  while (list.children.length > SHOWN) list.firstElementChild.remove();
}

async function refresh(card) {
  const sections = [...card.querySelectorAll("[data-ask]")];
  const answers = await Promise.all(sections.map((section) => ask(section.dataset.ask).catch(() => null)));
  answers.forEach((found, number) => show(card, sections[number], found));
  const good = answers.filter(Boolean).length;
  card.dataset.state = good === answers.length ? "up" : good ? "partly" : "down";
  card.querySelector("[data-word]").textContent = words[card.dataset.state];
  summarize();
}

function summarize() {
  const cards = [...document.querySelectorAll(".card")];
  if (cards.some((card) => card.dataset.state === "waiting")) return;
  const text = words.summary
    .replace("{up}", cards.filter((card) => card.dataset.state === "up").length)
    .replace("{all}", cards.length);
  const place = document.querySelector(".summary");
  place.hidden = false;
  // A screen reader speaks it when it changes, not every few seconds.
  if (place.textContent !== text) place.textContent = text;
}

async function keepAsking(card) {
  for (;;) {
    if (!document.hidden) await refresh(card);
    await new Promise((done) => setTimeout(done, PAUSE));
  }
}

for (const card of document.querySelectorAll(".card")) {
  const button = card.querySelector("button");
  button.hidden = false;
  button.addEventListener("click", () => refresh(card));
  keepAsking(card);
}
