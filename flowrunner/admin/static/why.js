// The way of one message through the flow, in words: what each node made of it, with which values.
import { make } from "./format.js";

const OUTCOMES = {
  came: "brought it in", passed: "passed it on", changed: "changed it", filtered: "filtered it out", held: "holds it",
  replaced: "left it out: a later message took its place", released: "let it go",
  aggregated: "counted it in a window that has closed", dropped: "dropped it", failed: "failed",
  arrived: "has it, not written yet", written: "written",
};
const BAD = new Set(["dropped", "failed"]);
const ENDS = new Set(["filtered", "replaced"]);

export function way(event) {
  const [first, ...stations] = event.stations;
  const head = make("span", "head", make("b", "", first.topic), ` #${first.seq} ${JSON.stringify(first.payload)}`);
  const list = make("ol", "way", ...stations.map(station));
  if (!event.done) list.append(make("li", "under-way", "under way"));
  const item = make("li", "", head, list);
  item.dataset.path = event.path;
  return item;
}

function station(one) {
  const kind = BAD.has(one.outcome) ? "bad" : ENDS.has(one.outcome) ? "end" : one.outcome;
  const ports = one.after.map((sent) => sent.port + (sent.wired ? "" : " (not wired: it ends here)")).join(", ");
  const until = one.until ? ` until ${one.until.slice(11, 19)}` : "";
  const words = `${OUTCOMES[one.outcome]}${until}${one.reason ? `: ${one.reason}` : ""}${ports ? ` → ${ports}` : ""}`;
  const lines = [...one.expressions.map(expression), ...one.after.flatMap((sent) => sent.changes.map(change))];
  const head = make("span", "", make("b", "", one.node), ` ${words}`);
  if (!lines.length) return make("li", kind, head);
  const details = make("details", "", make("summary", "", head), ...lines);
  details.open = BAD.has(one.outcome) || ENDS.has(one.outcome);
  return make("li", kind, details);
}

function expression(told) {
  const values = Object.entries(told.operands).filter(([name]) => name !== told.expression)
    .map(([name, value]) => `${name} = ${JSON.stringify(value)}`);
  const result = told.error ?? JSON.stringify(told.value);
  return make("pre", "", `${told.option}: ${told.expression} is ${result}${values.length ? `\n  ${values.join("\n  ")}` : ""}`);
}

function change({ field, before, after }) {
  const line = make("pre", "change", `${field} `);
  if (before !== null) line.append(make("del", "", JSON.stringify(before)), " ");
  if (after !== null) line.append(make("ins", "", JSON.stringify(after)));
  return line;
}
