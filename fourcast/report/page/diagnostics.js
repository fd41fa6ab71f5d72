// Rank histograms, reliability diagrams and spectra.

function showDiagnostics() {
  const cards = [
    hasScore("rank_histogram") ? rankCard() : null,
    hasScore("reliability_observed") ? reliabilityCard() : null,
    hasScore("spectrum_mean") ? spectrumCard() : null,
  ].filter(Boolean);
  if (!cards.length)
    return absent(
      "diagnostics",
      scores ? "These scores hold no rank histograms, reliability or spectra." : scoresMissing(),
    );
  fill("diagnostics", make("div", { class: "trio" }, ...cards));
}

// A card with a choice for each dimension that leaves one, and a picture that is drawn anew on each choice.
function card(title, text, dims, start, redraw) {
  const places = {};
  const place = make("div", {});
  const pickers = dims.map((dim) => {
    const names = along(dim).map((name, i) => [String(i), dim === "lead_time" ? leadText(name) : spoken(String(name))]);
    const first = Math.min(names.length - 1, start[dim] || 0);
    places[dim] = Math.max(0, first);
    return names.length < 2
      ? null
      : choice(spoken(dim), names, String(first), (i) => {
          places[dim] = Number(i);
          redraw(place, places);
        }).element;
  });
  redraw(place, places);
  return make(
    "article",
    { class: "card" },
    make("h3", {}, title),
    make("p", { class: "fine" }, text),
    make("div", { class: "controls small" }, ...pickers),
    place,
  );
}

function middleLead() {
  const place = along("lead_time").findIndex((hours) => hours >= 72);
  return Math.max(0, place);
}

function rankCard() {
  const text =
    "How often the analysis falls between the members in order. Flat: reliable. A bowl: the ensemble spreads too little.";
  const dims = ["ensemble", "channel", "lead_time", "region"];
  return card("Rank histogram", text, dims, { lead_time: middleLead() }, async (place, places) => {
    const score = await scoreOf("rank_histogram");
    const shares = along("rank")
      .map((rank) => score.at({ ...places, rank }))
      .filter(Number.isFinite);
    drawBars(
      place,
      shares,
      `Rank histogram of ${along("channel")[places.channel]} at ${leadText(along("lead_time")[places.lead_time])}`,
    );
  });
}

function reliabilityCard() {
  const text =
    "Of all cases with a forecast probability of p, the event should happen in p: on the grey line. " +
    "The dashed line shows how often each probability was forecast.";
  const dims = ["event", "ensemble", "lead_time", "region"];
  return card("Reliability", text, dims, { lead_time: middleLead() }, async (place, places) => {
    const label = `Reliability of ${along("event")[places.event]}`;
    const xText = (p) => `forecast ${number(p, 2)}`;
    const series = await reliabilityLines(places);
    drawChart(place, { label, xLabel: "forecast probability", series, yRange: [0, 1], height: 300, xText });
  });
}

async function reliabilityLines(places) {
  const names = ["forecast", "observed", "share"].map((name) => `reliability_${name}`);
  const [forecast, observed, share] = await Promise.all(names.map(scoreOf));
  const all = along("bin").map((_, bin) => ({ ...places, bin }));
  const bins = all.filter((at) => Number.isFinite(forecast.at(at)));
  const x = bins.map(forecast.at);
  return [
    { name: "perfect", x: [0, 1], y: [0, 1], colour: "var(--grey)", dash: "", faint: true },
    { name: "observed frequency", x, y: bins.map(observed.at), colour: "var(--blue)", dash: "" },
    { name: "share of cases", x, y: bins.map(share.at), colour: "var(--vermilion)", dash: "6 3" },
  ];
}

function spectrumCard() {
  const text = "Energy by zonal wavenumber. On the right, below the analysis: too smooth; above it: too rough.";
  const dims = ["channel", "lead_time", "band"];
  return card("Spectra", text, dims, { lead_time: middleLead() }, async (place, places) => {
    const label = `Zonal spectrum of ${along("channel")[places.channel]}`;
    const scale = { xLog: true, yLog: true, decades: 7, height: 300 };
    const xText = (k) => `wavenumber ${k}`;
    drawChart(place, { label, xLabel: "zonal wavenumber", series: await spectrumLines(places), xText, ...scale });
  });
}

// Without wavenumber 0, which a logarithm cannot show.
async function spectrumLines(places) {
  const score = await scoreOf("spectrum_mean");
  const names = along("spectrum");
  const waves = along("wavenumber")
    .map((_, wavenumber) => wavenumber)
    .filter((place) => along("wavenumber")[place] > 0);
  const x = waves.map((place) => along("wavenumber")[place]);
  const read = (spectrum) => waves.map((wavenumber) => positive(score.at({ ...places, spectrum, wavenumber })));
  const lines = names.map((name, spectrum) => ({ name, x, y: read(spectrum), ...styleOf(name, names) }));
  return lines.filter((line) => line.y.some(Number.isFinite));
}

function positive(value) {
  return value > 0 ? value : NaN;
}
