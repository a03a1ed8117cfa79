// Pictures as files: chosen, dropped anywhere on the page, or pasted.

import { button, make, toast } from "/page/dom.js";
import { sendModel } from "/page/run.js";

export function pictures(connection) {
  const file = make("input", { type: "file", accept: "image/*,.npy", hidden: true });
  const canvas = make("canvas", { hidden: true, role: "img", "aria-label": "The picture" });
  const text = make("span", {}, "Drop a picture here, paste one, or");
  const zone = make("div.drop", {}, text, button("Choose a file …", () => file.click()), canvas);
  const name = make("span.faint");
  const another = button("Another …", () => file.click(), { hidden: true }, ".small.push");
  const element = make("div", {}, zone, make("div.tools", {}, name, another), file);
  file.addEventListener("change", () => { if (file.files[0]) take(file.files[0]); file.value = ""; });
  let takes = true;

  async function preview(picture) {
    canvas.hidden = true;
    try {
      const image = await createImageBitmap(picture);
      const scale = Math.min(1, 800 / Math.max(image.width, image.height));
      canvas.width = Math.max(1, Math.round(image.width * scale));
      canvas.height = Math.max(1, Math.round(image.height * scale));
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.hidden = false;
    } catch {
      // The program may read kinds that the browser does not.
    }
  }

  async function take(picture) {
    name.textContent = picture.name;
    another.hidden = false;
    if (picture.size < 30e6) preview(picture);
    try {
      await connection.picture(picture);
    } catch (error) {
      canvas.hidden = another.hidden = true;
      name.textContent = "";
      toast(error.message, { bad: true });
    }
  }

  return {
    element,
    take,
    model(model) {
      takes = Boolean(model?.picture);
      canvas.hidden = another.hidden = true;
      name.textContent = "";
      text.textContent = takes ? "Drop a picture here, paste one, or" : `This network takes no picture: drop an .npy file of int8 or uint8, or`;
    },
  };
}

/** Take what is dropped on the page, or pasted: a model; or, while `wants()`, something to classify. */
export function acceptDrops(connection, wants, prepare, taker) {
  const take = (file) => {
    if (!connection.operates) { toast("Another page operates the board; this one watches.", { bad: true }); return; }
    if (/\.tflite$/i.test(file.name)) { sendModel(connection, file); return; }
    if (!wants()) return;
    prepare();
    taker.take(file);
  };
  let depth = 0;
  const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => { if (isFile(event)) { depth++; document.body.classList.add("dropping"); } });
  addEventListener("dragleave", (event) => { if (isFile(event) && --depth <= 0) { depth = 0; document.body.classList.remove("dropping"); } });
  addEventListener("dragover", (event) => { if (isFile(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    depth = 0;
    document.body.classList.remove("dropping");
    if (!isFile(event)) return;
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) take(file);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (file) take(file.name ? file : new File([file], "pasted.png", { type: file.type }));
  });
}
