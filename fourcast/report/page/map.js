// The map: what is chosen, its picture, and the value under the pointer.

const HINT =
  "Point at the map, or focus it and use the arrow keys, to read values. A click, or Enter, shows the forecast through time at a point.";
// Hours into the forecast at which the map opens, where it goes so far: at its start all members are alike.
const OPENS_AT = 24;

function showMap(map) {
  if (!map || !map.channels.length)
    return absent("map", "There is no forecast with members in this run: make one with fourcast forecast.");
  const state = {
    map,
    channel: map.channels[0],
    view: "mean",
    member: map.members[0],
    lead: Math.max(0, map.lead_hours.findIndex((hours) => hours >= OPENS_AT)),
    smooth: true,
    fitted: false,
    cursor: null,
    turn: 0,
  };
  state.tables = Object.fromEntries(Object.entries(map.colours).map(([name, text]) => [name, colourTable(text)]));
  buildControls(state);
  buildFrame(state);
  fill("map", state.controls, state.frame, state.bar, state.readout, state.point, mapNotes(map));
  listenToMap(state);
  choose(state, {});
}

function buildFrame(state) {
  state.field = make("canvas", { class: "field", "aria-hidden": "true" });
  state.over = make("canvas", {
    class: "over",
    tabindex: 0,
    role: "application",
    "aria-roledescription": "map",
    "aria-describedby": "map-value",
    "aria-label": "Map. Arrow keys move between grid points, Page Up and Page Down between lead times.",
  });
  const { west, east, north, south } = extentOf(state.map);
  state.frame = make(
    "div",
    { class: "map-frame", style: `aspect-ratio: ${((east - west) / (north - south)).toFixed(4)}` },
    state.field,
    state.over,
  );
  state.bar = make("div", { class: "bar" });
  state.value = make("output", { id: "map-value", class: "readout", "aria-live": "polite" });
  state.readout = make("div", {}, state.value);
  state.point = make("div", { class: "card point", hidden: true });
}

function mapNotes(map) {
  const rounding = make("span", { id: "map-rounding" });
  const lines = `Thin straight lines are ${degreesApart(map)}° apart.`;
  return make("p", { class: "fine" }, rounding, ` ${[lines, ...map.left_out].join(" ")}`);
}

// Take what was chosen, bring the controls in line with it, and draw.
function choose(state, changes) {
  Object.assign(state, changes);
  state.turn += 1;
  state.frame.dataset.turn = state.turn;
  alignChannel(state);
  alignView(state);
  alignLead(state);
  if ("channel" in changes && state.cursor && !state.point.hidden)
    drawPoint(state.point, state.map, state.channel, state.cursor);
  renderMap(state);
}

async function renderMap(state) {
  const { turn, map, channel, view, member, lead } = state;
  const shown = await fieldOf(map, channel, view, member, lead);
  if (turn !== state.turn) return; // something else was chosen meanwhile
  state.shown = shown;
  state.label = labelOf(state);
  repaint(state);
  tellRounding(state);
  tellValue(state);
  state.drawn = turn;
  state.frame.dataset.drawn = turn;
}

// What the colour bar says: {table, range, label, below, above}.
function labelOf({ channel, kind, shown, fitted, tables, views }) {
  const colours = channel.colours[kind];
  const [low, high] = spanOf(shown.values);
  const range = (fitted ? fittedRange([low, high], kind, colours) : colours.range) || [0, 1];
  const level = channel.level === null ? "" : ` at ${channel.level} hPa`;
  const units = kind === "probability" ? "probability" : raised(channel.units);
  const label = `${spoken(channel.long_name)}${level}, ${views.select.selectedOptions[0].text.toLowerCase()} (${units})`;
  return { table: tables[colours.table], range, label, below: low < range[0], above: high > range[1] };
}

function tellRounding({ shown, kind, channel }) {
  const units = kind === "probability" ? "" : ` ${raised(channel.units)}`;
  document.getElementById("map-rounding").textContent =
    `Values here are rounded by at most ${number(shown.rounding, 2)}${units}.`;
}

function spanOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

function fittedRange([low, high], kind, { table }) {
  if (!(high >= low)) return null;
  if (kind === "probability") return [0, 1];
  const least = kind === "spread" ? 0 : low;
  const most = Math.max(-least, high) || 1;
  if (["RdBu_r", "PuOr_r"].includes(table)) return [-most, most];
  return high > least ? [least, high] : [least - 1, least + 1];
}

function paintMap(state) {
  const { map, field, over, frame } = state;
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const width = Math.max(1, Math.round(frame.clientWidth * ratio));
  const height = Math.max(1, Math.round(frame.clientHeight * ratio));
  if (field.width !== width || field.height !== height || !state.across) resizeMap(state, width, height);
  const { table, range } = state.label;
  paint(state.image.data, state.shown.values, state.across, state.down, { table, range, smooth: state.smooth });
  field.getContext("2d").putImageData(state.image, 0, 0);
  drawOver(over, map, state.cursor, ratio);
}

function resizeMap(state, width, height) {
  const { map, field, over } = state;
  const { west, east } = extentOf(map);
  for (const canvas of [field, over]) [canvas.width, canvas.height] = [width, height];
  state.across = {
    ...samplingOf(map.longitude_edges, map.longitude, width, east - west > 359.9),
    columns: map.longitude.length,
  };
  state.down = samplingOf(map.latitude_edges, map.latitude, height, false);
  state.image = new ImageData(width, height);
}

function repaint(state) {
  if (!state.label) return;
  paintMap(state);
  drawBar(state.bar, state.label);
}

function tellValue(state) {
  const { map, cursor, channel } = state;
  if (!cursor) {
    state.value.textContent = HINT;
    return;
  }
  const value = state.shown.values[cursor.row * map.longitude.length + cursor.column];
  const text = state.kind === "probability" ? number(value, 3) : withUnits(value, channel.units);
  const where = `${latitudeText(map.latitude[cursor.row])}, ${longitudeText(map.longitude[cursor.column])}`;
  state.value.replaceChildren(
    make("span", { class: "where" }, where),
    make("b", { "data-value": String(value) }, Number.isNaN(value) ? "no value" : text),
  );
}
