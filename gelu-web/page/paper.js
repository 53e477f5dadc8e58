// The drawing, and the image that is made of it.

const SIDE = 280;
const PEN = 22;
const STEP = 14; // Of the keyboard's pen.

// Ten digits as strokes, in hundredths of the side.
export const SAMPLES = [
  [[50, 18, 36, 24, 29, 40, 29, 60, 36, 76, 50, 82, 64, 76, 71, 60, 71, 40, 64, 24, 50, 18]],
  [[38, 32, 53, 18, 53, 82]],
  [[32, 34, 36, 22, 50, 17, 64, 22, 68, 35, 62, 48, 46, 63, 31, 80, 71, 80]],
  [[33, 24, 48, 18, 62, 23, 66, 34, 60, 44, 46, 48, 61, 52, 68, 64, 63, 76, 48, 82, 32, 76]],
  [[60, 18, 30, 60, 74, 60], [60, 18, 60, 84]],
  [[67, 19, 38, 19, 34, 46, 50, 42, 64, 48, 69, 62, 62, 76, 48, 81, 32, 76]],
  [[62, 18, 46, 28, 35, 46, 32, 64, 39, 79, 53, 82, 65, 74, 66, 60, 56, 51, 42, 54, 33, 64]],
  [[30, 20, 70, 20, 58, 44, 46, 82]],
  [[50, 48, 36, 40, 35, 26, 50, 18, 64, 26, 63, 40, 50, 48, 35, 58, 33, 73, 50, 82, 67, 73, 65, 58, 50, 48]],
  [[66, 38, 58, 49, 44, 48, 36, 37, 40, 24, 54, 18, 65, 26, 66, 40, 63, 62, 54, 82]],
];

// A canvas that can be drawn on; calls `changed` after each stroke and `clear`.
export class Paper {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.at = { x: SIDE / 2, y: SIDE / 2, down: false };
    this.pen = canvas.getContext('2d', { willReadFrequently: true });
    Object.assign(this.pen, { lineCap: 'round', lineJoin: 'round', lineWidth: PEN, strokeStyle: '#fff' });
    this.wipe();
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.last = this.place(event);
      this.line(this.last, this.last);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (!this.last) return;
      const next = this.place(event);
      this.line(this.last, next);
      this.last = next;
    });
    for (const over of ['pointerup', 'pointercancel']) {
      canvas.addEventListener(over, () => {
        if (this.last) changed();
        this.last = undefined;
      });
    }
    canvas.addEventListener('keydown', (event) => this.key(event));
  }

  place({ offsetX, offsetY }) {
    const scale = SIDE / this.canvas.clientWidth;
    return { x: offsetX * scale, y: offsetY * scale };
  }

  line(from, to) {
    this.pen.beginPath();
    this.pen.moveTo(from.x, from.y);
    this.pen.lineTo(to.x, to.y);
    this.pen.stroke();
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    if (!move && event.key !== ' ') return;
    event.preventDefault();
    const inside = (x) => Math.min(SIDE - PEN, Math.max(PEN, x));
    const next = { ...this.at };
    if (move) [next.x, next.y] = [inside(next.x + STEP * move[0]), inside(next.y + STEP * move[1])];
    else next.down = !next.down;
    if (next.down) this.line(this.at, next);
    this.at = next;
    if (next.down) this.changed();
  }

  wipe() {
    this.pen.fillStyle = '#000';
    this.pen.fillRect(0, 0, SIDE, SIDE);
  }

  clear() {
    this.wipe();
    this.at = { x: SIDE / 2, y: SIDE / 2, down: false };
    this.changed();
  }

  draw(strokes) {
    this.wipe();
    this.pen.beginPath();
    for (const stroke of strokes) {
      for (let i = 0; i < stroke.length; i += 2) {
        const [x, y] = [stroke[i], stroke[i + 1]].map((hundredth) => (hundredth * SIDE) / 100);
        if (i === 0) this.pen.moveTo(x, y);
        else this.pen.lineTo(x, y);
      }
    }
    this.pen.stroke();
    this.changed();
  }
}

// The drawing as MNIST has its digits: in a box of 20 of 28 pixels, its centre of mass in the middle, white on black.
// Gives a byte for each pixel, row by row; undefined for an empty drawing.
export function shrink(paper, target) {
  const ink = bounds(paper);
  const { width, height } = target;
  const context = target.getContext('2d', { willReadFrequently: true });
  context.fillStyle = '#000';
  context.fillRect(0, 0, width, height);
  if (!ink) return undefined;
  const scale = (Math.min(width, height) * 20) / 28 / Math.max(ink.width, ink.height);
  const [w, h] = [ink.width * scale, ink.height * scale];
  const put = (dx, dy) => {
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = 'high';
    const [x, y] = [(width - w) / 2 + dx, (height - h) / 2 + dy];
    context.drawImage(paper, ink.left, ink.top, ink.width, ink.height, x, y, w, h);
  };
  put(0, 0);
  const { x, y } = centre(grey(context, width, height), width);
  put(Math.round((width - 1) / 2 - x), Math.round((height - 1) / 2 - y));
  return grey(context, width, height);
}

function grey(context, width, height) {
  return context.getImageData(0, 0, width, height).data.filter((_, i) => i % 4 === 0);
}

function bounds(paper) {
  const pixels = grey(paper.getContext('2d'), paper.width, paper.height);
  let [left, right, top, bottom] = [paper.width, -1, paper.height, -1];
  pixels.forEach((value, i) => {
    if (value < 64) return;
    const [x, y] = [i % paper.width, Math.floor(i / paper.width)];
    [left, right] = [Math.min(left, x), Math.max(right, x)];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
  });
  return right < 0 ? undefined : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

function centre(pixels, width) {
  let [all, x, y] = [0, 0, 0];
  pixels.forEach((value, i) => {
    all += value;
    x += value * (i % width);
    y += value * Math.floor(i / width);
  });
  return { x: x / all, y: y / all };
}
