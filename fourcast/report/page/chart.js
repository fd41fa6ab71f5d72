// A chart of lines: shaded intervals, a legend that hides lines, values by pointer and keyboard, and as a table.
//
// chart: {label, xLabel, yLabel, units, series: [{name, x, y, low, high, colour, dash, faint}], xTicks, xLog, yLog,
// decades (at most so many powers of ten), fromZero, yRange, xText, height}. Lines need not have the same x. Faint ones have no entry in legend and table.

const MARGIN = { left: 62, right: 14, top: 12, bottom: 40 };

function drawChart(place, chart) {
  const state = { chart, hidden: new Set(), at: null };
  state.frame = make("div", { class: "chart-frame" });
  state.readout = make(
    "output",
    { class: "readout", "aria-live": "polite" },
    chart.hint || "Point at the chart, or focus it and use the arrow keys.",
  );
  state.legend = make("div", { class: "legend", role: "group", "aria-label": "Lines shown" });
  place.replaceChildren(state.legend, state.frame, state.readout, tableOf(chart));
  drawLegend(state);
  state.width = 0;
  const resized = new ResizeObserver(() => {
    if (state.frame.clientWidth !== state.width) redrawChart(state);
  });
  resized.observe(state.frame);
}

function drawLegend(state) {
  for (const line of state.chart.series.filter((s) => !s.faint)) {
    const sample = draw(
      "svg",
      { width: 26, height: 10, "aria-hidden": "true" },
      draw("line", {
        x1: 1,
        x2: 25,
        y1: 5,
        y2: 5,
        "stroke-width": 2.5,
        "stroke-dasharray": line.dash,
        style: `stroke:${line.colour}`,
      }),
    );
    const button = make("button", { type: "button", class: "key", "aria-pressed": "true" }, sample, spoken(line.name));
    button.addEventListener("click", () => toggle(state, line.name, button));
    state.legend.append(button);
  }
}

function toggle(state, name, button) {
  if (!state.hidden.delete(name)) state.hidden.add(name);
  button.setAttribute("aria-pressed", String(!state.hidden.has(name)));
  redrawChart(state);
}

function redrawChart(state) {
  const { chart, frame } = state;
  state.width = frame.clientWidth;
  if (!state.width) return;
  const lines = chart.series.filter((line) => !state.hidden.has(line.name));
  state.scale = scalesOf(chart, lines, state.width, chart.height);
  state.lines = lines.filter((line) => !line.faint);
  state.xs = pointsOf(state.lines, state.scale);
  state.mark = draw("g", { class: "mark" });
  const picture = pictureOf(state, lines);
  listen(picture, state);
  const focused = frame.contains(document.activeElement);
  frame.replaceChildren(picture);
  if (focused) picture.focus();
}

// Everywhere along x where a line has a value.
function pointsOf(lines, scale) {
  const held = lines.flatMap((line) => line.x.filter((x, i) => isPoint(line.y[i]) && inside(scale, x)));
  return [...new Set(held)].sort((a, b) => a - b);
}

function pictureOf({ chart, width, scale, mark }, lines) {
  const { height } = chart;
  const words = { "aria-roledescription": "chart", "aria-label": `${chart.label}. Arrow keys read values.` };
  const box = { viewBox: `0 0 ${width} ${height}`, width, height, tabindex: 0, role: "application", ...words };
  const areas = lines.filter((line) => line.low).map((line) => areaOf(line, scale));
  const drawn = lines.map((line) => lineOf(line, scale));
  return draw("svg", box, axesOf(chart, scale, width), ...areas, ...drawn, mark);
}

function isPoint(value) {
  return value !== null && value !== undefined && Number.isFinite(value);
}

function inside(scale, x) {
  return x >= scale.x0 && x <= scale.x1;
}

function scalesOf(chart, lines, width, height) {
  const xs = lines.flatMap((line) => line.x).filter((x) => isPoint(x) && (!chart.xLog || x > 0));
  const [x0, x1] = rangeOf(xs, chart.xLog);
  const [y0, y1] = chart.yRange || levelsRange(chart, lines);
  const across = width - MARGIN.left - MARGIN.right;
  const up = height - MARGIN.top - MARGIN.bottom;
  const x = (value) => MARGIN.left + across * share(value, x0, x1, chart.xLog);
  const y = (value) => MARGIN.top + up * (1 - share(chart.yLog ? Math.max(value, y0) : value, y0, y1, chart.yLog));
  return { x0, x1, y0, y1, x, y };
}

function share(value, low, high, log) {
  return log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
}

// From the lowest to the highest value with their intervals, as the chart asks.
function levelsRange(chart, lines) {
  const all = lines.flatMap((line) => [...line.y, ...(line.low || []), ...(line.high || [])]);
  const values = all.filter((y) => isPoint(y) && (!chart.yLog || y > 0));
  const [low, high] = rangeOf(values, chart.yLog, 0.04);
  if (chart.decades) return [Math.max(low, high / 10 ** chart.decades), high];
  if (chart.fromZero) return [values.some((y) => y < 0) ? Math.min(0, low) : 0, Math.max(0, high)];
  return [low, high];
}

function rangeOf(values, log, pad = 0) {
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!values.length) return log ? [1, 10] : [0, 1];
  if (low === high)
    return log ? [low / 2, high * 2] : [low - (Math.abs(low) * 0.05 || 1), high + (Math.abs(high) * 0.05 || 1)];
  return log ? [low / 1.2, high * 1.2] : [low - (high - low) * pad, high + (high - low) * 0.04];
}

function axesOf(chart, scale, width) {
  const name = {
    x: (MARGIN.left + width - MARGIN.right) / 2,
    y: chart.height - 4,
    "text-anchor": "middle",
    class: "name",
  };
  const lines = [...levelLines(chart, scale, width), ...placeLines(chart, scale, width)];
  return draw("g", { class: "axes", "aria-hidden": "true" }, ...lines, draw("text", name, chart.xLabel));
}

