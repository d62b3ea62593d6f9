// Slices in memory: each is asked for once, the neighbours before they are needed.
"use strict";

brainjax.Slices = class {
  static BYTES = 96 * 2 ** 20;

  // Of the same scan with more to see, the contrasts stay.
  constructor(view, before) {
    this.view = view;
    this.kept = new Map(); // key -> promise of a typed array, the longest unused first
    this.bytes = 0;
    this.wide = new Set(view.volumes.map((volume) => volume.name));
    for (const [key, found] of before ? before.kept : []) {
      if (!found.values || !this.wide.has(key.split("/")[0])) continue;
      this.kept.set(key, found);
      this.bytes += found.values.byteLength;
    }
  }

  // [H W] numbers of a slice, row by row: Uint16Array of a contrast, else Uint8Array.
  get(name, plane, index) {
    const key = `${name}/${plane}/${index}`;
    let found = this.kept.get(key);
    if (found) {
      this.kept.delete(key);
    } else {
      found = brainjax.server.slice(this.view.token, name, plane, index).then((buffer) => {
        const values = this.wide.has(name) ? new Uint16Array(buffer) : new Uint8Array(buffer);
        this.bytes += buffer.byteLength;
        found.values = values;
        this.shrink();
        return values;
      });
      found.catch(() => this.kept.delete(key));
    }
    this.kept.set(key, found);
    return found;
  }

  // What is there already, or undefined.
  peek(name, plane, index) {
    const found = this.kept.get(`${name}/${plane}/${index}`);
    return found && found.values;
  }

  shrink() {
    for (const [key, found] of this.kept) {
      if (this.bytes <= brainjax.Slices.BYTES) return;
      if (!found.values) continue;
      this.bytes -= found.values.byteLength;
      this.kept.delete(key);
    }
  }
};
