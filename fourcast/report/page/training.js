// Training curves.

const CURVES = {
  loss: ["training loss", "blue", ""],
  validation_loss: ["validation loss", "vermilion", ""],
  persistence_loss: ["persistence", "grey", "2 3"],
};

function showTraining(curves) {
  if (!curves || !Object.keys(curves).length) return absent("training", "There is no training log in this run.");
  const charts = [lossChart(curves)];
  if (curves.learning_rate) charts.push(plainChart("Learning rate", curves.learning_rate, "purple"));
  const panels = charts.map((chart) =>
    make("article", { class: "card" }, make("h3", {}, chart.label), make("div", {})),
  );
  const scored = scoredCurves(curves);
  if (scored) panels.push(scored);
  fill("training", make("div", { class: "pair" }, ...panels));
  charts.forEach((chart, i) => drawChart(panels[i].lastChild, chart));
}

function lossChart(curves) {
  const held = Object.keys(CURVES).filter((name) => curves[name]);
  const series = held.map((name) => ({
    ...curves[name],
    name: CURVES[name][0],
    colour: `var(--${CURVES[name][1]})`,
    dash: CURVES[name][2],
  }));
  return { label: "Loss", xLabel: "step", series, yLog: true, xText: (step) => `step ${step}`, height: 280 };
}

function plainChart(label, curve, colour) {
  const series = [{ ...curve, name: label.toLowerCase(), colour: `var(--${colour})`, dash: "" }];
  return { label, xLabel: "step", series, fromZero: true, xText: (step) => `step ${step}`, height: 280 };
}

// Scores of held-out forecasts by channel, as in rmse/t850/24h.
function scoredCurves(curves) {
  const names = Object.keys(curves).filter((name) => name.split("/").length === 3);
  if (!names.length) return null;
  const place = make("div", {});
  const show = (name) => drawChart(place, plainChart(scoreLabel(name), curves[name], "blue"));
  const picker = choice(
    "Score of held-out forecasts",
    names.map((name) => [name, scoreLabel(name)]),
    names[0],
    show,
  );
  show(names[0]);
  return make("article", { class: "card" }, picker.element, place);
}

function scoreLabel(name) {
  const [score, channel, lead] = name.split("/");
  return `${score.toUpperCase()} of ${channel} at ${lead}`;
}
