// One flow's picture: rates on wires, status and badges at nodes, and the way through it by mouse and keyboard.
import { count, draw, rate, sum } from "./format.js";

const PERIOD = 600;

export class Picture {
  constructor(section, open) {
    this.name = section.dataset.flow;
    this.area = section.querySelector(".picture");
    this.svg = this.area.querySelector("svg");
    this.open = open;
    this.rates = new Map();
    this.nodes = new Map([...this.svg.querySelectorAll("[data-node]")].map((group) => [group.dataset.node, this.node(group)]));
    this.wires = [...this.svg.querySelectorAll("[data-wire]")].map((path) => this.wire(path));
    this.width = Number(this.svg.getAttribute("width"));
    this.height = Number(this.svg.getAttribute("height"));
    this.svg.setAttribute("role", "group");
    this.area.addEventListener("keydown", (event) => this.key(event));
    this.focusable(this.nodes.values().next().value?.group);
    new ResizeObserver(() => this.fit()).observe(this.area);
  }

  // Shrink a picture that is a little too wide; a much wider one scrolls.
  fit() {
    const scale = Math.min(1, Math.max(0.8, this.area.clientWidth / this.width));
    this.svg.setAttribute("width", this.width * scale);
    this.svg.setAttribute("height", this.height * scale);
  }

  node(group) {
    const box = group.querySelector(".box");
    const width = Number(box.getAttribute("width"));
    const height = Number(box.getAttribute("height"));
    const fill = draw("rect", { class: "fill", x: 0, y: height - 3, width: 0, height: 3, rx: 1.5 });
    const dot = draw("circle", { class: "dot", cx: 6, cy: height + 10, r: 4 });
    const badge = draw("text", { class: "badge", x: 15, y: height + 14 });
    group.append(fill, dot, badge);
    this.target(group, `node ${group.dataset.node}`, { node: group.dataset.node });
    const place = group.transform.baseVal.consolidate().matrix;
    return { group, width, fill, dot, badge, x: place.e, y: place.f + height / 2 };
  }

  wire(path) {
    const [, source, port, target] = path.dataset.wire.match(/^(\w+)\.(\w+)-(\w+)$/);
    const middle = path.getPointAtLength(path.getTotalLength() / 2);
    const label = draw("text", { class: "rate", x: middle.x, y: middle.y - 7 });
    const hit = draw("path", { class: "hit", d: path.getAttribute("d") });
    path.after(hit);
    this.svg.append(label);
    this.target(hit, `wire from ${source}.${port} to ${target}`, { node: source, port });
    return { path, hit, label, source, port, target };
  }

  target(element, label, what) {
    element.setAttribute("tabindex", "-1");
    element.setAttribute("role", "button");
    element.setAttribute("aria-label", label);
    element.addEventListener("click", () => this.choose(element, what));
    element.what = what;
  }

  choose(element, what) {
    this.focusable(element);
    this.mark(element);
    this.open({ flow: this.name, ...what }, element);
  }

  mark(element) {
    for (const chosen of this.svg.querySelectorAll(".chosen")) chosen.classList.remove("chosen");
    element?.classList.add("chosen");
    const wire = this.wires.find((one) => one.hit === element);
    wire?.path.classList.add("chosen");
  }

  // One element at a time takes part in the order of Tab; arrow keys move from there.
  focusable(element) {
    this.current?.setAttribute("tabindex", "-1");
    element?.setAttribute("tabindex", "0");
    this.current = element;
  }

  key(event) {
    const element = event.target.closest("[role=button]");
    if (!element?.what) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.choose(element, element.what);
      return;
    }
    const next = this.beside(element, event.key);
    if (!next) return;
    event.preventDefault();
    this.focusable(next);
    next.focus();
    next.scrollIntoView?.({ block: "nearest", inline: "center" });
  }

  beside(element, key) {
    const wire = this.wires.find((one) => one.hit === element);
    const name = element.what.node;
    if (key === "ArrowRight") return wire ? this.nodes.get(wire.target).group : this.wires.find((one) => one.source === name)?.hit;
    if (key === "ArrowLeft") return wire ? this.nodes.get(wire.source).group : this.wires.find((one) => one.target === name)?.hit;
    const step = { ArrowDown: 1, ArrowUp: -1 }[key];
    if (!step) return null;
    return wire ? this.sibling(wire, step) : this.neighbour(this.nodes.get(name), step);
  }

  sibling(wire, step) {
    const others = this.wires.filter((one) => one.source === wire.source);
    return others[(others.indexOf(wire) + step + others.length) % others.length].hit;
  }

  neighbour(from, step) {
    const ahead = [...this.nodes.values()].filter((one) => (one.y - from.y) * step > 1);
    const distance = (one) => Math.abs(one.y - from.y) + 3 * Math.abs(one.x - from.x);
    return ahead.sort((one, other) => distance(one) - distance(other))[0]?.group;
  }

  show(now, last, seconds) {
    for (const [name, parts] of this.nodes) {
      if (now.nodes[name]) this.showNode(parts, now.nodes[name]);
      this.remember(name, now.nodes[name], last?.nodes[name], seconds);
    }
    for (const wire of this.wires) this.showWire(wire, now, last, seconds);
  }

  showWire({ path, label, source, port }, now, last, seconds) {
    const total = now.nodes[source]?.emitted[port] ?? 0;
    const perSecond = Math.max(0, total - (last?.nodes[source]?.emitted[port] ?? total)) / seconds;
    label.textContent = rate(perSecond);
    path.classList.toggle("moving", perSecond > 0);
  }

  showNode({ group, width, fill, dot, badge }, node) {
    for (const status of ["degraded", "failed", "starting", "stopped"]) group.classList.toggle(status, node.status === status);
    const share = node.capacity ? node.depth / node.capacity : 0;
    fill.setAttribute("width", Math.min(1, share) * width);
    fill.classList.toggle("full", share >= 0.9);
    const dropped = sum(node.dropped);
    const parts = [];
    const room = Math.floor((width + 26) / 6.2);
    if (node.reason && node.status !== "running") parts.push(node.reason.length > room ? `${node.reason.slice(0, room - 1)}…` : node.reason);
    if (node.errors) parts.push(`${count(node.errors)} failed`);
    if (dropped) parts.push(`${count(dropped)} dropped`);
    if (node.dead_lettered) parts.push(`${count(node.dead_lettered)} dead`);
    if (node.held) parts.push(`holds ${count(node.held)}`);
    if (node.depth) parts.push(`${count(node.depth)}/${count(node.capacity)} waiting`);
    badge.textContent = parts.join(" · ");
    badge.classList.toggle("bad", node.errors > 0 || dropped > 0 || node.dead_lettered > 0 || node.status === "failed");
    const quiet = parts.length === 0 && node.status === "running" && !group.classList.contains("source");
    dot.setAttribute("visibility", quiet ? "hidden" : "visible");
    if (parts.length === 0 && !quiet) badge.textContent = node.status;
  }

  // Ten minutes of rates, for the line in the panel.
  remember(name, now, last, seconds) {
    const rates = this.rates.get(name) ?? [];
    const sent = (node) => sum(node.emitted) + node.written;
    rates.push(now && last ? Math.max(0, sent(now) - sent(last)) / seconds : 0);
    if (rates.length > PERIOD) rates.shift();
    this.rates.set(name, rates);
  }
}
