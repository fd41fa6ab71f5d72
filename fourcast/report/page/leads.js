// Scores against lead time, with intervals and baselines.

function charted() {
  const known = [...Object.keys(METRICS), "fair_brier", "brier"];
  return known.filter((name) => hasScore(name) && scores.variables[name].dims.includes("lead_time"));
}

function showLeads() {
  if (!scores || !charted().length) return absent("leads", scoresMissing());
  const state = { metric: charted()[0], of: null, region: along("region")[0] };
  const renew = (key) => (value) => {
    state[key] = value;
    drawLeads(state);
  };
  state.things = choice("Channel", [["", ""]], "", renew("of"));
  const metrics = choice("Metric", named(charted(), metricText), state.metric, renew("metric"));
  const regions = choice("Region", named(along("region")), state.region, renew("region"));
  const pickers = [metrics, state.things, ...(along("region").length > 1 ? [regions] : [])];
  state.place = make("div", { class: "card" });
  fill(
    "leads",
    make("div", { class: "controls" }, ...pickers.map((p) => p.element)),
    state.place,
    make("p", { class: "fine" }, uncertaintyText()),
    leftOut(scores.left_out),
  );
  drawLeads(state);
}

function uncertaintyText() {
  const told = scores.attributes.uncertainty || "";
  return scores.attributes.uncertainty_samples === 0 ? `No shading: ${told}.` : told && `Shaded: ${told}.`;
}

async function drawLeads(state) {
  const { metric, region } = state;
  const dim = scores.variables[metric].dims.includes("event") ? "event" : "channel";
  state.of = refill(state.things.select, named(along(dim), dim === "event" ? String : channelText), state.of);
  const isLatest = turnOf(state.place);
  const series = await leadLines(state, dim);
  if (!isLatest()) return;
  const units = dim === "event" ? "1" : unitsOf(metric, state.of);
  const where = region ? `, ${spoken(region)}` : "";
  const label = `${metricText(metric)} of ${state.of}${where}${units === "1" ? "" : `, in ${raised(units)}`}`;
  const place = make("div", {});
  state.place.replaceChildren(make("h3", {}, label), place);
  const axes = { xLabel: "lead time in hours", xTicks: hourTicks, xText: leadText };
  drawChart(place, { label, series, units, ...axes, fromZero: !["acc", "bias"].includes(metric), height: 380 });
}

// A line for every system that has such a score.
async function leadLines({ metric, of, region }, dim) {
  const [value, low, high] = await Promise.all([metric, `${metric}_low`, `${metric}_high`].map(scoreOrNothing));
  const places = { [dim]: along(dim).indexOf(of), region: Math.max(0, along("region").indexOf(region)) };
  const systems = along("system");
  const x = along("lead_time");
  const read = (score, system) => x.map((_, lead) => score.at({ ...places, system, lead_time: lead }));
  const lines = systems.map((name, s) => {
    const interval = intervalOf(read(low, s), read(high, s));
    return { name, x, y: read(value, s), ...styleOf(name, systems), ...interval };
  });
  return lines.filter((line) => line.y.some(Number.isFinite));
}

function intervalOf(low, high) {
  return low.some(Number.isFinite) ? { low, high } : {};
}
