// Small helpers: elements, numbers as people read them, and lines that pop up.

/** An element: `make("p.soft", {title: "…"}, "text", child, …)`. */
export function make(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const button = (text, onclick, more = {}, classes = "") =>
  make(`button.button${classes}`, { type: "button", onclick, ...more }, text);

/** A choice of one of several; calls `choose(id)`. */
export function segments(label, options, chosen, choose) {
  const group = make("div.segments", { role: "group", "aria-label": label });
  const select = (id) => {
    for (const each of group.children) each.setAttribute("aria-pressed", String(each.dataset.id === id));
  };
  for (const [id, text] of options) {
    group.append(make("button", { type: "button", "data-id": id, onclick: () => { select(id); choose(id); } }, text));
  }
  select(chosen);
  group.select = select;
  return group;
}

export const count = (value) => Math.round(value).toLocaleString("en-GB");

export function bytes(value) {
  return value < 10_000 ? `${count(value)} B` : `${(value / 1024).toFixed(value < 102_400 ? 1 : 0)} KiB`;
}

export function seconds(microseconds) {
  if (microseconds < 1000) return `${microseconds.toFixed(microseconds < 100 ? 1 : 0)} µs`;
  if (microseconds < 1e6) return `${(microseconds / 1e3).toFixed(microseconds < 1e5 ? 2 : 0)} ms`;
  return `${(microseconds / 1e6).toFixed(2)} s`;
}

/** A number with a true minus sign. */
export const signed = (value) => (value < 0 ? `−${count(-value)}` : count(value));
export const withSign = (value) => (value < 0 ? `−${count(-value)}` : `+${count(value)}`);

/** Shapes with a true multiplication sign. */
export const size = (shape) => shape.join("×") || "1";

export function facts(list, entries) {
  list.replaceChildren(
    ...entries.map(([name, value, more]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, value, more ? make("small", {}, ` ${more}`) : null))),
  );
  return list;
}

/** A line that pops up: bad ones stay until they are read. */
export function toast(text, { bad = false, action = null, label = "Undo" } = {}) {
  const holder = document.getElementById("toasts");
  for (const each of holder.children) if (each.dataset.text === text) each.remove();
  const line = make("div.toast" + (bad ? ".bad" : ""), { "data-text": text }, make("span", {}, text));
  if (action) line.append(make("button", { type: "button", onclick: () => { line.remove(); action(); } }, label));
  line.append(make("button.close", { type: "button", "aria-label": "Close", onclick: () => line.remove() }, "✕"));
  holder.append(line);
  while (holder.children.length > 3) holder.firstChild.remove();
  setTimeout(() => line.remove(), bad ? 12_000 : 6_000);
}
