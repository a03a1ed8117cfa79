// Tensors as pictures.

/** The int8 values of a base64 text. */
export function decode(text) {
  const raw = atob(text);
  const values = new Int8Array(raw.length);
  for (let index = 0; index < raw.length; index++) values[index] = raw.charCodeAt(index);
  return values;
}

/** Height, width and channels of a tensor of any rank: a vector is a row, or several if long. */
export function planes(shape) {
  const sizes = shape.filter((size, index) => size > 1 || index >= shape.length - 3);
  if (sizes.length >= 3) return [sizes.slice(0, -2).reduce((a, b) => a * b, 1), ...sizes.slice(-2)];
  if (sizes.length === 2) return [sizes[0], sizes[1], 1];
  return [1, 1, sizes[0] ?? 1];
}

/** Draw a tensor of 1 or 3 channels as the picture that it is: grey or colours, pixel for pixel. */
export function drawPicture(canvas, values, shape) {
  let [height, width, channels] = shape.length === 2 ? [...shape, 1] : planes(shape);
  if (channels !== 1 && channels !== 3) {
    width *= channels;
    channels = 1;
  }
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let colour = 0; colour < 3; colour++) {
      image.data[4 * pixel + colour] = values[pixel * channels + (channels === 3 ? colour : 0)] + 128;
    }
    image.data[4 * pixel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// From dark to bright, as matplotlib's inferno goes.
const STOPS = [[6, 8, 14], [74, 12, 107], [165, 44, 96], [229, 92, 48], [251, 165, 10], [252, 255, 190]];
const RAMP = new Uint8ClampedArray(256 * 3);
for (let level = 0; level < 256; level++) {
  const at = (level / 255) * (STOPS.length - 1);
  const index = Math.min(STOPS.length - 2, Math.floor(at));
  for (let colour = 0; colour < 3; colour++) {
    RAMP[3 * level + colour] = STOPS[index][colour] + (at - index) * (STOPS[index + 1][colour] - STOPS[index][colour]);
  }
}

/** The colour of a value between `least` and `greatest`. */
export function colour(value, least, greatest) {
  const level = greatest > least ? Math.round(((value - least) / (greatest - least)) * 255) : 128;
  return [RAMP[3 * level], RAMP[3 * level + 1], RAMP[3 * level + 2]];
}

export const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
