// Copyright: (c) 2026, the weblab.stacks maintainers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// The board: what came, what it cost by each transport, and what happens on the wire.
"use strict";

const words = JSON.parse(document.body.dataset.words);
const lang = document.documentElement.lang;
const WINDOW = 20;
const SHOWN = 200;
const NAMES = ["poll", "long", "sse", "ws"];
const byId = (id) => document.getElementById(id);
const now = () => performance.now() / 1000;

/** A text that no other message has. On http and by address, browsers have no randomUUID. */
function key() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const wire = {entries: [], dots: []};
const counts = Object.fromEntries(NAMES.map((name) => [name, {requests: 0, bytes: 0, held: 0, delays: []}]));
const board = {cursor: "", last: 0, lost: 0, doubled: 0, offset: Infinity, heard: NaN, here: {}, mine: new Map(), transport: null};

function watchOf(name) {
  const count = counts[name];
  return {
    who: board.who,
    cursor: () => board.cursor,
    began(what) {
      const entry = {name, what, began: now(), end: null, problem: ""};
      wire.entries.push(entry);
      count.requests += 1;
      count.held += 1;
      entry.ended = (bytes, problem = "") => {
        if (entry.end !== null) return;
        entry.end = now();
        entry.problem = problem;
        count.bytes += bytes;
        count.held -= 1;
        // A stream that ends without a problem says nothing of the next one.
        if (problem || bytes) say(problem ? `${words.again}: ${problem}` : "", problem);
      };
      return entry;
    },
    arrived(entry, bytes) {
      count.bytes += bytes;
      wire.dots.push({name, at: now(), kind: "part"});
      if (byId("state").dataset.state !== "up") say("", "");
    },
    news(found) { take(name, found); },
  };
}

function take(name, found) {
  if (found.clock) tick(found.clock);
  for (const message of found.messages) {
    // The same cursor twice is the same message.
    if (board.cursor && older(message.cursor, board.cursor)) {
      board.doubled += 1;
      continue;
    }
    if (board.last && message.n > board.last + 1) board.lost += message.n - board.last - 1;
    board.last = message.n;
    board.cursor = message.cursor;
    show(name, message);
  }
  if (found.cursor && (!board.cursor || older(board.cursor, found.cursor))) board.cursor = found.cursor;
  byId("lost").textContent = board.lost;
  byId("doubled").textContent = board.doubled;
  // What was said before the page came is not read out.
  byId("messages").ariaBusy = "false";
}

/** Is cursor `one` not younger than `other`? */
function older(one, other) {
  const [time, number] = one.split("-").map(BigInt), [otherTime, otherNumber] = other.split("-").map(BigInt);
  return time < otherTime || (time === otherTime && number <= otherNumber);
}

function tick(clock) {
  // The server's clock against this one: the fastest way that was seen had the least delay.
  board.offset = Math.min(board.offset, Date.now() / 1000 - clock.at);
  board.heard = now();
  board.here = clock.here;
  byId("process").textContent = clock.pid;
}

