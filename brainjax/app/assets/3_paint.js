// Pixels and lines of one slice.
"use strict";

brainjax.paint = (() => {
  // Dark violet over red to pale yellow; heat is seen best where it rises in lightness too.
  const STOPS = [
    [40, 11, 84],
    [159, 42, 99],
    [229, 92, 48],
    [252, 195, 65],
    [252, 255, 190],
  ];
  const HEAT = Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (STOPS.length - 1);
    const first = Math.min(Math.floor(at), STOPS.length - 2);
    return STOPS[first].map((c, k) => c + (STOPS[first + 1][k] - c) * (at - first));
  });

  function canvas(width, height, fill) {
    const made = document.createElement("canvas");
    made.width = width;
    made.height = height;
    const context = made.getContext("2d");
    const image = context.createImageData(width, height);
    fill(image.data);
    context.putImageData(image, 0, 0);
    return made;
  }

  // Grey levels between the window's ends. The image of each stored number is looked up.
  function grey(values, width, height, volume, [black, white]) {
    const table = new Uint8ClampedArray(65536);
    const gain = 255 / Math.max(white - black, 1e-12);
    const start = (volume.offset - black) * gain;
    for (let q = 0, step = volume.step * gain; q < 65536; q++) table[q] = start + q * step;
    return canvas(width, height, (pixels) => {
      const words = new Uint32Array(pixels.buffer);
      for (let i = 0; i < values.length; i++) words[i] = 0xff000000 | (table[values[i]] * 0x010101);
    });
  }

  const inside = (layer) => (value) => (value & layer.bits) === layer.value;

  function fill(values, width, height, layer) {
    const is = inside(layer);
    const [r, g, b] = layer.colour;
    const word = 0xff000000 | (b << 16) | (g << 8) | r;
    return canvas(width, height, (pixels) => {
      const words = new Uint32Array(pixels.buffer);
      for (let i = 0; i < values.length; i++) if (is(values[i])) words[i] = word;
    });
  }

  function heat(values, width, height) {
    return canvas(width, height, (pixels) => {
      for (let i = 0; i < values.length; i++) {
        const [r, g, b] = HEAT[values[i]];
        // What is next to nothing is not worth a veil over the anatomy.
        pixels.set([r, g, b, Math.min(255, values[i] * 3)], 4 * i);
      }
    });
  }

  // Marching squares with corners cut at the half: a path in pixels of the slice.
  function outline(values, width, height, layer) {
    const is = inside(layer);
    const at = (x, y) =>
      x >= 0 && y >= 0 && x < width && y < height && is(values[y * width + x]) ? 1 : 0;
    const path = new Path2D();
    const line = (x0, y0, x1, y1) => {
      path.moveTo(x0, y0);
      path.lineTo(x1, y1);
    };
    for (let y = -1; y < height; y++) {
      let left = at(-1, y);
      let below = at(-1, y + 1);
      for (let x = -1; x < width; x++) {
        const right = at(x + 1, y);
        const corner = at(x + 1, y + 1);
        const which = left | (right << 1) | (corner << 2) | (below << 3);
        if (which !== 0 && which !== 15) {
          const cx = x + 1; // where four pixels meet
          const cy = y + 1;
          const [n, e, s, w] = [[cx, cy - 0.5], [cx + 0.5, cy], [cx, cy + 0.5], [cx - 0.5, cy]];
          const cut = (a, b) => line(...a, ...b);
          if (which === 1 || which === 14) cut(n, w);
          else if (which === 2 || which === 13) cut(n, e);
          else if (which === 4 || which === 11) cut(e, s);
          else if (which === 8 || which === 7) cut(s, w);
          else if (which === 3 || which === 12) cut(w, e);
          else if (which === 6 || which === 9) cut(n, s);
          else if (which === 5) (cut(n, w), cut(e, s));
          else (cut(n, e), cut(s, w));
        }
        left = right;
        below = corner;
      }
    }
    return path;
  }

  return { grey, fill, heat, outline };
})();
