// Copyright: (c) 2026, the weblab.stacks maintainers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// What the scripts of both pages share.
"use strict";

const SHOWN = 16;
const words = JSON.parse(document.body.dataset.words);

/** The text with {name} replaced by values of that name. */
function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** A chip for each answer: the process id, one colour for one process. */
function chip(row, pid) {
  const list = row.querySelector(".pids");
  const mark = document.createElement("li");
  mark.textContent = pid ?? "×";
  if (pid === undefined) mark.className = "none";
  else mark.style.setProperty("--hue", hue(`${pid}`));
  list.append(mark);
  while (list.children.length > SHOWN) list.firstElementChild.remove();
}

function write(place, values) {
  for (const live of place.querySelectorAll("[data-live]")) live.textContent = values[live.dataset.live] ?? "—";
}

/** What went wrong with a question, in place of the answer. */
function failed(row, error) {
  row.dataset.state = "down";
  row.querySelector("[data-verdict]").textContent = `${words.down}: ${error.message}`;
  row.querySelector("[data-proof]").textContent = "";
  chip(row);
}

/** Ask for every row now, and again when a button says so. One row after the other, so that none disturbs the next one's time. */
function keep(asking) {
  let running = Promise.resolve();
  const all = (how) => {
    for (const row of document.querySelectorAll("tr[data-ask]")) running = running.then(() => asking(row, how));
  };
  for (const button of document.querySelectorAll("button")) {
    button.hidden = false;
    button.addEventListener("click", () => all(button.dataset.break ?? ""));
  }
  all("");
}
