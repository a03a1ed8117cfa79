// Look inside: every layer as the board stored it, where the cycles go, and how a value was made.

import { button, count, make, seconds, size, toast } from "/page/dom.js";
import { colour, decode, drawPicture, planes, variable } from "/page/pixels.js";
import { explanation } from "/page/explanation.js";

export const title = "Look inside";

const BOUNDS = {
  multipliers: "as fast as the multipliers are",
  port: "waits for pixels from memory",
  requantiser: "waits for sums to become bytes",
  tape: "waits for weights",
};
const GAP = 6;

export function mount(root, connection, bench) {
  const summary = make("div");
  const list = make("ol.layers", { "aria-label": "Layers" });
  const legend = make("p.legend");
  const maps = featureMaps((place) => choose(chosen, place));
  const why = explanation({ go: (tensor, position) => follow(tensor, position), explain: (tensor, position) => tell(tensor, position) });
  const again = button("Look again", () => connection.do("look"), { "data-testid": "look" }, ".small.needs-board");
  const empty = make("p.card.empty", {}, "Show the board something first: draw a digit on the tab Run, then come back.");
  const body = make("div.inside", {},
    make("section.card.layers-card", { "aria-label": "Layers and their cycles" },
      make("div.card-head", {}, make("h2", {}, "Layers, and where the cycles go"), again), summary, list, legend),
    make("div.stack", {}, maps.card, why.card));
  root.append(empty, body);
  let found = null;
  let chosen = 0;
  let shown = false;
  let wanted = null;
  let coming = 0;

  /** Ask for a look, if the last picture has not been looked at. */
  function ask() {
    empty.hidden = Boolean(connection.answer || found);
    body.hidden = !found;
    if (!shown || !connection.answer) return;
    const mark = `${connection.answer.client}:${connection.answer.number}:${connection.model?.name}`;
    if (mark === wanted) return;
    wanted = mark;
    if (connection.operates) connection.do("look");
  }

  async function load() {
    const { looked } = connection.status;
    if (!shown || !looked || looked === found?.number || looked === coming) return;
    coming = looked;
    try {
      const told = await connection.get("/api/look");
      if (told.number === found?.number) return;
      found = told;
    } catch (error) {
      toast(error.message, { bad: true });
      return;
    } finally {
      coming = 0;
    }
    found.all = [{ name: "input", op: "what the network sees", tensor: found.input.tensor, shape: found.input.shape, bytes: found.input.bytes, compared: false, isInput: true }, ...found.layers];
    for (const each of found.all) each.values = decode(each.bytes);
    empty.hidden = true;
    body.hidden = false;
    show();
  }

  function show() {
    const total = found.layers.reduce((sum, each) => sum + each.cycles, 0);
    const predicted = found.layers.reduce((sum, each) => sum + each.predicted, 0);
    const wrong = found.layers.reduce((sum, each) => sum + each.mismatches, 0);
    const board = connection.status.board;
    summary.className = "summary";
    summary.replaceChildren(
      make("p", {}, make("b", {}, count(total)), ` cycles, ${seconds((total / (board?.clock_hz ?? 1)) * 1e6)}`, make("span.faint", {}, `; ${count(predicted)} predicted`)),
      make("span." + (wrong ? "badge.bad" : "badge.good"), { "data-testid": "verdict" }, wrong ? `${count(wrong)} bytes differ from the reference` : "✓ every layer equals the reference"));
    const longest = Math.max(...found.layers.map((each) => each.cycles), 1);
    list.replaceChildren(...found.all.map((layer, index) => {
      const mark = layer.isInput ? "" : !layer.compared ? "" : layer.mismatches ? `✗ ${count(layer.mismatches)}` : "✓";
      const bar = make("i");
      if (!layer.isInput) {
        bar.style.width = `${Math.max(1, (100 * layer.cycles) / longest)}%`;
        bar.style.background = `var(--bound-${layer.bound})`;
      }
      return make("li", {}, make("button", { type: "button", "data-index": String(index), onclick: () => choose(index, null), title: layer.isInput ? "" : `${count(layer.cycles)} cycles, ${count(layer.predicted)} predicted; ${count(layer.macs)} multiplications; ${BOUNDS[layer.bound]}` },
        make("span.layer-name", {}, layer.name),
        make("span.layer-mark" + (layer.mismatches ? ".bad" : ""), { title: layer.isInput ? "" : !layer.compared ? "a step of one operator: no tensor of the network to compare with" : layer.mismatches ? "bytes that differ from the reference" : "equal to the reference" }, mark),
        make("span.layer-op", {}, `${layer.op.replaceAll("_", " ").toLowerCase()} · ${size(layer.shape)}`),
        make("span.layer-cycles", {}, layer.isInput ? "" : `${count(layer.cycles)} · ${Math.round(100 * layer.utilisation)} %`),
        make("span.layer-bar", {}, layer.isInput ? null : bar)));
    }));
    const bounds = [...new Set(found.layers.map((each) => each.bound))];
    legend.replaceChildren(...bounds.map((bound) => {
      const dot = make("i");
      dot.style.background = `var(--bound-${bound})`;
      return make("span", {}, dot, make("span", {}, make("b", {}, bound), ` ${BOUNDS[bound]}`));
    }), make("span.faint", {}, "%: of the multipliers' cycles that multiply"));
    if (chosen >= found.all.length) chosen = 0;
    choose(chosen || Math.min(1, found.all.length - 1), null);
  }

  function choose(index, place) {
    chosen = index;
    const layer = found.all[index];
    for (const each of list.querySelectorAll("button")) each.setAttribute("aria-current", String(Number(each.dataset.index) === index));
    maps.show(layer, place);
    if (place) tell(layer.tensor, place);
    else why.clear(layer);
  }

  /** How a value of a tensor was made. */
  async function tell(tensor, position) {
    if (tensor === null) { why.refuse("This layer is one of several that compute one operator: what it leaves is a step on the way, and no tensor of the network."); return; }
    try {
      why.show(await connection.get(`/api/explain?look=${found.number}&tensor=${tensor}&position=${position.join(",")}`));
      bench.say("The value is explained below the maps");
    } catch (error) {
      toast(error.message, { bad: true });
    }
  }

  /** Go to where a value stands; one that is stored nowhere is explained as it is. */
  function follow(tensor, position) {
    const index = found.all.findIndex((each) => each.tensor === tensor);
    if (index < 0) tell(tensor, position);
    else choose(index, position);
  }

  connection.on("answer", ask);
  connection.on("status", load);
  connection.on("model", () => { found = null; wanted = null; chosen = 0; ask(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => maps.draw());
  ask();
  return {
    show() { shown = true; ask(); load(); if (found) maps.draw(); },
    hide() { shown = false; },
  };
}

/** A layer's channels as tiles; a value is chosen by pointer or arrow keys. */
function featureMaps(choose) {
  const canvas = make("canvas.maps", { tabIndex: 0, role: "application", "aria-label": "Feature maps: arrow keys move, Enter explains the value" });
  const name = make("h2");
  const about = make("span.faint");
  const readout = make("p.readout", { "aria-live": "polite" });
  const holder = make("div.maps-holder", {}, canvas);
  const card = make("section.card", { "aria-label": "Feature maps" }, make("div.card-head", {}, name, about), holder, readout);
  let layer = null;
  let place = null;
  let hover = null;
  let layout = null;

  function arrange() {
    const [height, width, channels] = planes(layer.shape);
    const room = Math.max(220, holder.clientWidth);
    // A vector is one map: its channels are cells of it.
    const vector = height * width === 1;
    const cells = vector ? Math.max(4, Math.min(16, Math.ceil(Math.sqrt(channels * 2.2)))) : 0;
    let scale = vector ? Math.max(10, Math.min(30, Math.floor(room / cells))) : Math.max(1, Math.min(28, Math.floor(150 / Math.max(height, width))));
    if (!vector) {
      if (layer.isInput || channels === 1) scale = Math.max(1, Math.min(34, Math.floor(Math.min(room, 340) / Math.max(height, width))));
      while (scale > 1 && width * scale > room) scale--;
    }
    const columns = vector ? cells : Math.max(1, Math.min(channels, Math.floor((room + GAP) / (width * scale + GAP))));
    return { height, width, channels, vector, scale, columns, gap: vector ? 2 : GAP };
  }

  function at(value) {
    const { width, height, channels, scale, columns, gap } = layout;
    const channel = value % channels;
    const pixel = Math.floor(value / channels);
    const x = (channel % columns) * (width * scale + gap) + (pixel % width) * scale;
    const y = Math.floor(channel / columns) * (height * scale + gap) + Math.floor(pixel / width) * scale;
    return [x, y];
  }

  function draw() {
    if (!layer || !holder.clientWidth) return;
    layout = arrange();
    const { height, width, channels, vector, scale, columns, gap } = layout;
    const rows = Math.ceil(channels / columns);
    const ratio = Math.min(2, devicePixelRatio || 1);
    const w = columns * (width * scale + gap) - gap;
    const h = rows * (height * scale + gap) - gap;
    canvas.width = w * ratio;
    canvas.height = h * ratio;
    canvas.style.width = `${w}px`;
    canvas.style.height = `${h}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = false;
    const values = layer.values;
    const isPicture = layer.isInput && (channels === 1 || channels === 3);
    const least = values.reduce((a, b) => Math.min(a, b), 127);
    const most = values.reduce((a, b) => Math.max(a, b), -128);
    const small = new OffscreenCanvas(width, height);
    const inner = small.getContext("2d");
    for (let channel = 0; channel < channels; channel++) {
      const image = inner.createImageData(width, height);
      for (let pixel = 0; pixel < width * height; pixel++) {
        const value = values[pixel * channels + channel];
        const grey = value + 128;
        image.data.set(isPicture ? [grey, grey, grey, 255] : [...colour(value, least, most), 255], 4 * pixel);
      }
      inner.putImageData(image, 0, 0);
      const [x, y] = at(channel);
      context.drawImage(small, x, y, width * scale, height * scale);
    }
    context.strokeStyle = variable("--bad");
    context.lineWidth = 2;
    for (const value of layer.differing ?? []) context.strokeRect(...at(value), scale, scale);
    const outline = (value, style) => {
      const [x, y] = at(value);
      context.strokeStyle = "#000";
      context.lineWidth = 4;
      context.strokeRect(x - 1, y - 1, scale + 2, scale + 2);
      context.strokeStyle = style;
      context.lineWidth = 2;
      context.strokeRect(x - 1, y - 1, scale + 2, scale + 2);
    };
    if (hover !== null) outline(hover, "#fff");
    if (place !== null) outline(place, "#39d98a");
    if (vector && scale >= 22) {
      context.font = `10px ${variable("--mono")}`;
      context.textAlign = "center";
      for (let channel = 0; channel < channels; channel++) {
        const [x, y] = at(channel);
        context.fillStyle = (values[channel] - least) / (most - least || 1) > 0.6 ? "#000" : "#fff";
        context.fillText(String(values[channel]).replace("-", "−"), x + scale / 2, y + scale / 2 + 3.5);
      }
    }
  }

  /** The value's index in the tensor, as the program counts. */
  function position(value) {
    const found = [];
    let rest = value;
    for (const length of [...layer.shape].reverse()) {
      found.unshift(rest % length);
      rest = Math.floor(rest / length);
    }
    return found;
  }

  function flat(found) {
    return layer.shape.reduce((sum, length, axis) => sum * length + found[axis], 0);
  }

  function read(value) {
    if (value === null) {
      readout.textContent = layer.isInput || layer.tensor === null ? "" : "Click a value to see how it was made. From dark to bright: from the least to the greatest of the layer.";
      return;
    }
    const where = position(value);
    const names = where.length === 3 ? ["row", "column", "channel"] : where.length === 1 ? ["value"] : where.map((_, axis) => `dimension ${axis}`);
    readout.textContent = `${where.map((each, axis) => `${names[axis]} ${each}`).join(", ")}: ${String(layer.values[value]).replace("-", "−")}`;
  }

  function under(event) {
    const { height, width, channels, scale, columns, gap } = layout;
    const x = event.offsetX;
    const y = event.offsetY;
    const column = Math.floor(x / (width * scale + gap));
    const row = Math.floor(y / (height * scale + gap));
    const channel = row * columns + column;
    const px = Math.floor((x - column * (width * scale + gap)) / scale);
    const py = Math.floor((y - row * (height * scale + gap)) / scale);
    if (channel >= channels || column >= columns || px >= width || py >= height || px < 0 || py < 0) return null;
    return (py * width + px) * channels + channel;
  }

  canvas.addEventListener("pointermove", (event) => {
    const value = under(event);
    if (value === hover) return;
    hover = value;
    draw();
    read(hover ?? place);
  });
  canvas.addEventListener("pointerleave", () => { hover = null; draw(); if (layer) read(place); });
  canvas.addEventListener("click", (event) => {
    const value = under(event);
    if (value !== null) choose(position(value));
  });
  canvas.addEventListener("keydown", (event) => {
    if (!layer) return;
    const { height, width, channels, columns, vector } = layout;
    let value = hover ?? place ?? 0;
    const channel = value % channels;
    const pixel = Math.floor(value / channels);
    const x = pixel % width;
    const y = Math.floor(pixel / width);
    const at = (row, column, depth) => (row * width + column) * channels + depth;
    const clip = (each, most) => Math.max(0, Math.min(most - 1, each));
    if (vector) {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
      if (step) value = clip(value + step, channels);
    } else {
      if (event.key === "ArrowLeft") value = at(y, clip(x - 1, width), channel);
      if (event.key === "ArrowRight") value = at(y, clip(x + 1, width), channel);
      if (event.key === "ArrowUp") value = at(clip(y - 1, height), x, channel);
      if (event.key === "ArrowDown") value = at(clip(y + 1, height), x, channel);
      if (event.key === "PageDown") value = at(y, x, clip(channel + 1, channels));
      if (event.key === "PageUp") value = at(y, x, clip(channel - 1, channels));
    }
    if (event.key === "Enter") { choose(position(value)); event.preventDefault(); return; }
    if (!event.key.startsWith("Arrow") && !event.key.startsWith("Page")) return;
    event.preventDefault();
    hover = value;
    draw();
    read(value);
  });
  new ResizeObserver(() => draw()).observe(holder);

  return {
    card,
    draw,
    show(which, where) {
      layer = which;
      place = where ? flat(where) : null;
      hover = null;
      name.textContent = layer.isInput ? "The input" : `${layer.name}: what the board stored`;
      about.textContent = `${size(layer.shape)} int8`;
      draw();
      read(place);
    },
  };
}
