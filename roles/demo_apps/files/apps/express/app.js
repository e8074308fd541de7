// Copyright: (c) 2026, the weblab.stacks maintainers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// A chat: Express for the pages, a WebSocket for the words, server-sent events for the clock.
// Where to listen is in the environment: SOCKET, or HOST and PORT.
"use strict";

const fs = require("fs");
const http = require("http");
const os = require("os");
const path = require("path");
const express = require("express");
const {WebSocketServer} = require("ws");

const WHOAMI = process.env.WHOAMI || "/srv/weblab/whoami";
const KEPT = 20;
const LONGEST = 500;

const texts = JSON.parse(read(path.join(__dirname, "..", "texts.json")) || "{}");
const frame = read(path.join(__dirname, "..", "page.html")) || "{{body}}";
const said = [];
let count = 0;

function read(file) {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return null;
  }
}

function escape(text) {
  return String(text).replace(/[&<>"']/g, (letter) => `&#${letter.codePointAt(0)};`);
}

/** Put texts into a page's {{places}}; `parts` are HTML already. */
function fill(template, parts) {
  return template.replace(/\{\{(\w+)\}\}/g, (_all, name) => parts[name] ?? "");
}

function group(gid) {
  const line = (read("/etc/group") || "").split("\n").find((entry) => entry.split(":")[2] === String(gid));
  return line ? line.split(":")[0] : String(gid);
}

function facts(request) {
  const listens = server.address();
  const client = request.get("X-Forwarded-For");
  const threads = /^Threads:\s*(\d+)/m.exec(read("/proc/self/status") || "");
  return {
    site: process.env.WEBLAB_SITE ?? null,
    stack: process.env.WEBLAB_STACK ?? null,
    language: `Node.js ${process.versions.node}`,
    server_software: null,
    sapi: `Express ${require("express/package.json").version}`,
    gateway: "http",
    mpm: null,
    pid: process.pid,
    ppid: process.ppid,
    thread: process.pid,
    threads: threads ? Number(threads[1]) : null,
    worker: null,
    pool: null,
    requests: count,
    process: (read("/proc/self/cmdline") || "").replace(/\0/g, " ").trim() || null,
    parent: (read(`/proc/${process.ppid}/comm`) || "").trim() || null,
    user: os.userInfo().username,
    uid: process.geteuid(),
    group: group(process.getegid()),
    peer: client ?? null,
    socket: typeof listens === "string" ? listens : `${listens.address}:${listens.port}`,
    socket_known_from: "kernel",
    hostname: os.hostname(),
    script_name: "",
    path_info: request.path,
    nonce: String(request.query.nonce ?? "").slice(0, 64) || null,
    time: Date.now() / 1000,
  };
}

const app = express();
app.disable("x-powered-by");
app.use((_request, response, next) => {
  count += 1;
  response.set("X-Content-Type-Options", "nosniff");
  next();
});

app.get("/", (_request, response) => {
  const body = `<ul id="said"></ul>
<form id="form"><input name="text" maxlength="${LONGEST}" autocomplete="off" placeholder="${escape(texts.say)}" aria-label="${escape(texts.say)}"><button>${escape(texts.send)}</button></form>
<p>${escape(texts.clock)}: <span id="clock"></span></p>
<script src="chat.js" defer></script>`;
  const parts = {lang: texts.lang, title: texts.chat, lead: texts.chat_lead, whoami: texts.whoami};
  for (const name of Object.keys(parts)) parts[name] = escape(parts[name] ?? "");
  response.type("html").send(fill(frame, {...parts, body}));
});

app.get("/chat.js", (_request, response) => response.sendFile(path.join(__dirname, "chat.js")));

app.get("/whoami", (request, response) => {
  const found = facts(request);
  response.set({"Cache-Control": "no-store", Vary: "Accept"});
  const wanted = request.query.format;
  if (wanted === "json" || (wanted !== "html" && (request.get("Accept") || "").includes("application/json"))) {
    response.set("Content-Type", "application/json").end(JSON.stringify(found));
    return;
  }
  const words = JSON.parse(read(path.join(WHOAMI, "messages.json")) || "{}");
  const rows = Object.entries(found).map(([key, value]) =>
    `<tr><th scope=row>${escape(words[key] ?? key)}</th><td>` +
    (value === null ? `<em>${escape(words.unknown ?? "unknown")}</em>` : `<code>${escape(value)}</code>`) + "</td></tr>");
  const parts = {lang: words.lang ?? "en", title: words.title ?? "Who served me", lead: words.lead ?? ""};
  for (const name of Object.keys(parts)) parts[name] = escape(parts[name]);
  response.type("html").send(fill(read(path.join(WHOAMI, "page.html")) || "<table>{{rows}}</table>", {...parts, rows: rows.join("\n")}));
});

// Without this header nginx would keep the events until a buffer is full.
app.get("/events", (request, response) => {
  response.set({"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"});
  const tick = () => response.write(`data: ${new Date().toISOString()}\n\n`);
  tick();
  const timer = setInterval(tick, 1000);
  request.on("close", () => clearInterval(timer));
});

const server = http.createServer(app);
const rooms = new WebSocketServer({server, path: "/chat", maxPayload: 4 * LONGEST});
rooms.on("connection", (client) => {
  for (const words of said) client.send(words);
  client.on("error", () => client.terminate());
  client.on("message", (data) => {
    const words = String(data).slice(0, LONGEST);
    said.push(words);
    if (said.length > KEPT) said.shift();
    for (const other of rooms.clients) if (other.readyState === other.OPEN) other.send(words);
  });
});

server.listen(process.env.SOCKET ? {path: process.env.SOCKET} : {host: process.env.HOST, port: Number(process.env.PORT)});

// Requests that are under way are finished; those that never end are ended.
process.on("SIGTERM", () => {
  for (const client of rooms.clients) client.close(1001);
  server.close(() => process.exit(0));
  setTimeout(() => process.exit(0), 2000).unref();
});
