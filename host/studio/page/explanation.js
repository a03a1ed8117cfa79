// How a value was made: what was read, each product, the sum, both roundings, the byte. All integers.

import { button, make, signed, withSign } from "/page/dom.js";
import { variable } from "/page/pixels.js";

const FEW = 14;
const SUPER = { 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const power = (exponent) => `2${String(exponent).replace(/\d/g, (digit) => SUPER[digit])}`;

/** What a step does, as one reads it aloud. */
function words(step) {
  const [first, second] = step.with;
  switch (step.what) {
    case "bias": return `${withSign(first)} bias`;
    case "plus": return `${withSign(first)} zero point of the output`;
    case "minus": return `${withSign(-first)} zero point`;
    case "zero points": return `${withSign(first)} for the inputs' zero points`;
    case "negate": return "with the other sign, because it is subtracted";
    case "times": return `× ${signed(first)}`;
    case "shift left": return `× ${power(first)}`;
    case "multiply": return `× ${signed(first)} / ${power(31)}, rounded: half goes up`;
    case "shift right": return `/ ${power(first)}, rounded: half goes away from zero`;
    case "divide": return `/ ${signed(first)} values, rounded: half goes away from zero`;
    case "clamp": return `clamped to ${signed(first)} … ${signed(second)}`;
    case "table": return "looked up in the table";
    default: return step.what;
  }
}

const JOINED = {
  sum: "sum",
  greatest: "the greatest",
  least: "the least",
  product: "product of both",
  value: "the value",
  moved: "the value, moved here",
};

export function explanation(bench) {
  const body = make("div.why");
  const head = make("h2", {}, "How a value is made");
  const back = button("← Back", () => { trail.pop(); const last = trail.at(-1); if (last) bench.go(last.tensor, last.position); }, { hidden: true }, ".small");
  const card = make("section.card", { "aria-label": "How a value is made", "data-testid": "explanation" }, make("div.card-head", {}, head, back), body);
  let trail = [];

  function show({ chain }) {
    const [first] = chain;
    const last = trail.at(-1);
    if (!last || last.tensor !== first.tensor || last.position.join() !== first.position.join()) trail.push(first);
    back.hidden = trail.length < 2;
    head.textContent = `How ${first.layer} [${first.position.join(", ")}] became ${signed(first.board ?? first.result)}`;
    body.replaceChildren(...chain.flatMap((each, index) => [
      index ? make("p.on-the-way", {}, `${nameOf(each)} was made on the way, inside the engine; it is stored nowhere:`) : null,
      one(each),
    ]).filter(Boolean));
  }

  const nameOf = (each) => `${each.layer} [${each.position.join(", ")}] = ${signed(each.result)}`;

  function one(told) {
    const parts = make("div.made", { "data-tensor": String(told.tensor), "data-how": told.how });
    if (told.op) parts.append(make("p.faint", {}, `${told.op.replaceAll("_", " ").toLowerCase()}`));
    if (told.how === "given") {
      parts.append(make("p", {}, told.op ? `It is padding: ${signed(told.result)} whatever the picture is.` : "It is the picture's, or a constant: nothing was computed."));
      return parts;
    }
    if (told.how === "reference") {
      parts.append(make("p", {}, "Its arithmetic is not taken apart here: the byte is what the reference computes, and the board's is compared with it."));
    }
    if (told.sources.length === 2) {
      parts.append(make("div.sides", {}, told.sources.map((source) => side(source))));
    } else if (told.sources.length) {
      parts.append(read(told));
    }
    parts.append(calculation(told));
    if (told.table) parts.append(table(told));
    return parts;
  }

  /** A value that was read: a click goes there. */
  function cell(source, index, text, extra = "") {
    if (!source.inside[index]) return make(`span.cell.outside${extra}`, { title: "padding" }, text);
    return make(`button.cell${extra}`, { type: "button", title: `${source.name} [${source.positions[index].join(", ")}] = ${source.values[index]}: see how it was made`, onclick: () => bench.go(source.tensor, source.positions[index]) }, text);
  }

  function side(source) {
    const lines = [make("tr", {}, make("th", { scope: "row" }, source.constant ? "the constant" : `${source.name} [${source.positions[0].join(", ")}]`), make("td", {}, cell(source, 0, signed(source.values[0]))))];
    for (const step of source.steps) lines.push(make("tr", {}, make("th", { scope: "row" }, words(step)), make("td", {}, signed(step.gives))));
    return make("table.sum", {}, make("tbody", {}, lines));
  }

  /** The window: values, weights and products, a channel at a time; or a list where it is long. */
  function read(told) {
    const [source] = told.sources;
    const [height, width, depth] = source.shape.length === 3 ? source.shape : [1, 1, source.shape[0]];
    if (height * width > 1 && height * width <= 121) return window(told, source, height, width, depth);
    return terms(told, source);
  }

  function window(told, source, height, width, depth) {
    const holder = make("div.window");
    const subtotals = Array.from({ length: depth }, (_, channel) => sum(source.terms.filter((_, index) => index % depth === channel)));
    let chosen = subtotals.reduce((best, each, channel) => (Math.abs(each) > Math.abs(subtotals[best]) ? channel : best), 0);
    const grids = make("div.grids");
    const picks = make("div.channels", { role: "group", "aria-label": "Input channels, and what each adds" });

    function grid(caption, text, values, extra = () => "") {
      const most = Math.max(1, ...values.map(Math.abs));
      const cells = [];
      for (let index = 0; index < height * width; index++) {
        const place = index * depth + chosen;
        const element = text === null ? cell(source, place, signed(values[index]), extra(index)) : make(`span.cell${extra(index)}`, {}, signed(values[index]));
        element.style.setProperty("--amount", String(Math.abs(values[index]) / most));
        element.classList.add(values[index] < 0 ? "negative" : "positive");
        cells.push(element);
      }
      const table = make("div.grid", {}, cells);
      table.style.gridTemplateColumns = `repeat(${width}, minmax(34px, auto))`;
      return make("figure", {}, table, make("figcaption", {}, caption));
    }

    function draw() {
      const at = (list) => Array.from({ length: height * width }, (_, index) => list[index * depth + chosen]);
      const sign = (text) => make("span.sign", { "aria-hidden": "true" }, text);
      const total = subtotals[chosen];
      if (source.weights) {
        const centred = source.values.map((value) => value - source.zero);
        grids.replaceChildren(
          grid(source.zero ? `input ${withSign(-source.zero)} (its zero point)` : "input", null, at(centred)), sign("×"),
          grid("weights", "", at(source.weights)), sign("="),
          grid("products", "", at(source.terms)), sign("→"),
          make("figure", {}, make("b.total", {}, signed(total)), make("figcaption", {}, depth > 1 ? `channel ${chosen} adds` : "sum")));
      } else {
        const values = at(source.values);
        const extreme = told.how === "greatest" ? Math.max(...source.values) : told.how === "least" ? Math.min(...source.values) : null;
        grids.replaceChildren(grid("values under the window", null, values, (index) => (values[index] === extreme ? ".extreme" : "")), sign("→"),
          make("figure", {}, make("b.total", {}, signed(told.joined)), make("figcaption", {}, JOINED[told.how])));
      }
      for (const each of picks.children) each.setAttribute("aria-pressed", String(Number(each.dataset.channel) === chosen));
    }

    if (depth > 1) {
      const most = Math.max(1, ...subtotals.map(Math.abs));
      picks.append(...subtotals.map((subtotal, channel) => {
        const fill = make("i");
        fill.style.height = `${Math.max(4, (100 * Math.abs(subtotal)) / most)}%`;
        return make("button" + (subtotal < 0 ? ".negative" : ".positive"), { type: "button", "data-channel": String(channel), title: `channel ${channel}: ${signed(subtotal)}`, "aria-label": `channel ${channel} adds ${subtotal}`, onclick: () => { chosen = channel; draw(); } }, fill);
      }));
      holder.append(make("p.faint", {}, `${depth} input channels, and what each adds:`), picks);
    }
    holder.append(grids);
    draw();
    return holder;
  }

  function terms(told, source) {
    if (source.values.length === 1 && !source.weights) return make("p", {}, `${source.name} [${source.positions[0].join(", ")}] is `, cell(source, 0, signed(source.values[0])));
    const order = source.terms.map((_, index) => index).sort((a, b) => Math.abs(source.terms[b]) - Math.abs(source.terms[a]));
    const holder = make("div");
    const lines = (most) => order.slice(0, most).map((index) => make("tr", {},
      make("td.where", {}, `[${source.positions[index].join(", ")}]`),
      make("td", {}, cell(source, index, signed(source.values[index]))),
      source.weights ? [make("td", {}, signed(source.values[index] - source.zero)), make("td", {}, signed(source.weights[index])), make("td", {}, signed(source.terms[index]))] : null));
    const names = source.weights ? ["from", "value", source.zero ? `${withSign(-source.zero)}` : "", "× weight", "= product"] : ["from", "value"];
    function draw(all) {
      holder.replaceChildren(make("div.scroll", {}, make("table.terms", {}, make("thead", {}, make("tr", {}, names.map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, lines(all ? order.length : FEW)))),
        ...(order.length > FEW && !all ? [make("p", {}, button(`Show all ${order.length}`, () => draw(true), {}, ".small"))] : []));
    }
    holder.className = "window";
    draw(false);
    return holder;
  }

  function calculation(told) {
    const rows = [];
    const line = (text, value, extra = "") => rows.push(make(`tr${extra}`, {}, make("th", { scope: "row" }, text), make("td", {}, signed(value))));
    if (told.sources.length) {
      const many = told.sources[0].values.length;
      line(told.how === "sum" && told.sources.length === 1 ? (told.sources[0].weights ? `sum of ${many} products` : `sum of ${told.sources[0].inside.filter(Boolean).length} values`) : JOINED[told.how], told.joined);
    }
    for (const step of told.steps) line(words(step), step.gives);
    const byte = make("tr.byte", {}, make("th", { scope: "row" }, told.board === null ? "the value on the way" : "the byte"), make("td", {}, signed(told.result)));
    rows.push(byte);
    const table = make("table.sum", { "data-testid": "calculation" }, make("tbody", {}, rows));
    if (told.board === null) return make("div", {}, table);
    const equal = told.board === told.result;
    return make("div", {}, table, make("p", {}, make("span." + (equal ? "badge.good" : "badge.bad"), { "data-testid": "byte", "data-board": String(told.board) }, equal ? `✓ the board stored ${signed(told.board)}` : `✗ the board stored ${signed(told.board)}`)));
  }

  function table(told) {
    const canvas = make("canvas.curve", { width: 520, height: 260, role: "img", "aria-label": "The table of 256 entries, and the one that was looked up" });
    const context = canvas.getContext("2d");
    const x = (value) => 10 + ((value + 128) * 500) / 255;
    const y = (value) => 250 - ((value + 128) * 240) / 255;
    context.strokeStyle = variable("--line");
    context.lineWidth = 1;
    for (const each of [-128, 0, 127]) {
      context.beginPath();
      context.moveTo(x(-128), y(each)); context.lineTo(x(127), y(each));
      context.moveTo(x(each), y(-128)); context.lineTo(x(each), y(127));
      context.stroke();
    }
    context.fillStyle = variable("--soft");
    told.table.forEach((value, index) => context.fillRect(x(index - 128) - 1, y(value) - 1, 2.4, 2.4));
    const at = told.joined;
    context.strokeStyle = variable("--accent");
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x(at), y(-128)); context.lineTo(x(at), y(told.result)); context.lineTo(x(-128), y(told.result));
    context.stroke();
    return make("figure.table", {}, canvas, make("figcaption.faint", {}, `entry ${signed(at)} of the table is ${signed(told.table[at + 128])}`));
  }

  return {
    card,
    show,
    clear(layer) {
      trail = [];
      back.hidden = true;
      head.textContent = "How a value is made";
      body.replaceChildren(make("p.empty", {}, layer?.isInput ? "The picture is given. Choose a layer, and click one of its values." : "Click a value above: the window that it came from, the weights over it, each product, the sum, both roundings, the byte."));
    },
    refuse(text) {
      body.replaceChildren(make("p.empty", {}, text));
    },
  };
}

const sum = (values) => values.reduce((total, each) => total + each, 0);
