// The table of channels × lead times: better or worse than a reference.

const FULL_COLOUR = { percent: 50, points: 0.25 };

function comparable() {
  return ["rmse", "crps", "mae", "acc", "energy_score"].filter((name) => hasScore(name));
}

function references() {
  const fallback = along("system").filter((name) => ["persistence", "climatology"].includes(name));
  return along("reference").length ? along("reference") : fallback;
}

function showScorecard() {
  if (!scores || !comparable().length || !references().length) return absent("scorecard", scoresMissing());
  const state = { metric: comparable()[0], region: along("region")[0], reference: references()[0], system: null };
  const renew = (key) => (value) => {
    state[key] = value;
    drawScorecard(state);
  };
  const pick = (label, options, key) => choice(label, options, state[key], renew(key));
  state.systems = pick("Forecast", [["", ""]], "system");
  state.place = make("div", { class: "scroll" });
  state.readout = make("output", { class: "readout", "aria-live": "polite" });
  const metrics = pick("Metric", named(comparable(), metricText), "metric");
  const compared = pick("Compared with", named(references()), "reference");
  const regions = along("region").length > 1 ? [pick("Region", named(along("region")), "region")] : [];
  const pickers = [metrics, state.systems, compared, ...regions];
  fill(
    "scorecard",
    make("div", { class: "controls" }, ...pickers.map((p) => p.element)),
    state.place,
    state.readout,
    scorecardLegend(),
    leftOut(scores.left_out),
  );
  drawScorecard(state);
}

function scoresMissing() {
  return "There are no scores in this run: make them with fourcast verify.";
}

function leftOut(sentences) {
  return sentences.length ? make("p", { class: "fine" }, sentences.join(" ")) : null;
}

function scorecardLegend() {
  const steps = [-1, -0.5, -0.2, 0, 0.2, 0.5, 1];
  const cells = steps.map((share) => make("i", { style: `background:${shade(share)}` }));
  return make(
    "p",
    { class: "fine scale" },
    "much worse ",
    make("span", { class: "steps", "aria-hidden": "true" }, ...cells),
    " much better. ",
    "Numbers say by how many per cent of the reference's score it is better (+) or worse (−); of correlations, by how much. ",
    hasScore("rmse_difference_low")
      ? "• the interval of the difference excludes zero: unlikely to be chance."
      : "These scores have no intervals.",
  );
}

async function readScorecard(state) {
  const { metric } = state;
  const names = [metric, `${metric}_difference`, `${metric}_difference_low`, `${metric}_difference_high`];
  const [value, difference, low, high] = await Promise.all(names.map(scoreOrNothing));
  return { value, difference, low, high };
}

async function drawScorecard(state) {
  const isLatest = turnOf(state.place);
  const read = await readScorecard(state);
  if (!isLatest()) return;
  const systems = along("system").filter((name) => isForecast(name) && anyValue(read.value, name));
  const options = systems.length ? systems : along("system");
  state.system = refill(
    state.systems.select,
    options.map((name) => [name, spoken(name)]),
    options.includes(state.system) ? state.system : preferred(options),
  );
  const leads = along("lead_time")
    .map((hours, lead) => [hours, lead])
    .filter(([hours]) => hours > 0);
  const cell =
    (channel) =>
    ([hours, lead]) =>
      scorecardCell(state, read, { channel, hours, lead });
  const rows = along("channel").map((name, c) =>
    make("tr", {}, make("th", { scope: "row" }, name), ...leads.map(cell(c))),
  );
  const head = make("tr", {}, make("td", {}), ...leads.map(([hours]) => make("th", { scope: "col" }, leadText(hours))));
  const caption = make(
    "caption",
    {},
    `${metricText(state.metric)} of the ${spoken(state.system)} beside ${spoken(state.reference)}${state.region ? `, ${spoken(state.region)}` : ""}`,
  );
  const table = make("table", { class: "scorecard" }, caption, make("thead", {}, head), make("tbody", {}, ...rows));
  roam(table);
  state.place.replaceChildren(table);
  state.readout.textContent = "Point at a cell, or move between cells with the arrow keys.";
}

