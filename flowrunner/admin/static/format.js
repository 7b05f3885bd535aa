// Numbers, times and elements, as the other scripts need them.

const decimal = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export const count = (number) => decimal.format(number);

export function rate(perSecond) {
  if (perSecond === 0) return "";
  return perSecond < 0.1 ? "<0.1/s" : `${decimal.format(perSecond)}/s`;
}

export function duration(seconds) {
  if (seconds < 1) return "0 s";
  if (seconds < 120) return `${decimal.format(Math.round(seconds))} s`;
  if (seconds < 7200) return `${decimal.format(Math.round(seconds / 60))} min`;
  return seconds < 172800 ? `${decimal.format(seconds / 3600)} h` : `${decimal.format(seconds / 86400)} d`;
}

export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes > 0 ? Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10)) : 0;
  return `${decimal.format(bytes / 1024 ** power)} ${units[power]}`;
}

export const sum = (counts) => Object.values(counts).reduce((total, one) => total + one, 0);

// An element with a class and children; text stays text, so nothing of a message is ever taken for markup.
export function make(tag, kind = "", ...children) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function draw(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