function show(name, message) {
  const sent = board.mine.get(message.key);
  // Of what was said before the page came, nobody knows how long it took.
  const old = sent === undefined && !(Number.isFinite(board.offset) && message.at + board.offset > board.opened);
  const delay = sent === undefined ? Math.max(Date.now() / 1000 - message.at - board.offset, 0) : now() - sent;
  board.mine.delete(message.key);
  if (!old) counts[name].delays.push(delay);
  counts[name].delays.splice(0, counts[name].delays.length - 50);
  wire.dots.push({name, at: now(), kind: sent === undefined ? "message" : "mine"});
  const item = document.createElement("li");
  item.dataset.n = message.n;
  if (sent !== undefined) item.className = "mine";
  const number = document.createElement("span"), text = document.createElement("b"), how = document.createElement("small");
  number.textContent = `#${message.n}`;
  // Text, whatever is in it: nothing of it is ever read as HTML.
  text.textContent = message.text;
  how.textContent = `${words.names[message.by] ?? message.by} → ${words.names[name]}${old ? "" : `, ${sent === undefined ? "≈ " : ""}${milliseconds(delay)}`}`;
  item.append(number, text, how);
  const list = byId("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(item);
  while (list.children.length > SHOWN) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

const milliseconds = (seconds) => `${(seconds * 1000).toLocaleString(lang, {maximumFractionDigits: seconds < 0.01 ? 1 : 0})} ${words.ms}`;

function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted.length ? sorted[sorted.length >> 1] : NaN;
}

/** Write only what is new: a screen reader says every change of a status. */
function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

function say(text, problem) {
  const state = byId("state");
  state.dataset.state = problem ? "down" : "up";
  write(state.querySelector("span"), text || words.connected);
}

// Sending: until the server says that it has it, with the same key, so that it is one message however often it is sent.
async function send(text) {
  const message = {key: key(), text, by: board.transport.name};
  board.mine.set(message.key, now());
  const patience = new Patience();
  for (;;) {
    const signal = AbortSignal.timeout(8000);
    wire.dots.push({name: board.transport.name, at: now(), kind: "sent"});
    try {
      const found = (await board.transport.send?.(message, signal)) ?? (await post(message, signal));
      if (found.problem) throw Object.assign(new Error(found.problem), {final: !found.wait, wait: found.wait});
      byId("example").hidden = true;
      frames(JSON.stringify(message), crypto.getRandomValues(new Uint8Array(4)));
      return;
    } catch (error) {
      if (error.final) throw error;
      await sleep(Math.max(patience.next(), error.wait ?? 0));
    }
  }
}

async function post(message, signal) {
  const url = new URL("api/messages", document.baseURI).href;
  const answer = await fetch(url, {method: "POST", body: JSON.stringify(message), headers: {"Content-Type": "application/json"}, signal});
  const count = counts[board.transport.name];
  count.requests += 1;
  if (answer.status >= 500 || answer.status === 429) {
    throw Object.assign(new Error(`${answer.status}`), {wait: Number(answer.headers.get("Retry-After"))});
  }
  const text = await answer.text();
  count.bytes += cost(url, text);
  return JSON.parse(text);
}

/** The same text as a frame of today, and of the draft of 2010. */
function frames(text, mask) {
  const payload = new TextEncoder().encode(text);
  parts(byId("frame"), read(frame(payload, mask)));
  parts(byId("draft"), [["begin", [0x00], words.parts.begin], ["text", payload, `${words.parts.draft}: ${short(text)}`], ["end", [0xff], words.parts.end]]);
}

/** A text as a browser sends it (RFC 6455, 5.2). From 65536 bytes on, 8 bytes would say the length; nothing here is so long. */
function frame(payload, mask) {
  const length = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 255];
  return new Uint8Array([0x81, 0x80 | length[0], ...length.slice(1), ...mask, ...payload.map((byte, place) => byte ^ mask[place % 4])]);
}

/** What the bytes of such a frame say. */
function read(bytes) {
  const head = (bytes[1] & 127) === 126 ? 4 : 2;
  const length = head === 4 ? bytes[2] * 256 + bytes[3] : bytes[1] & 127;
  const mask = bytes.slice(head, head + 4), masked = bytes.slice(head + 4, head + 4 + length);
  const text = new TextDecoder().decode(masked.map((byte, place) => byte ^ mask[place % 4]));
  const {fin, opcode, mask: bit, length: size, key, payload} = words.parts;
  return [
    ["head", bytes.slice(0, 1), `${fin} = ${bytes[0] >> 7}, ${opcode} = ${bytes[0] & 15}`],
    ["size", bytes.slice(1, head), `${bit} = ${bytes[1] >> 7}, ${size} = ${length}`],
    ["key", mask, key],
    ["payload", masked, `${payload}: ${short(text)}`],
  ];
}

const short = (text) => (text.length > 90 ? `${text.slice(0, 90)}…` : text);

function parts(place, found) {
  place.replaceChildren(...found.map(([name, values, said]) => {
    const part = document.createElement("div"), bytes = document.createElement("code"), meaning = document.createElement("span");
    part.className = `part ${name}`;
    bytes.textContent = [...values.slice(0, 32)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ") + (values.length > 32 ? " …" : "");
    meaning.textContent = said;
    part.append(bytes, meaning);
    return part;
  }));
}

// The timeline: a lane for each transport, the last seconds, drawn anew while the page is seen.
const canvas = byId("timeline"), context = canvas.getContext("2d");
let colours = {};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { canvas.width = 0; });

