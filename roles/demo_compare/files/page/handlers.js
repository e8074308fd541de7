// Copyright: (c) 2026, the weblab.stacks maintainers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Asks each of PHP's handlers several times, and says what the answers prove.
"use strict";

const AT_ONCE = 4;
const IN_TURN = 5;

/** What OPcache's answers prove, as the name of a sentence in the catalogue. */
function judge(answers) {
  if (answers.some((answer) => !answer.opcache?.enabled)) return "off";
  const processes = new Set(answers.map((answer) => answer.pid));
  // The kernel's number of the memory; for processes that may not look, the parent that made it before it forked.
  const memories = new Set(answers.map((answer) => answer.opcache.segment ?? `${answer.ppid} ${answer.opcache.started}`));
  if (processes.size === 1) return answers.length > 1 ? "one" : "unknown";
  if (memories.size < processes.size) return "shared";
  return processes.size === answers.length ? "anew" : "apart";
}

async function timed(row) {
  const start = performance.now();
  const found = await ask(row.dataset.ask, "&opcache");
  chip(row, found.pid);
  return {...found, took: performance.now() - start};
}

async function compare(row) {
  try {
    // At once, so that a server that starts a process only for a waiting request starts one; then in turn, for the time.
    const answers = await Promise.all(Array.from({length: AT_ONCE}, () => timed(row)));
    for (let count = 0; count < IN_TURN; count++) answers.push(await timed(row));
    const last = answers[answers.length - 1];
    write(row, last);
    const verdict = judge(answers);
    const hits = answers.map((answer) => answer.opcache?.hits ?? 0);
    row.querySelector("[data-verdict]").textContent = words[verdict];
    row.querySelector("[data-verdict]").dataset.opcache = verdict;
    row.querySelector("[data-proof]").textContent = fill(words.proof, {
      processes: new Set(answers.map((answer) => answer.pid)).size,
      from: Math.min(...hits),
      to: Math.max(...hits),
    });
    const times = answers.slice(AT_ONCE).map((answer) => answer.took).sort((a, b) => a - b);
    const longest = Math.max(...answers.slice(0, AT_ONCE).map((answer) => answer.took));
    row.querySelector("[data-time]").textContent = fill(words.time, {time: times[Math.floor(times.length / 2)].toFixed(1)});
    row.querySelector("[data-longest]").textContent = fill(words.longest, {time: longest.toFixed(1)});
    row.dataset.state = "up";
  } catch (error) {
    failed(row, error);
  }
}

keep(compare);
