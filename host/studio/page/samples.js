// The test part of a data set: pictures to click on, or to play through.

import { button, count, make, toast } from "/page/dom.js";
import { decode, drawPicture } from "/page/pixels.js";

const PAGE = 48;

export function samples(connection) {
  const grid = make("div.samples", { role: "group", "aria-label": "Test pictures" });
  const where = make("span.faint");
  const tally = make("span.badge", { hidden: true, "data-testid": "tally" });
  const back = button("‹", () => turn(-PAGE), { "aria-label": "Earlier pictures" }, ".small");
  const forth = button("›", () => turn(PAGE), { "aria-label": "Later pictures" }, ".small");
  const play = button("Play through", () => (playing ? stop() : run()), { "data-testid": "play" }, ".small.push");
  const element = make("div", {}, grid, make("div.tools", {}, back, where, forth, tally, play));
  let name = null;
  let start = 0;
  let total = 0;
  let playing = false;
  let pressed = null;
  const known = new Map();

  async function load() {
    if (!name) return;
    let found;
    try {
      found = await connection.get(`/api/samples/${name}?start=${start}&count=${PAGE}`);
    } catch (error) {
      toast(error.message, { bad: true });
      return;
    }
    total = found.total;
    const values = decode(found.bytes);
    const each = found.shape.reduce((a, b) => a * b, 1);
    grid.replaceChildren(...found.labels.map((label, index) => {
      const canvas = make("canvas");
      drawPicture(canvas, values.subarray(index * each, (index + 1) * each), found.shape);
      const number = found.start + index;
      return make("button", { type: "button", "data-index": String(number), title: `${label}`, "aria-label": `Test picture ${number}: ${label}`, onclick: () => { stop(); show(number); } }, canvas);
    }));
    where.textContent = `${count(start + 1)}–${count(Math.min(total, start + PAGE))} of ${count(total)}`;
    back.disabled = start === 0;
    forth.disabled = start + PAGE >= total;
    mark();
  }

  function mark() {
    for (const each of grid.children) {
      const index = Number(each.dataset.index);
      each.setAttribute("aria-pressed", String(index === pressed));
      each.classList.toggle("wrong", known.get(index) === false);
    }
    const right = [...known.values()].filter(Boolean).length;
    tally.hidden = known.size === 0;
    tally.className = right === known.size ? "badge good" : "badge";
    tally.textContent = `${count(right)} of ${count(known.size)} right`;
  }

  async function turn(step) {
    start = Math.max(0, Math.min(start + step, total - 1));
    start -= start % PAGE;
    await load();
  }

  async function show(index) {
    pressed = index;
    mark();
    const answer = await connection.sample(name, index);
    if (answer) { known.set(index, answer.label === answer.truth); mark(); }
    return answer;
  }

  function stop() {
    playing = false;
    play.textContent = "Play through";
  }

  async function run() {
    playing = true;
    play.textContent = "Stop";
    const mine = name;
    for (let index = (pressed ?? -1) + 1; playing && name === mine && index < total; index++) {
      if (index >= start + PAGE || index < start) { start = index - (index % PAGE); await load(); }
      if (!(await show(index))) break;
    }
    stop();
  }

  return {
    element,
    async model(model) {
      stop();
      known.clear();
      pressed = null;
      start = 0;
      name = model?.samples[0] ?? null;
      grid.replaceChildren();
      if (element.isConnected) await load();
    },
    show() { if (!grid.children.length) load(); },
    hide: stop,
  };
}
