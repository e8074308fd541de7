// Copyright: (c) 2026, the weblab.stacks maintainers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Shows the recording: who was there, and which calls each worker made, grouped into the textbook's steps.
"use strict";

/** An element with children. All that comes from data goes in as text. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
}

/** What the page knows of a process: the workers, and what each of them did in all rounds. */
function fate(texts, request, process) {
  if (process.role === "master") return make("span", {}, texts.no_part);
  if (request.method === "proc") {
    const held = request.moments.some((moment) => moment.connection.held_by.includes(process.pid));
    return held ? make("span", {class: "won"}, texts.won) : make("span", {}, request.sees ? texts.slept : texts.unknown);
  }
  const rounds = request.rounds;
  if (rounds.some((round) => round.actors.some((actor) => actor.pid === process.pid))) return make("span", {class: "won"}, texts.won);
  if (rounds.some((round) => round.woken.some((one) => one.pid === process.pid))) return make("span", {class: "woke"}, texts.woken);
  return make("span", {}, texts.slept);
}

function waits(texts, process) {
  const cell = make("td");
  for (const wait of process.waits) {
    const times = wait.threads > 1 ? `${wait.threads} × ` : "";
    cell.append(make("code", {}, `${times}${wait.call}${wait.on ? ` ${wait.on}` : ""}`), document.createElement("br"));
  }
  if (!process.waits.length) cell.append(texts.unknown);
  return cell;
}

function who(texts, request) {
  const head = make("tr", {}, ...["process", "role", "user", "threads", "waited_in", "did"].map((key) => make("th", {scope: "col"}, texts[key])));
  const rows = request.processes.map((process) => make(
    "tr", {"data-pid": process.pid},
    make("td", {}, make("code", {}, `${process.pid}`)), make("td", {}, texts[process.role]), make("td", {}, process.user),
    make("td", {}, `${process.threads}`), waits(texts, process), make("td", {}, fate(texts, request, process)),
  ));
  const workers = request.processes.filter((process) => process.role === "worker").length;
  return make(
    "details", {open: ""}, make("summary", {}, `${texts.who}: ${fill(texts.workers, {count: workers})}`),
    make("div", {class: "scroll"}, make("table", {class: "who"}, make("thead", {}, head), make("tbody", {}, ...rows))),
  );
}

function line(call) {
  const time = `${(call.at / 1000).toFixed(2)} ms `;
  const error = call.error ? make("span", {class: "error"}, call.error) : null;
  const result = call.error ? "-1 " : call.result;
  return make("code", {}, make("span", {class: "time"}, time), make("b", {}, call.call), `(${call.arguments}) = `, make("span", {class: "result"}, result), error);
}

/** Calls of one step that follow each other are one item; the same sentence is said once. */
function steps(texts, calls) {
  const list = make("ol", {class: "steps"});
  let step = null, why = null, body = null;
  for (const call of calls) {
    if (call.left_out) {
      const counts = Object.entries(call.left_out).map(([name, count]) => `${count} × ${name}`).join(", ");
      list.append(make("li", {"data-step": "more"}, make("span", {}, "…"), make("div", {class: "why"}, `${texts.left_out} ${counts}`)));
      step = null;
      continue;
    }
    if (call.step !== step) {
      body = make("div");
      list.append(make("li", {"data-step": call.step}, make("span", {class: "step-name"}, texts.steps[call.step].name), body));
      why = null;
    }
    if (call.why !== why) body.append(make("p", {class: "why"}, texts.why[call.why]));
    body.append(line(call));
    ({step, why} = call);
  }
  return list;
}

function actor(texts, one) {
  const thread = one.threads > 1 ? `, ${fill(texts.thread, {tid: one.tid})}` : "";
  return make("div", {}, make("h3", {class: "actor", "data-pid": one.pid}, `pid ${one.pid}${thread} · ${one.user} `,
    make("span", {class: "what"}, `${one.name} · ${one.sockets.join(", ")}`)), steps(texts, one.calls));
}

function remarks(texts, request, round, number) {
  const said = [];
  const calls = round.actors.flatMap((one) => one.calls);
  if (request.kind === "open_files" && !calls.some((call) => call.step === "map")) said.push(texts.no_open);
  if (number > 0 && !calls.some((call) => call.why === "accept")) said.push(texts.kept_alive);
  if (number === 0) {
    const names = [...new Set(round.woken.map((one) => `pid ${one.pid}`))];
    said.push(names.length ? fill(texts.woken_text, {who: names.join(", ")}) : texts.herd_of_one);
  }
  return said.map((text) => make("p", {class: "remark"}, text));
}