function levelLines(chart, scale, width) {
  const { values, step } = chart.yLog ? powersOfTen(scale.y0, scale.y1) : ticks(scale.y0, scale.y1, 5);
  return values.flatMap((value) => {
    const y = scale.y(value);
    const text = chart.yLog ? powerText(value) : tickText(value, step);
    const line = draw("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y });
    return [line, draw("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, text)];
  });
}

function placeLines(chart, scale, width) {
  const bottom = chart.height - MARGIN.bottom;
  const count = Math.max(3, Math.floor(width / 90));
  const axis = chart.xLog ? powersOfTen(scale.x0, scale.x1) : (chart.xTicks || ticks)(scale.x0, scale.x1, count);
  return axis.values.flatMap((value) => {
    const x = scale.x(value);
    const text = chart.xLog ? powerText(value) : tickText(value, axis.step);
    const line = draw("line", { x1: x, x2: x, y1: bottom, y2: bottom + 4 });
    return [line, draw("text", { x, y: bottom + 18, "text-anchor": "middle" }, text)];
  });
}

function powerText(value) {
  if (value >= 0.001 && value <= 9999) return String(Number(value.toPrecision(1)));
  const power = Math.floor(Math.log10(value) + 1e-9);
  const times = Math.round(value / 10 ** power);
  return `${times === 1 ? "" : `${times}·`}10${raised(`m${power}`).slice(1)}`;
}

// Broken where there is no value, or one below the axis.
function lineOf(line, scale) {
  const shown = line.x.map((x, i) => isPoint(line.y[i]) && line.y[i] >= scale.y0 && inside(scale, x));
  const point = (x, i) => `${shown[i - 1] ? "L" : "M"}${scale.x(x).toFixed(1)},${scale.y(line.y[i]).toFixed(1)}`;
  const path = line.x.map((x, i) => (shown[i] ? point(x, i) : "")).join("");
  const look = { class: line.faint ? "line faint" : "line", style: `stroke:${line.colour}` };
  return draw("path", { d: path, "stroke-dasharray": line.dash || null, ...look });
}

function areaOf(line, scale) {
  const places = line.x.map((_, i) => i).filter((i) => isPoint(line.low[i]) && isPoint(line.high[i]));
  const edge = (values) => (i) => `${scale.x(line.x[i]).toFixed(1)},${scale.y(values[i]).toFixed(1)}`;
  const points = [...places.map(edge(line.high)), ...places.reverse().map(edge(line.low))];
  return draw("polygon", { points: points.join(" "), class: "interval", style: `fill:${line.colour}` });
}

function listen(picture, state) {
  picture.addEventListener("pointermove", (event) => {
    const x = event.clientX - picture.getBoundingClientRect().left;
    show(
      state,
      nearest(state.xs, (value) => Math.abs(state.scale.x(value) - x)),
    );
  });
  picture.addEventListener("keydown", (event) => {
    const last = state.xs.length - 1;
    const held = state.at === null ? -1 : state.at;
    const moves = { ArrowRight: held + 1, ArrowLeft: held - 1, Home: 0, End: last };
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(state, Math.min(last, Math.max(0, moves[event.key])));
  });
}

function nearest(values, distance) {
  let best = 0;
  values.forEach((value, i) => {
    if (distance(value) < distance(values[best])) best = i;
  });
  return best;
}

function show(state, at) {
  if (!state.xs.length) return;
  state.at = at;
  const { chart, scale } = state;
  const x = state.xs[at];
  const found = state.lines
    .map((line) => [line, line.x.indexOf(x)])
    .filter(([line, i]) => i >= 0 && isPoint(line.y[i]));
  const rule = draw("line", { x1: scale.x(x), x2: scale.x(x), y1: MARGIN.top, y2: scale.y(scale.y0) });
  state.mark.replaceChildren(
    rule,
    ...found.map(([line, i]) =>
      draw("circle", { cx: scale.x(x), cy: scale.y(line.y[i]), r: 4, style: `fill:${line.colour}` }),
    ),
  );
  const values = found.map(([line, i]) =>
    make(
      "span",
      { class: "value" },
      make("i", { style: `background:${line.colour}` }),
      `${spoken(line.name)} `,
      make("b", {}, withUnits(line.y[i], chart.units || "1")),
      rangeText(line, i),
    ),
  );
  state.readout.replaceChildren(make("span", { class: "where" }, (chart.xText || number)(x)), ...values);
}

function rangeText(line, i) {
  return line.low && isPoint(line.low[i]) ? ` (${number(line.low[i])} to ${number(line.high[i])})` : null;
}

// The same numbers for who cannot see the chart.
function tableOf(chart) {
  const details = make("details", { class: "table" }, make("summary", {}, "The numbers as a table"));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1)
      details.append(make("div", { class: "scroll", tabindex: 0 }, fullTable(chart)));
  });
  return details;
}

function fullTable(chart) {
  const lines = chart.series.filter((line) => !line.faint);
  const xs = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const head = make(
    "tr",
    {},
    make("th", { scope: "col" }, chart.xLabel),
    ...lines.map((l) => make("th", { scope: "col" }, spoken(l.name))),
  );
  const rows = xs.map((x) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, (chart.xText || number)(x)),
      ...lines.map((line) => {
        const i = line.x.indexOf(x);
        return make("td", {}, i < 0 ? "" : number(line.y[i]), i < 0 ? null : rangeText(line, i));
      }),
    ),
  );
  return make("table", {}, make("caption", {}, chart.label), make("thead", {}, head), make("tbody", {}, ...rows));
}
