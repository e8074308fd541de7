// Copyright: (c) 2026, the weblab.stacks maintainers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Sends each WSGI server a request with a body, and shows what came over the contract.
"use strict";

const TIMES = 3;

/** One request with a nonce in its query and in its body, and its answer whatever the status. */
async function send(path, broken) {
  const nonce = Math.random().toString(36).slice(2);
  const stop = AbortSignal.timeout(PATIENCE);
  const more = broken ? `&break=${broken}` : "";
  const answer = await fetch(`${path}?nonce=${nonce}${more}`, {method: "POST", body: nonce, cache: "no-store", signal: stop});
  let text = "", found;
  try {
    text = await answer.text();
    found = JSON.parse(text);
  } catch {
    // After a broken contract that is the server's answer, and its body may be missing; else there was none.
    if (!broken) throw new Error(`${answer.status}`);
    found = {objection: words.lost};
  }
  if (!found.objection && (found.nonce !== nonce || found.read !== nonce)) throw new Error("nonce");
  return {...found, status: `${answer.status} ${answer.statusText}`, headers: [...answer.headers], length: text.length};
}

/** The server's name for itself: each leaves it in a variable of its own. */
function software(environ) {
  if (environ["mod_wsgi.version"]) return `mod_wsgi ${environ["mod_wsgi.version"].replace(/[()]/g, "").replaceAll(", ", ".")}`;
  if (environ["uwsgi.version"]) return `uWSGI ${environ["uwsgi.version"].replace(/^b?'|'$/g, "")}`;
  return environ["asgi.scope"] ? "aioscgi" : environ.SERVER_SOFTWARE;
}

function show(row, details, found) {
  const verdict = row.querySelector("[data-verdict]");
  // An objection without a process is this page's: the application's own words have not come.
  verdict.textContent = !found.objection ? words.kept : found.pid ? words.objection : found.status;
  verdict.dataset.good = found.objection ? "no" : "yes";
  row.querySelector("[data-proof]").textContent = found.objection ?? fill(words.closed, found.bodies);
  write(details, found);
  const lines = found.headers.map(([name, value]) => `${name}: ${value}`);
  details.querySelector("[data-headers]").textContent = [found.status, ...lines, "", fill(words.body, found)].join("\n");
  if (found.objection) return;
  const flags = ["multithread", "multiprocess", "run_once"].filter((name) => found.environ[`wsgi.${name}`] === "True");
  write(row, {
    ...found,
    software: software(found.environ),
    python: `Python ${found.python}`,
    multi: flags.join(", ") || words.neither,
    start_response: found.environ["weblab.start_response"].replace(/ (object )?at 0x\w+/g, ""),
  });
  details.querySelector("[data-environ]").replaceChildren(...Object.entries(found.environ).map(([name, value]) => {
    const line = document.createElement("tr");
    for (const [kind, text] of [["th", name], ["td", value]]) line.append(Object.assign(document.createElement(kind), {textContent: text}));
    return line;
  }));
}

async function fulfil(row, broken) {
  const details = document.querySelector(`[data-of="${CSS.escape(row.dataset.ask)}"]`);
  try {
    for (let count = 0; count < (broken ? 1 : TIMES); count++) {
      const found = await send(row.dataset.ask, broken);
      if (found.pid) chip(row, found.pid);
      show(row, details, found);
    }
    row.dataset.state = "up";
  } catch (error) {
    failed(row, error);
  }
}

keep(fulfil);