function rounds(texts, request) {
  return request.rounds.map((round, number) => make(
    "details", number ? {} : {open: ""},
    make("summary", {}, [fill(texts.round, {number: number + 1}), round.status, fill(texts.bytes, {count: round.bytes}), round.cache].filter(Boolean).join(" · ")),
    ...remarks(texts, request, round, number), ...round.actors.map((one) => actor(texts, one)),
  ));
}

function connection(texts, state) {
  if (state.held_by.length) return fill(texts.state_held, {pids: state.held_by.map((pid) => `pid ${pid}`).join(", ")});
  if (state.state === "SYN_RECV") return texts.state_deferred;
  return state.state ? texts.state_queue : texts.state_gone;
}

function ran(texts, thread) {
  const parts = [`pid ${thread.pid}`];
  if (thread.tid !== thread.pid) parts.push(fill(texts.thread, {tid: thread.tid}));
  parts.push(`${thread.switches} ${texts.switches}`);
  if (thread.rchar) parts.push(`${texts.read_bytes} ${fill(texts.bytes, {count: thread.rchar})}`);
  if (thread.wchar) parts.push(`${texts.written_bytes} ${fill(texts.bytes, {count: thread.wchar})}`);
  if (thread.call) parts.push(`${texts.now_in} ${thread.call} ${thread.on}`);
  return make("code", {}, parts.join(", "));
}

/** Which steps of the loop lie between a moment and the one before it. */
const BETWEEN = {connected: "accept", half: "read", answered: "send", closed: "close"};

function moments(texts, request) {
  const list = make("ol", {class: "steps"});
  for (const moment of request.moments) {
    const threads = moment.threads.map((thread) => ran(texts, thread));
    list.append(make("li", {"data-step": BETWEEN[moment.moment]}, make("span", {class: "step-name"}, texts.moments[moment.moment]), make(
      "div", {}, make("p", {class: "why"}, connection(texts, moment.connection)),
      make("p", {class: "why"}, threads.length ? `${texts.ran}:` : texts.nobody_ran), ...threads,
    )));
  }
  return [make("p", {class: "remark"}, request.sees ? texts.from_proc : texts.blind), list];
}

function card(texts, request) {
  const told = request.method === "strace" ? rounds(texts, request) : moments(texts, request);
  return make(
    "article", {class: "card", id: request.kind, "data-method": request.method},
    make("div", {}, make("h2", {}, texts.kinds[request.kind].title), make("p", {class: "what"}, make("code", {}, `${request.site} :${request.port} ${request.path}`))),
    make("p", {class: "lead"}, texts.kinds[request.kind].lead), who(texts, request), ...told,
  );
}

/** Shows one step everywhere, or all of them. */
function choose(step) {
  for (const node of document.querySelectorAll(".loop .step")) node.setAttribute("aria-pressed", node.dataset.step === step);
  for (const item of document.querySelectorAll(".steps > li")) item.classList.toggle("dim", step !== null && item.dataset.step !== step);
  document.querySelector(".all").hidden = step === null;
}

async function load(name) {
  const answer = await fetch(name, {cache: "no-store", signal: AbortSignal.timeout(PATIENCE)});
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.json();
}

async function show() {
  const texts = await load("texts.json");
  const status = document.querySelector(".recorded");
  const recording = await load("steps.json").catch(() => null);
  if (!recording) {
    status.textContent = texts.no_recording;
    return;
  }
  const when = new Date(recording.recorded).toLocaleString(texts.lang);
  status.textContent = `${fill(texts.recorded, {when, kernel: recording.kernel})} ${texts.again}`;
  document.querySelector(".servers").append(...recording.requests.map((request) => card(texts, request)));
  for (const node of document.querySelectorAll(".loop .step")) {
    const press = () => choose(node.getAttribute("aria-pressed") === "true" ? null : node.dataset.step);
    node.addEventListener("click", press);
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      press();
    });
  }
  document.querySelector(".all").addEventListener("click", () => choose(null));
  document.body.dataset.shown = "yes";
}

show();
