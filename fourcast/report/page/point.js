// The forecast through time at one point: all members, their mean, and what happened.

const MOST_MEMBERS = 50;

async function pointSeries(map, channel, row, column) {
  const place = row * map.longitude.length + column;
  const size = map.longitude.length * map.latitude.length;
  const held = Object.keys(channel.views);
  const members = held.filter((name) => name.startsWith("member ")).slice(0, MOST_MEMBERS);
  const names = [...members, ...held.filter((name) => ["mean", "analysis"].includes(name))];
  const packs = await Promise.all(names.map((name) => integersOf(channel.views[name].pack, map.longitude.length)));
  const valueAt = (view, integers) => (_, lead) => {
    const integer = integers[lead * size + place];
    return integer === MISSING || view.scale[lead] === null ? NaN : view.offset[lead] + view.scale[lead] * integer;
  };
  return names.map((name, i) => ({
    name,
    x: map.lead_hours,
    y: map.lead_hours.map(valueAt(channel.views[name], packs[i])),
  }));
}

function pointLine(line) {
  if (line.name === "mean") return { ...line, name: "ensemble mean", colour: "var(--blue)", dash: "" };
  if (line.name === "analysis") return { ...line, colour: "var(--ink)", dash: "6 3" };
  return { ...line, colour: "var(--blue)", dash: "", faint: true };
}

async function drawPoint(place, map, channel, { row, column }) {
  const isLatest = turnOf(place);
  const found = await pointSeries(map, channel, row, column);
  if (!isLatest()) return;
  const alone = found.filter((line) => line.name.startsWith("member ")).length === 1;
  const series = found.map((line) => ({
    ...pointLine(line),
    ...(alone && line.name.startsWith("member ") ? { faint: false } : {}),
  }));
  const where = `${latitudeText(map.latitude[row])}, ${longitudeText(map.longitude[column])}`;
  const label = `${channel.name} at ${where}, in ${raised(channel.units)}`;
  const chart = make("div", {});
  place.replaceChildren(
    make("h3", {}, label),
    alone ? "" : make("p", { class: "fine" }, "Thin lines are single members."),
    chart,
  );
  const shown = [...series.filter((line) => line.faint), ...series.filter((line) => !line.faint)];
  drawChart(chart, {
    label,
    series: shown.filter((line) => line.y.some(Number.isFinite)),
    units: channel.units,
    xLabel: "lead time in hours",
    xTicks: hourTicks,
    xText: (hours) => `${leadText(hours)} (${validText(map.init_time, hours)})`,
    height: 260,
  });
}
