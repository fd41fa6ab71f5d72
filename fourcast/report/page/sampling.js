// From the packed fields of a channel to one field, and from a field to pixels.

// Views: what is shown, which kind of colours it takes, and whether it exists for a channel.
function viewsOf(channel, events) {
  const held = channel.views;
  const views = [];
  if (held.mean) views.push({ key: "mean", text: "Ensemble mean", kind: "value" });
  if (held.spread) views.push({ key: "spread", text: "Ensemble spread", kind: "spread" });
  if (Object.keys(held).some((name) => name.startsWith("member ")))
    views.push({ key: "member", text: "One member", kind: "value" });
  for (const event of events)
    if (held[event])
      views.push({ key: event, text: `Probability of ${event} ${raised(channel.units)}`, kind: "probability" });
  if (!held.analysis) return views;
  views.push({ key: "analysis", text: "Analysis (what happened)", kind: "value" });
  if (held.mean) views.push({ key: "error", text: "Error of the mean", kind: "error" });
  if (views.some((view) => view.key === "member"))
    views.push({ key: "member error", text: "Error of the member", kind: "error" });
  return views;
}

// Which packed fields a view takes: [field] or [field, the one subtracted from it].
function partsOf(view, member) {
  const parts = {
    member: [`member ${member}`],
    error: ["mean", "analysis"],
    "member error": [`member ${member}`, "analysis"],
  };
  return parts[view] || [view];
}

// {values, rounding}: a field in its units, NaN where there is none.
async function fieldOf(map, channel, view, member, lead) {
  const parts = partsOf(view, member).map((name) => channel.views[name]);
  const packs = await Promise.all(parts.map((part) => integersOf(part.pack, map.longitude.length)));
  const size = map.longitude.length * map.latitude.length;
  const values = new Float64Array(size).fill(0);
  parts.forEach((part, turn) => {
    const [integers, scale, offset] = [packs[turn], part.scale[lead], part.offset[lead]];
    for (let i = 0; i < size; i++) {
      const integer = integers[lead * size + i];
      const value = scale === null || integer === MISSING ? NaN : offset + scale * integer;
      values[i] += turn ? -value : value;
    }
  });
  return { values, rounding: parts.reduce((sum, part) => sum + part.rounding, 0) };
}

// For each of `count` pixels between the outer edges: the cell it lies in, and between which centres, for smoothing.
function samplingOf(edges, centres, count, closed) {
  const last = centres.length - 1;
  const cell = new Int32Array(count);
  const [before, after, weight] = [new Int32Array(count), new Int32Array(count), new Float64Array(count)];
  const turn = edges[edges.length - 1] > edges[0] ? 1 : -1;
  for (let i = 0, c = 0; i < count; i++) {
    const place = edges[0] + ((i + 0.5) / count) * (edges[edges.length - 1] - edges[0]);
    while (c < last && turn * (place - edges[c + 1]) >= 0) c++;
    cell[i] = c;
    let left = turn * (place - centres[c]) >= 0 ? c : c - 1;
    let right = left + 1;
    if (left < 0) left = closed ? last : 0;
    if (right > last) right = closed ? 0 : last;
    const span = ((centres[right] - centres[left]) * turn + (closed ? 360 : 0)) % 360;
    const step = ((place - centres[left]) * turn + (closed ? 360 : 0)) % 360;
    [before[i], after[i], weight[i]] = [left, right, span ? step / span : 0];
  }
  return { cell, before, after, weight };
}

// Fill RGBA bytes from a field [H, W].
function paint(bytes, values, across, down, { table, range, smooth }) {
  const width = across.cell.length;
  const columns = across.columns;
  const [low, high] = range;
  for (let y = 0; y < down.cell.length; y++) {
    for (let x = 0; x < width; x++) {
      const value = smooth
        ? blended(values, across, down, x, y, columns)
        : values[down.cell[y] * columns + across.cell[x]];
      const p = 4 * (y * width + x);
      if (Number.isNaN(value)) {
        bytes[p + 3] = 0;
        continue;
      }
      const c = 3 * colourPlace(value, low, high);
      [bytes[p], bytes[p + 1], bytes[p + 2], bytes[p + 3]] = [table[c], table[c + 1], table[c + 2], 255];
    }
  }
}

// Bilinear; where one of the four points has no number, the cell's own value.
function blended(values, across, down, x, y, columns) {
  const [north, south] = [down.before[y] * columns, down.after[y] * columns];
  const [west, east] = [across.before[x], across.after[x]];
  const w = across.weight[x];
  const upper = values[north + west] * (1 - w) + values[north + east] * w;
  const lower = values[south + west] * (1 - w) + values[south + east] * w;
  const value = upper * (1 - down.weight[y]) + lower * down.weight[y];
  return Number.isNaN(value) ? values[down.cell[y] * columns + across.cell[x]] : value;
}
