// Numbers of the page, unpacked when they are first needed; see packing.py for the format.

const MISSING = 65535;
const KEPT_BYTES = 192e6;
const unpacked = new Map();

async function inflate(name) {
  const element = document.querySelector(`script[data-pack="${CSS.escape(name)}"]`);
  const text = atob(element.textContent);
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Unpack once; what was not asked for in a while goes first when memory runs short.
function once(name, unpack) {
  const known = unpacked.get(name) || inflate(name).then(unpack);
  unpacked.delete(name);
  unpacked.set(name, known);
  known.then((values) => {
    known.bytes = values.byteLength;
    forget();
  });
  return known;
}

function forget() {
  let total = 0;
  for (const held of unpacked.values()) total += held.bytes || 0;
  for (const [name, held] of unpacked) {
    if (total <= KEPT_BYTES || unpacked.size === 1) return;
    total -= held.bytes || 0;
    unpacked.delete(name);
  }
}

// Integers of fields whose rows are `width` long.
function integersOf(name, width) {
  return once(name, (bytes) => {
    const count = bytes.length / 2;
    const integers = new Uint16Array(count);
    for (let start = 0; start < count; start += width) {
      let value = 0;
      for (let i = start; i < start + width; i++) {
        value = (value + (bytes[i] << 8) + bytes[count + i]) & 65535;
        integers[i] = value;
      }
    }
    return integers;
  });
}

function floatsOf(name) {
  return once(name, (bytes) => {
    const count = bytes.length / 4;
    const view = new DataView(new ArrayBuffer(bytes.length));
    const floats = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      for (let plane = 0; plane < 4; plane++) view.setUint8(4 * i + plane, bytes[plane * count + i]);
      floats[i] = view.getFloat32(4 * i);
    }
    return floats;
  });
}