function draw() {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const style = getComputedStyle(document.body);
    colours = Object.fromEntries(["line", "soft", "front", "front-line", "bad", "accent", "back-line", "ink"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const end = now(), lane = height / NAMES.length;
  const place = (time) => width - ((end - time) / WINDOW) * width;
  context.font = "12px system-ui, sans-serif";
  NAMES.forEach((name, number) => {
    context.fillStyle = colours.line;
    context.fillRect(0, (number + 1) * lane - 1, width, 1);
    context.fillStyle = colours.soft;
    context.fillText(words.names[name], 6, number * lane + 14);
  });
  wire.entries = wire.entries.filter((entry) => entry.end === null || entry.end > end - WINDOW);
  wire.dots = wire.dots.filter((dot) => dot.at > end - WINDOW);
  for (const entry of wire.entries) {
    const left = Math.max(place(entry.began), 0), right = entry.end === null ? width : place(entry.end);
    const top = NAMES.indexOf(entry.name) * lane + lane / 2;
    context.fillStyle = entry.problem ? colours.bad : colours.front;
    context.strokeStyle = entry.problem ? colours.bad : colours["front-line"];
    context.beginPath();
    context.roundRect(left, top - 1, Math.max(right - left, 2), lane / 2 - 8, 3);
    context.fill();
    context.stroke();
  }
  for (const dot of wire.dots) {
    const x = place(dot.at), y = NAMES.indexOf(dot.name) * lane + (3 * lane) / 4 - 5;
    context.fillStyle = {part: colours.soft, message: colours.accent, mine: colours.accent, sent: colours["back-line"]}[dot.kind];
    context.beginPath();
    if (dot.kind === "sent") {
      context.moveTo(x, y - lane / 2 + 4);
      context.lineTo(x + 5, y - lane / 2 + 12);
      context.lineTo(x - 5, y - lane / 2 + 12);
    } else {
      context.arc(x, y, dot.kind === "part" ? 1.6 : 5, 0, 7);
    }
    context.fill();
  }
}

function figures() {
  for (const name of NAMES) {
    const card = byId(`card-${name}`), {requests, bytes, held, delays} = counts[name];
    const delay = delays.length ? milliseconds(median(delays)) : "—", here = board.here[name] ?? "—";
    for (const [what, value] of Object.entries({requests, bytes, delay, held, here})) {
      write(card.querySelector(`[data-live=${what}]`), value.toLocaleString(lang));
    }
  }
  if (Number.isNaN(board.heard)) return;
  // It goes on by itself: not every transport tells it every second. How old that is, the page says.
  const age = Math.floor(now() - board.heard);
  write(byId("clock"), new Date(Date.now() - board.offset * 1000).toLocaleTimeString(lang));
  write(byId("heard"), age > 1 ? words.heard.replace("{}", age) : "");
  write(byId("here"), `${NAMES.reduce((sum, name) => sum + board.here[name], 0)}`);
}

function choose(name) {
  board.transport?.stop();
  const watch = watchOf(name);
  const interval = () => Number(byId("interval").value);
  board.transport = {
    poll: () => new Asking("poll", watch, {interval}),
    long: () => new Asking("long", watch, {wait: 25}),
    sse: () => new Events(watch),
    ws: () => new Socket(watch),
  }[name]();
  document.body.dataset.transport = name;
  board.transport.start();
}

board.who = key();
board.opened = Date.now() / 1000;
for (const radio of document.querySelectorAll("[name=transport]")) radio.addEventListener("change", () => choose(radio.value));
byId("interval").addEventListener("input", () => { byId("seconds").textContent = Number(byId("interval").value).toLocaleString(lang); });
byId("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("text"), text = field.value.trim();
  if (!text) return;
  field.value = "";
  byId("problem").textContent = "";
  try {
    await send(text);
  } catch (error) {
    field.value ||= text;
    byId("problem").textContent = words.refused + error.message;
  }
});
// The example of RFC 6455, 5.7.
frames("Hello", new Uint8Array([0x37, 0xfa, 0x21, 0x3d]));
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let drawn = 0;
(function again() {
  if (now() - drawn > (calm.matches ? 1 : 0.05)) {
    drawn = now();
    draw();
    figures();
  }
  requestAnimationFrame(again);
})();
byId("text").disabled = byId("send").disabled = false;
const wanted = new URLSearchParams(location.search).get("transport");
const first = NAMES.includes(wanted) ? wanted : "ws";
document.querySelector(`[name=transport][value=${first}]`).checked = true;
choose(first);
