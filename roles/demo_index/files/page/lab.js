// Copyright: (c) 2026, the weblab.stacks maintainers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// What the scripts of the lab's pages share.
"use strict";

const PATIENCE = 5000;

/** One colour for one process, the same on every card and after a reload. */
function hue(text) {
  let value = 7;
  for (const letter of text) value = (value * 31 + letter.codePointAt(0)) % 9973;
  return Math.round((value * 137.5) % 360);
}

/** Ask with a nonce; `more` is the rest of the query. */
async function ask(path, more = "") {
  const nonce = Math.random().toString(36).slice(2);
  const stop = AbortSignal.timeout(PATIENCE);
  const answer = await fetch(`${path}?format=json&nonce=${nonce}${more}`, {cache: "no-store", signal: stop, headers: {Accept: "application/json"}});
  if (!answer.ok) throw new Error(`${answer.status}`);
  const found = await answer.json();
  // An old or a copied page cannot know the nonce.
  if (found.nonce !== nonce) throw new Error("nonce");
  return found;
}

// The lab is reached by whatever name this page was reached by.
for (const link of document.querySelectorAll("a[data-port]")) {
  link.href = `${location.protocol}//${location.hostname}:${link.dataset.port}${link.dataset.path}`;
}