function isForecast(system) {
  return !["persistence", "climatology", "climatology_ensemble"].includes(system);
}

function preferred(systems) {
  return systems.find((name) => /(^|\/)ensemble(_mean)?$/.test(name)) || systems[0];
}

function anyValue(score, system) {
  const places = { system: along("system").indexOf(system) };
  const regions = along("region").length ? along("region") : [""];
  return regions.some((_, region) =>
    along("channel").some((__, channel) =>
      along("lead_time").some((___, lead) =>
        Number.isFinite(score.at({ ...places, region, channel, lead_time: lead })),
      ),
    ),
  );
}

// Numbers of one cell: both values, their difference, its interval, and how it is shown.
function compareAt(state, read, { channel, lead }) {
  const places = { channel, lead_time: lead, region: Math.max(0, along("region").indexOf(state.region)) };
  const at = (score, system) =>
    score.at({
      ...places,
      system: along("system").indexOf(system),
      reference: along("reference").indexOf(state.reference),
    });
  const own = at(read.value, state.system);
  const other = at(read.value, state.reference);
  const stored = at(read.difference, state.system);
  const difference = Number.isFinite(stored) ? stored : own - other;
  const points = state.metric === "acc";
  const upwards = betterIs(state.metric) === "high" ? difference : -difference;
  const better = points ? upwards : (100 * upwards) / Math.abs(other);
  const [low, high] = [at(read.low, state.system), at(read.high, state.system)];
  const share = better / (points ? FULL_COLOUR.points : FULL_COLOUR.percent);
  return { own, other, difference, better, low, high, share, points, sure: low > 0 || high < 0 };
}

function scorecardCell(state, read, where) {
  const found = compareAt(state, read, where);
  if (!Number.isFinite(found.better)) return make("td", { class: "none" }, "–");
  const text = signed(found.points ? number(found.better, 2) : `${Math.round(found.better)}`.replace("-", "−"));
  const words = cellWords(state, found, where);
  const cell = make(
    "td",
    { tabindex: -1, style: `background:${shade(found.share)}`, "aria-label": words },
    text,
    found.sure ? make("b", { class: "sure" }, "•") : null,
  );
  const tell = () => {
    state.readout.textContent = words;
  };
  cell.addEventListener("pointerenter", tell);
  cell.addEventListener("focus", tell);
  return cell;
}

function signed(text) {
  return text === "0" || text.startsWith("−") ? text : `+${text}`;
}

function cellWords(state, found, { channel, hours }) {
  const name = along("channel")[channel];
  const units = unitsOf(state.metric, name);
  const much = found.points ? number(Math.abs(found.better), 2) : `${number(Math.abs(found.better), 3)} %`;
  const interval = Number.isFinite(found.low)
    ? ` The difference lies between ${number(found.low)} and ${withUnits(found.high, units)}.`
    : "";
  const verdict = found.better === 0 ? "the same" : `${much} ${found.better > 0 ? "better" : "worse"}`;
  return `${name} at ${leadText(hours)}: ${withUnits(found.own, units)} beside ${withUnits(found.other, units)}, ${verdict}.${interval}`;
}

// Arrow keys move between cells.
function roam(table) {
  const cells = [...table.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll("td")]);
  const first = table.querySelector("tbody td[tabindex]");
  if (first) first.tabIndex = 0;
  table.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    const row = cells.findIndex((line) => line.includes(document.activeElement));
    if (row < 0 || !(event.key in moves)) return;
    event.preventDefault();
    const [down, right] = moves[event.key];
    const column = cells[row].indexOf(document.activeElement) + right;
    const next = cells[row + down] && cells[row + down][column];
    if (next && next.hasAttribute("tabindex")) next.focus();
  });
}
