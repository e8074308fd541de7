// Copyright: (c) 2026, the weblab.stacks maintainers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Four ways for news to come from a server to a page. Each has start() and stop(), and tells a `watch` what happens on the wire:
//   began(what) -> entry    a request or a connection; entry.ended(bytes, problem) when it is over
//   arrived(entry, bytes)   something came over it while it stays open
//   news({cursor, clock, messages})
// All go on from the page's cursor, so that a page may change from one to another at any time.
"use strict";

/** Seconds before another try after a failure: longer each time, and never all pages at the same moment. */
class Patience {
  constructor() { this.failures = 0; }
  reset() { this.failures = 0; }
  next() {
    this.failures += 1;
    return Math.min(0.3 * 2 ** (this.failures - 1), 5) * (0.5 + Math.random());
  }
}

const sleep = (seconds, signal) => new Promise((done) => {
  const timer = setTimeout(done, seconds * 1000);
  signal?.addEventListener("abort", () => { clearTimeout(timer); done(); }, {once: true});
});

/** What a request has cost, head and body, where the browser tells; a cache or another origin hides it. */
function cost(url, text) {
  const [entry] = performance.getEntriesByName(url).slice(-1);
  return entry?.transferSize || new TextEncoder().encode(text).length;
}

/** Ask, wait for the answer, ask again: at once where the server waits (long polling), else after the interval (polling). */
class Asking {
  constructor(name, watch, options) {
    this.name = name;
    this.watch = watch;
    this.options = options;
  }
  start() {
    this.stopped = new AbortController();
    this.run(this.stopped.signal, new Patience());
  }
  stop() { this.stopped.abort(); }
  async run(stopped, patience) {
    while (!stopped.aborted) {
      const {wait = 0, interval = () => 0} = this.options;
      const query = new URLSearchParams({after: this.watch.cursor(), who: this.watch.who, ...(wait ? {wait} : {interval: interval()})});
      if (!this.watch.cursor()) query.delete("after");
      const url = new URL(`api/poll?${query}`, document.baseURI).href;
      const entry = this.watch.began("GET poll");
      try {
        const answer = await fetch(url, {cache: "no-store", signal: AbortSignal.any([stopped, AbortSignal.timeout((wait + 20) * 1000)])});
        if (!answer.ok) throw new Error(`${answer.status}`);
        const text = await answer.text();
        entry.ended(cost(url, text));
        patience.reset();
        if (!stopped.aborted) this.watch.news(JSON.parse(text));
        if (!wait) await sleep(interval(), stopped);
      } catch (error) {
        if (stopped.aborted) return entry.ended(0);
        entry.ended(0, error.message);
        await sleep(patience.next(), stopped);
      }
      performance.clearResourceTimings();
    }
  }
}

/** One answer that does not end. The browser asks again by itself with Last-Event-ID, but not after an error such as 502. */
class Events {
  constructor(watch) {
    this.name = "sse";
    this.watch = watch;
    this.patience = new Patience();
  }
  start() {
    this.stopped = false;
    this.open();
  }
  open() {
    const after = this.watch.cursor();
    const source = this.source = new EventSource(`api/events${after ? `?after=${after}` : ""}`);
    let entry = this.watch.began("GET events");
    let opened = false;
    source.addEventListener("open", () => {
      opened = true;
      this.patience.reset();
    });
    const take = (event, news) => {
      // "data: " and two ends of lines; a message has "id: " and its end as well, the clock its name.
      const bytes = new TextEncoder().encode(event.data).length + 8 + (event.type === "message" ? event.lastEventId.length + 5 : 13);
      this.watch.arrived(entry, bytes);
      this.watch.news(news);
    };
    source.addEventListener("message", (event) => take(event, {cursor: event.lastEventId, messages: [JSON.parse(event.data)]}));
    source.addEventListener("clock", (event) => take(event, {clock: JSON.parse(event.data), messages: []}));
    source.addEventListener("error", () => {
      if (this.stopped) return;
      // Streams end, and are asked for again; one that never began is a failure. Why, the browser does not tell.
      entry.ended(0, opened ? "" : "no stream");
      opened = false;
      if (source.readyState !== EventSource.CLOSED) {
        entry = this.watch.began("GET events");
        return;
      }
      this.timer = setTimeout(() => this.open(), this.patience.next() * 1000);
    });
    this.end = () => entry.ended(0);
  }
  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    this.source.close();
    this.end();
  }
}

/** One connection for both ways. */
class Socket {
  constructor(watch) {
    this.name = "ws";
    this.watch = watch;
    this.patience = new Patience();
    this.answers = new Map();
  }
  start() {
    this.stopped = false;
    this.open();
  }
  open() {
    const after = this.watch.cursor();
    const url = new URL(`api/ws${after ? `?after=${after}` : ""}`, document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = this.socket = new WebSocket(url);
    const entry = this.watch.began("GET ws, Upgrade: websocket");
    socket.addEventListener("open", () => this.patience.reset());
    socket.addEventListener("message", (event) => {
      const found = JSON.parse(event.data);
      this.watch.arrived(entry, frameSize(new TextEncoder().encode(event.data).length));
      if (found.type === "message") this.watch.news({cursor: found.cursor, messages: [found]});
      else if (found.type === "clock") this.watch.news({clock: found, messages: []});
      else this.answers.get(found.key)?.(found);
    });
    socket.addEventListener("close", (event) => {
      entry.ended(0, this.stopped ? "" : `${event.code} ${event.reason}`.trim());
      if (!this.stopped) this.timer = setTimeout(() => this.open(), this.patience.next() * 1000);
    });
    this.end = () => entry.ended(0);
  }
  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    this.socket.close();
    this.end();
  }
  /** Send a message over the connection, and wait until the server has it; null where there is no connection. */
  async send(message, signal) {
    if (this.stopped || this.socket.readyState !== WebSocket.OPEN) return null;
    const answer = new Promise((done) => {
      this.answers.set(message.key, done);
      signal.addEventListener("abort", () => done(null), {once: true});
      this.socket.addEventListener("close", () => done(null), {once: true});
    });
    this.socket.send(JSON.stringify(message));
    const found = await answer;
    this.answers.delete(message.key);
    return found;
  }
}

/** Bytes of a frame with so many bytes of payload, from a server (RFC 6455, 5.2); a client adds 4 of mask. */
function frameSize(length) {
  return length + 2 + (length > 65535 ? 8 : length > 125 ? 2 : 0);
}
