// Keeps the page's numbers moving: one event a second with totals, from which rates are made here.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
let before = null;

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

function rate(perSecond) {
  if (perSecond === 0) return "";
  return perSecond < 0.1 ? "<0.1/s" : `${number.format(perSecond)}/s`;
}

function duration(seconds) {
  if (seconds < 1) return "0 s";
  return seconds < 120 ? `${number.format(seconds)} s` : `${number.format(seconds / 60)} min`;
}

function sum(counts) {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

function textAt(parent, kind, x, y) {
  const text = document.createElementNS(SVG, "text");
  text.setAttribute("class", kind);
  text.setAttribute("x", x);
  text.setAttribute("y", y);
  parent.append(text);
  return text;
}

function labelOf(wire) {
  if (!wire.label) {
    const middle = wire.getPointAtLength(wire.getTotalLength() / 2);
    wire.label = textAt(wire.ownerSVGElement, "rate", middle.x, middle.y - 6);
  }
  return wire.label;
}

function badgeOf(group) {
  if (!group.badge) {
    const box = group.querySelector(".box");
    group.badge = textAt(group, "badge", 2, Number(box.getAttribute("height")) + 14);
  }
  return group.badge;
}

function showWires(section, now, last, seconds) {
  for (const wire of section.querySelectorAll("[data-wire]")) {
    const [, source, port] = wire.dataset.wire.match(/^(\w+)\.(\w+)-/);
    const total = now.nodes[source]?.emitted[port] ?? 0;
    const earlier = last?.nodes[source]?.emitted[port] ?? total;
    const perSecond = Math.max(0, total - earlier) / seconds;
    labelOf(wire).textContent = rate(perSecond);
    wire.classList.toggle("moving", perSecond > 0);
  }
}

function showNodes(section, now) {
  for (const group of section.querySelectorAll("[data-node]")) {
    const node = now.nodes[group.dataset.node];
    if (!node) continue;
    group.classList.toggle("degraded", node.status === "degraded");
    group.classList.toggle("failed", node.status === "failed");
    const parts = [];
    if (node.errors) parts.push(`${number.format(node.errors)} failed`);
    if (node.dropped) parts.push(`${number.format(node.dropped)} dropped`);
    if (node.held) parts.push(`holds ${number.format(node.held)}`);
    if (node.depth) parts.push(`${number.format(node.depth)} waiting`);
    if (node.reason && node.status !== "stopped") parts.unshift(node.reason.slice(0, 60));
    const badge = badgeOf(group);
    badge.textContent = parts.join(" · ");
    badge.classList.toggle("bad", node.errors > 0 || node.status === "failed");
  }
}

function showTotals(section, flow) {
  for (const field of section.querySelectorAll("[data-total]")) {
    const name = field.dataset.total;
    const value = name === "dropped" ? sum(flow.dropped) : flow[name];
    field.textContent = name === "lag" ? duration(value) : number.format(value);
    field.classList.toggle("bad", (name === "dropped" || name === "dead_lettered") && value > 0);
    if (name === "dropped") {
      field.title = Object.entries(flow.dropped).map(([reason, count]) => `${reason}: ${count}`).join(", ");
    }
  }
}

function showLast(section, flow) {
  for (const list of section.querySelectorAll("[data-last]")) {
    const lines = flow.nodes[list.dataset.last]?.last ?? [];
    list.replaceChildren(...lines.map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }));
  }
}

function showState(kind, text, trouble) {
  const state = document.getElementById("state");
  state.className = kind;
  state.textContent = text;
  const list = document.getElementById("trouble");
  list.hidden = trouble.length === 0;
  list.replaceChildren(...trouble.map((cause) => {
    const item = document.createElement("li");
    const place = [cause.flow, cause.node ?? cause.connection, cause.file].filter(Boolean).join(" ");
    item.textContent = place ? `${place}: ${cause.reason}` : cause.reason;
    return item;
  }));
}

function show(now) {
  const sections = [...document.querySelectorAll("[data-flow]")];
  const drawn = sections.map((section) => `${section.dataset.flow} ${section.dataset.hash}`).sort().join();
  const running = Object.entries(now.flows).map(([name, flow]) => `${name} ${flow.hash}`).sort().join();
  if (drawn !== running) {
    location.reload();
    return;
  }
  const seconds = before ? Math.max(0.1, now.time - before.time) : 1;
  for (const section of sections) {
    const flow = now.flows[section.dataset.flow];
    showTotals(section, flow);
    showNodes(section, flow);
    showLast(section, flow);
    showWires(section, flow, before?.flows[section.dataset.flow], seconds);
  }
  showState(now.ready ? "ready" : "trouble", now.ready ? "running" : "not ready", now.trouble);
  before = now;
}

const events = new EventSource("api/v1/events");
events.onmessage = (event) => show(JSON.parse(event.data));
events.onerror = () => showState("gone", "no answer, trying again", []);
