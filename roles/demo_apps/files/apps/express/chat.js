// Copyright: (c) 2026, the weblab.stacks maintainers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

"use strict";

const list = document.getElementById("said");
const form = document.getElementById("form");
let socket;

function connect() {
  list.replaceChildren();
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/chat`);
  socket.onmessage = (event) => {
    const item = document.createElement("li");
    item.textContent = event.data;
    list.append(item);
  };
  socket.onclose = () => setTimeout(connect, 1000);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (form.text.value && socket.readyState === WebSocket.OPEN) {
    socket.send(form.text.value);
    form.reset();
  }
});

new EventSource("events").onmessage = (event) => {
  document.getElementById("clock").textContent = new Date(event.data).toLocaleTimeString(document.documentElement.lang);
};
connect();
