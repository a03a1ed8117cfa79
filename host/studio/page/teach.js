// Teach: classes, pictures for each, and the training on them.

import { button, count, make, segments, toast } from "/page/dom.js";
import { viewfinder } from "/page/camera.js";
import { drawing } from "/page/drawing.js";
import { trainer } from "/page/train.js";

export const title = "Teach";

const SHOT = 128;
const PAUSE = 110;

export function mount(root, connection, bench) {
  const finder = viewfinder();
  const pad = drawing(connection, { live: false });
  const holder = make("div");
  let source = "camera";
  let shown = false;
  const pick = (id) => {
    source = id;
    holder.className = id === "camera" ? "from-camera" : "";
    if (id === "camera") {
      holder.replaceChildren(finder.element, make("div.tools", {}, finder.tools));
      if (shown) finder.on();
    } else {
      finder.off();
      holder.replaceChildren(pad.element);
    }
    for (const each of cards.values()) each.rename();
  };
  const cards = new Map();
  const list = make("div.classes");
  const balance = make("p.faint");
  const name = make("input.field", { type: "text", placeholder: "Name of a class, as cup", maxLength: 60, "aria-label": "Name of a new class" });
  const add = make("form.row.needs-board", { onsubmit: (event) => { event.preventDefault(); addClass(name.value.trim()); } }, name, make("button.button", { type: "submit" }, "Add a class"));
  const where = make("p.faint.where");
  const zip = make("a.button.small", { download: "pictures.zip" }, "Download the pictures");
  const drop = make("p.drophint", {}, "Drop pictures on a class; or a folder anywhere: each folder in it becomes a class.");
  const train = trainer(connection, bench);
  root.append(make("div.teach", {},
    make("div.stack", {},
      make("section.card.camera-card", { "aria-label": "Where pictures come from" }, make("div.card-head", {}, segments("Where pictures come from", [["camera", "Camera"], ["draw", "Draw"]], source, pick)), holder)),
    make("section.stack", { "aria-label": "Classes" }, make("div.card.classes-head", {}, make("div.row.between", {}, make("h2", {}, "Classes"), balance), add, drop), list, make("div.row", {}, zip, where)),
    train.element));

  // Classes.

  async function change(path, method = "POST", body = null) {
    try {
      return await connection.post(path, body, method);
    } catch (error) {
      toast(error.message, { bad: true });
      return null;
    }
  }

  async function addClass(text) {
    if (text && (await change(`/api/collection/class?name=${encodeURIComponent(text)}`))) { name.value = ""; name.focus(); return true; }
    return false;
  }

  function undo(mark) {
    change(`/api/collection/restore?mark=${mark}`);
  }

  function show(collection) {
    const names = collection.classes.map((each) => each.name);
    for (const [each, card] of cards) if (!names.includes(each)) { card.element.remove(); cards.delete(each); }
    collection.classes.forEach((each, index) => {
      if (!cards.has(each.name)) cards.set(each.name, classCard(each.name));
      const card = cards.get(each.name);
      card.show(each, names);
      if (list.children[index] !== card.element) list.insertBefore(card.element, list.children[index] ?? null);
    });
    const counts = collection.classes.map((each) => each.count);
    const most = Math.max(0, ...counts);
    for (const each of collection.classes) cards.get(each.name).share(most ? each.count / most : 0);
    const total = counts.reduce((a, b) => a + b, 0);
    const fewest = collection.classes[counts.indexOf(Math.min(...counts))];
    balance.textContent = !counts.length ? "" : !total ? "no pictures yet" :
      most >= 1.5 * Math.max(1, fewest.count) && counts.length > 1 ? `${count(total)} pictures; ${fewest.name} has few: the classes get equal weight, but more pictures are better` : `${count(total)} pictures${counts.length > 1 ? ", balanced" : ""}`;
    where.replaceChildren("kept in ", make("code", {}, collection.folder));
    zip.href = connection.address("/api/collection.zip");
    zip.hidden = !total;
    train.collected(collection);
  }

  function classCard(label) {
    const thumbs = make("div.thumbs", { role: "group", "aria-label": `Pictures of ${label}` });
    const amount = make("span.faint");
    const fill = make("i");
    const title = make("input.class-name", { value: label, maxLength: 60, "aria-label": `Name of the class ${label}`, onchange: () => rename(), onkeydown: (event) => { if (event.key === "Enter") title.blur(); if (event.key === "Escape") { title.value = label; title.blur(); } } });
    const hold = make("button.button.main.hold", { type: "button", "data-class": label });
    const file = make("input", { type: "file", accept: "image/*", multiple: true, hidden: true, onchange: () => { addFiles([...file.files]); file.value = ""; } });
    const selection = make("div.row.selection", { hidden: true });
    const element = make("section.card.class.needs-board", { "aria-label": `Class ${label}` },
      make("div.class-head", {}, title, amount, make("button.button.small.plain", { type: "button", "aria-label": `Delete the class ${label}`, title: "Delete the class", onclick: remove }, "✕")),
      make("div.balance", {}, fill),
      make("div.row", {}, hold, button("Files …", () => file.click(), {}, ".small"), file),
      thumbs, selection);
    const known = new Map();
    const chosen = new Set();
    let others = [];
    let timer = 0;
    let busy = false;

    async function rename() {
      const to = title.value.trim();
      if (!to || to === label) { title.value = label; return; }
      if (!(await change(`/api/collection/rename?name=${encodeURIComponent(label)}&to=${encodeURIComponent(to)}`))) title.value = label;
    }

    async function remove() {
      const done = await change(`/api/collection/class?name=${encodeURIComponent(label)}`, "DELETE");
      if (done) toast(`The class ${label} is deleted`, { action: () => undo(done.restore) });
    }

    // Taking pictures: as long as the button is held, by pointer or by key.

    async function shot() {
      if (busy) return;
      busy = true;
      try {
        const canvas = make("canvas", { width: SHOT, height: SHOT });
        if (source === "camera" ? finder.draw(canvas) : pad.draw(canvas)) {
          const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
          if (!(await change(`/api/collection/picture?class=${encodeURIComponent(label)}&name=shot.png`, "POST", blob))) stop();
        }
      } finally {
        busy = false;
      }
    }

    function start() {
      if (timer) return;
      if (source === "draw") {
        if (!pad.strokes().length) { toast("Draw something first"); return; }
        shot().then(pad.clear);
        return;
      }
      if (!finder.isOn()) { finder.on(); toast("The camera has to be on first"); return; }
      hold.classList.add("holding");
      shot();
      timer = setInterval(shot, PAUSE);
    }

    function stop() {
      clearInterval(timer);
      timer = 0;
      hold.classList.remove("holding");
    }

    hold.addEventListener("pointerdown", (event) => { hold.setPointerCapture(event.pointerId); start(); });
    for (const end of ["pointerup", "pointercancel", "blur"]) hold.addEventListener(end, stop);
    hold.addEventListener("keydown", (event) => { if ((event.key === " " || event.key === "Enter") && !event.repeat) { event.preventDefault(); start(); } });
    hold.addEventListener("keyup", stop);
    hold.addEventListener("contextmenu", (event) => event.preventDefault());

    async function addFiles(files) {
      let added = 0;
      for (const each of files) {
        if (await change(`/api/collection/picture?class=${encodeURIComponent(label)}&name=${encodeURIComponent(each.name)}`, "POST", each)) added++;
      }
      if (added) bench.say(`${added} pictures added to ${label}`);
    }

    // Pictures that are there: chosen by a click, deleted, moved.

    const query = () => [...chosen].map((each) => `&file=${encodeURIComponent(each)}`).join("");

    async function removeChosen() {
      const number = chosen.size;
      const done = await change(`/api/collection/pictures?class=${encodeURIComponent(label)}${query()}`);
      if (done) toast(`${number} picture${number === 1 ? " is" : "s are"} deleted`, { action: () => undo(done.restore) });
    }

    function mark() {
      for (const [each, thumb] of known) thumb.setAttribute("aria-pressed", String(chosen.has(each)));
      selection.hidden = !chosen.size;
      if (!chosen.size) return;
      const move = make("select", { "aria-label": "Move to another class", onchange: () => { if (move.value) change(`/api/collection/pictures?class=${encodeURIComponent(label)}&to=${encodeURIComponent(move.value)}${query()}`); } },
        make("option", { value: "" }, "Move to …"), others.map((each) => make("option", { value: each }, each)));
      selection.replaceChildren(make("span.faint", {}, `${chosen.size} chosen`), button("Delete", removeChosen, {}, ".small"), ...(others.length ? [move] : []), button("None", () => { chosen.clear(); mark(); }, {}, ".small.plain"));
    }

    return {
      element,
      addFiles,
      rename() { hold.textContent = source === "camera" ? "Hold to take pictures" : "Add the drawing"; },
      share(share) { fill.style.width = `${100 * share}%`; element.classList.toggle("few", share > 0 && share < 0.67); },
      show(told, names) {
        others = names.filter((each) => each !== label);
        amount.textContent = `${count(told.count)} picture${told.count === 1 ? "" : "s"}`;
        for (const [each, thumb] of known) if (!told.pictures.includes(each)) { thumb.remove(); known.delete(each); chosen.delete(each); }
        for (const each of told.pictures) {
          if (known.has(each)) continue;
          const address = connection.address(`/api/collection/picture?class=${encodeURIComponent(label)}&file=${encodeURIComponent(each)}`);
          const thumb = make("button.thumb", { type: "button", "aria-pressed": "false", "aria-label": `Picture ${each}`, onclick: () => { if (!chosen.delete(each)) chosen.add(each); mark(); }, onkeydown: (event) => { if (event.key === "Delete" || event.key === "Backspace") { chosen.add(each); removeChosen(); } } },
            make("img", { src: address, alt: "", loading: "lazy", width: "56", height: "56" }));
          known.set(each, thumb);
          // The latest first.
          thumbs.prepend(thumb);
        }
        mark();
        this.rename();
      },
    };
  }

  // Folders and files that are dropped.

  const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

  async function filesIn(entry) {
    if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
    return (await entriesIn(entry)).filter((each) => each.isFile).reduce(async (all, each) => [...(await all), ...(await filesIn(each))], Promise.resolve([]));
  }

  async function entriesIn(folder) {
    const reader = folder.createReader();
    const all = [];
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return all.filter((each) => !each.name.startsWith("."));
      all.push(...some);
    }
  }

  async function take(label, files) {
    if (!cards.has(label)) {
      if (!(await change(`/api/collection/class?name=${encodeURIComponent(label)}`))) return;
      for (let tries = 0; tries < 50 && !cards.has(label); tries++) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await cards.get(label)?.addFiles(files);
  }

  addEventListener("drop", async (event) => {
    if (!shown || !isFile(event) || !connection.operates) return;
    event.preventDefault();
    const entries = [...event.dataTransfer.items].map((each) => each.webkitGetAsEntry?.()).filter(Boolean);
    const target = event.target.closest?.(".class");
    const label = [...cards].find(([, card]) => card.element === target)?.[0];
    const loose = [];
    for (const entry of entries) {
      if (entry.isFile) { loose.push(...(await filesIn(entry))); continue; }
      const inner = (await entriesIn(entry)).filter((each) => each.isDirectory);
      if (label) await take(label, await filesIn(entry));
      else if (inner.length) for (const each of inner) await take(each.name, await filesIn(each));
      else await take(entry.name, await filesIn(entry));
    }
    const pictures = loose.filter((each) => !/\.tflite$/i.test(each.name));
    if (pictures.length && label) await take(label, pictures);
    else if (pictures.length) toast("Drop pictures on the class that they belong to", { bad: true });
  });

  connection.on("collection", show);
  pick(source);
  return {
    show() { shown = true; if (source === "camera") finder.on(); train.show(); },
    hide() { shown = false; finder.off(); },
  };
}
