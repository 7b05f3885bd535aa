// The panel beside the picture: what a node is and does, and the messages that pass it or a wire.
import { count, draw, make, rate } from "./format.js";
import { way } from "./why.js";

const KEPT = 30;

export class Panel {
  constructor(element) {
    this.element = element;
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !this.element.hidden) this.close();
    });
  }

  async open(what, from, picture) {
    this.stop();
    Object.assign(this, { what, from, picture });
    const title = what.port ? `${what.node}.${what.port}` : what.node;
    const close = make("button", "close", "×");
    close.setAttribute("aria-label", "Close");
    close.addEventListener("click", () => this.close());
    this.about = make("div", "about");
    this.numbers = make("div", "numbers");
    this.messages = make("ol", "messages");
    this.note = make("p", "note", "waiting for the next message");
    this.why = make("button", "", "Why?");
    this.why.title = "Follow messages from their sources: what each node makes of them";
    this.why.setAttribute("aria-pressed", "false");
    this.why.addEventListener("click", () => this.turn());
    const heading = make("div", "heading", make("h3", "", what.port ? "Messages on this wire" : "Messages"), this.why);
    this.element.replaceChildren(
      make("header", "", make("h2", "", title), close), this.about, this.numbers, heading, this.note, this.messages,
    );
    this.element.hidden = false;
    this.element.focus({ preventScroll: true });
    this.listen();
    await this.describe(what);
  }

  close() {
    this.stop();
    this.element.hidden = true;
    this.picture.mark(null);
    this.from.focus({ preventScroll: true });
  }

  // Between the messages themselves and the ways that they take.
  turn() {
    const why = this.why.getAttribute("aria-pressed") === "false";
    this.why.setAttribute("aria-pressed", String(why));
    this.messages.replaceChildren();
    this.stop();
    this.listen(why);
  }

  stop() {
    this.events?.close();
    this.events = null;
  }

  listen(why = false) {
    const { flow, node, port } = this.what;
    this.missed = 0;
    this.events = new EventSource(`api/v1/tap?node=${[flow, node, port].filter(Boolean).join(".")}${why ? "&why=true" : ""}`);
    this.events.onmessage = (event) => this.hear(JSON.parse(event.data));
    this.events.onerror = () => { this.note.textContent = "no answer, trying again"; };
  }

  hear(event) {
    if (event.kind === "listening") this.note.textContent = "waiting for the next message";
    if (event.kind === "missed") this.missed += event.count;
    if (event.kind === "end") {
      this.stop();
      this.note.textContent = event.reason;
      return;
    }
    if (event.kind === "path") {
      const earlier = [...this.messages.children].find((item) => item.dataset.path === String(event.path));
      if (earlier) earlier.replaceWith(way(event));
      else this.messages.prepend(way(event));
    }
    if (event.kind === "message") this.messages.prepend(message(event, !this.what.port));
    while (this.messages.children.length > KEPT) this.messages.lastChild.remove();
    if (this.messages.children.length) {
      this.note.textContent = this.missed ? `the newest ${KEPT}; ${count(this.missed)} more passed too fast to be shown` : `the newest ${KEPT}`;
    }
  }

  async describe(what) {
    const answer = await fetch(`api/v1/flows/${what.flow}/nodes/${what.node}`);
    if (!answer.ok || this.what !== what) return;
    const node = await answer.json();
    const [summary, ...rest] = node.reference.split("\n");
    this.about.append(make("p", "kind", make("code", "", node.type), ` ${summary}`));
    if (node.description) this.about.append(make("p", "", node.description));
    if (what.port) {
      this.about.append(make("p", "", node.ports[what.port] ?? ""));
      return;
    }
    const options = Object.entries(node.options).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]);
    if (options.length) this.about.append(table(options));
    const reference = make("details", "reference", make("summary", "", `Reference of ${node.type}`), make("pre", "", rest.join("\n").trim()));
    this.about.append(reference);
  }

  show(flow) {
    const node = this.element.hidden ? null : flow?.nodes[this.what.node];
    if (!node) return;
    const rates = this.picture.rates.get(this.what.node) ?? [];
    const rows = [
      ["received", node.received], ...Object.entries(node.emitted).map(([port, sent]) => [`sent by ${port}`, sent]),
      ["written", node.written], ["filtered", node.filtered], ["aggregated", node.aggregated], ["held", node.held],
      ["failed", node.errors], ...Object.entries(node.dropped).map(([reason, dropped]) => [`dropped: ${reason}`, dropped]),
      ["dead letters", node.dead_lettered], ["tried again", node.retries],
    ].filter(([name, value]) => value || name === "received").map(([name, value]) => [name, count(value)]);
    if (node.capacity) rows.push(["channel", `${count(node.depth)} of ${count(node.capacity)}`]);
    const status = make("p", `status ${node.status}`, node.reason ? `${node.status}: ${node.reason}` : node.status);
    this.numbers.replaceChildren(...(this.what.port ? [] : [status]), sparkline(rates), ...(this.what.port ? [] : [table(rows)]));
  }
}

function table(rows) {
  const lines = rows.map(([name, value]) => make("tr", "", make("th", "", name), make("td", "", value)));
  return make("table", "", make("tbody", "", ...lines));
}

function message(event, named) {
  const head = make("span", "head", event.time.slice(11, 23), named ? ` ${event.port} ` : " ", make("b", "", event.topic));
  const body = make("pre", "", JSON.stringify(event.payload, null, 1).replace(/\n\s*/g, " "));
  return make("li", "", head, body);
}

function sparkline(rates) {
  const [width, height] = [320, 42];
  const most = Math.max(...rates, 0);
  const points = rates.map((value, place) => `${((width * (place + 600 - rates.length)) / 599).toFixed(1)},${(height - 2 - (value / (most || 1)) * (height - 6)).toFixed(1)}`);
  const svg = draw("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img", preserveAspectRatio: "none" });
  svg.setAttribute("aria-label", "messages sent a second, the last ten minutes");
  svg.append(draw("polyline", { points: points.join(" ") }));
  const now = rate(rates.at(-1) ?? 0) || "0/s";
  return make("figure", "", svg, make("figcaption", "", `${now} now, ${rate(most) || "0/s"} at most in ten minutes`));
}
