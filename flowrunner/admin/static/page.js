// Keeps the page's numbers moving: one event a second with totals, from which rates are made here.
import { count, duration, make, size, sum } from "./format.js";
import { Panel } from "./panel.js";
import { Picture } from "./picture.js";

const panel = new Panel(document.getElementById("panel"));
const sections = [...document.querySelectorAll("[data-flow]")];
const tabs = [...document.querySelectorAll("[data-tab]")];
// A hidden picture has no size: its parts are placed before any is hidden.
const pictures = new Map(sections.map((section) => {
  const picture = new Picture(section, (what, from) => panel.open(what, from, picture));
  return [section.dataset.flow, picture];
}));
let before = null;

function select() {
  const wanted = decodeURIComponent(location.hash.slice(1));
  const shown = sections.find((section) => section.dataset.flow === wanted) ?? sections[0];
  for (const section of sections) section.hidden = section !== shown;
  for (const tab of tabs) {
    const current = tab.dataset.tab === shown?.dataset.flow;
    if (current) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
}

function showFacts(section, flow, now) {
  const facts = {
    lag: duration(flow.lag),
    journal: size(flow.journal_bytes),
    checkpoint: flow.checkpoint_age === null ? "none yet" : `${duration(flow.checkpoint_age)} ago`,
    generation: count(flow.generation),
    running: flow.status === "running" ? duration(now - flow.since) : flow.status,
    restarts: count(flow.restarts),
  };
  for (const field of section.querySelectorAll("[data-fact]")) field.textContent = facts[field.dataset.fact];
  section.querySelector("[data-fact=lag]").classList.toggle("bad", flow.lag > 10);
  section.querySelector("[data-fact=restarts]").classList.toggle("bad", flow.restarts > 0);
  section.querySelector("[data-fact=running]").classList.toggle("bad", flow.status !== "running");
}

function showBooks(section, flow) {
  for (const field of section.querySelectorAll("[data-total]")) {
    const name = field.dataset.total;
    const value = name === "dropped" ? sum(flow.dropped) : flow[name];
    field.textContent = count(value);
    field.classList.toggle("bad", (name === "dropped" || name === "dead_lettered") && value > 0);
    if (name === "dropped") {
      field.title = Object.entries(flow.dropped).map(([reason, dropped]) => `${reason}: ${dropped}`).join(", ");
    }
  }
  const balance = section.querySelector("[data-balance]");
  balance.textContent = flow.unaccounted === 0 ? "✓ all accounted for" : `${count(flow.unaccounted)} unaccounted for`;
  balance.classList.toggle("bad", flow.unaccounted !== 0);
}

function showLast(section, flow) {
  for (const list of section.querySelectorAll("[data-last]")) {
    const lines = flow.nodes[list.dataset.last]?.last ?? [];
    list.replaceChildren(...(lines.length ? lines : ["nothing yet"]).map((line) => make("li", "", line)));
  }
}

function showState(kind, text, trouble) {
  const state = document.getElementById("state");
  state.className = kind;
  state.textContent = text;
  document.body.classList.toggle("stale", kind === "gone");
  if (trouble === null) return;
  const list = document.getElementById("trouble");
  list.hidden = trouble.length === 0;
  list.replaceChildren(...trouble.map((cause) => {
    const place = [cause.flow, cause.node ?? cause.connection, cause.file].filter(Boolean).join(" ");
    return make("li", "", ...(place ? [make("b", "", place), " "] : []), cause.reason ?? "");
  }));
}

function showTabs(flows) {
  for (const tab of tabs) {
    const flow = flows[tab.dataset.tab];
    const ailing = Object.values(flow.nodes).some((node) => node.status === "failed" || node.status === "degraded");
    tab.className = flow.status !== "running" ? "bad" : ailing ? "warn" : "";
  }
}

function showReloads(reloads) {
  const element = document.getElementById("reloads");
  element.hidden = reloads.length === 0;
  element.querySelector("ol").replaceChildren(...reloads.map((one) => {
    const time = new Date(one.time * 1000).toLocaleTimeString("en-GB");
    return make("li", one.result, make("time", "", time), " ", make("b", "", one.result), ` ${one.name}`, one.reason ? `: ${one.reason}` : "");
  }));
}

function isDrawn(flows) {
  const drawn = sections.map((section) => `${section.dataset.flow} ${section.dataset.hash}`).sort().join();
  return drawn === Object.entries(flows).map(([name, flow]) => `${name} ${flow.hash}`).sort().join();
}

function show(now) {
  if (!isDrawn(now.flows)) {
    location.reload();
    return;
  }
  const seconds = before ? Math.max(0.1, now.time - before.time) : 1;
  for (const section of sections) {
    const name = section.dataset.flow;
    pictures.get(name).show(now.flows[name], before?.flows[name], seconds);
    if (section.hidden) continue;
    showFacts(section, now.flows[name], now.time);
    showBooks(section, now.flows[name]);
    showLast(section, now.flows[name]);
  }
  panel.show(now.flows[panel.what?.flow]);
  showTabs(now.flows);
  showReloads(now.recent_reloads);
  showState(now.ready ? "ready" : "trouble", now.ready ? "running" : "not ready", now.trouble);
  before = now;
}

addEventListener("hashchange", () => {
  if (!panel.element.hidden) panel.close();
  select();
  if (before) show(before);
});
select();
const events = new EventSource("api/v1/events");
events.onmessage = (event) => show(JSON.parse(event.data));
events.onerror = () => showState("gone", "no answer, trying again", null);
