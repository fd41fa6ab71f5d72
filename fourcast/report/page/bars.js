// A histogram of shares, with a line where all would be alike.

const BARS = { width: 360, height: 230, left: 40, right: 8, top: 6, bottom: 32 };

function drawBars(place, shares, label) {
  if (!shares.length) return place.replaceChildren(make("p", { class: "absent" }, "No ranks were counted here."));
  const most = Math.max(...shares, 2 / shares.length) * 1.05;
  const floor = BARS.height - BARS.bottom;
  const y = (share) => floor - (share / most) * (floor - BARS.top);
  const box = { viewBox: `0 0 ${BARS.width} ${BARS.height}`, class: "bars", role: "img", "aria-label": label };
  const bars = shares.map((share, rank) => barOf(share, rank, shares.length, y));
  const flat = rule(y(1 / shares.length), "flat");
  const middle = { x: (BARS.left + BARS.width) / 2, y: BARS.height - 8, "text-anchor": "middle" };
  const name = draw("text", middle, "rank of the analysis among the members");
  place.replaceChildren(draw("svg", box, ...barAxis(most, y), ...bars, flat, name), barTable(shares, label));
}

function rule(y, kind) {
  return draw("line", { x1: BARS.left, x2: BARS.width - BARS.right, y1: y, y2: y, class: kind });
}

function barAxis(most, y) {
  const { values, step } = ticks(0, most, 4);
  const text = (value) =>
    draw("text", { x: BARS.left - 6, y: y(value) + 4, "text-anchor": "end" }, tickText(value, step));
  return values.flatMap((value) => [rule(y(value), "grid"), text(value)]);
}

function barOf(share, rank, count, y) {
  const step = (BARS.width - BARS.left - BARS.right) / count;
  const x = BARS.left + rank * step + Math.min(2, step / 8);
  const size = { width: Math.max(1, step - Math.min(4, step / 4)), height: Math.max(0, y(0) - y(share)) };
  return draw("rect", { x, y: y(share), ...size }, draw("title", {}, `rank ${rank}: ${number(share, 3)}`));
}

function barTable(shares, label) {
  const row = (share, rank) =>
    make("tr", {}, make("th", { scope: "row" }, String(rank)), make("td", {}, number(share, 3)));
  const table = make("table", {}, make("caption", {}, label), make("tbody", {}, ...shares.map(row)));
  const summary = make("summary", {}, "The numbers as a table");
  return make("details", { class: "table" }, summary, make("div", { class: "scroll" }, table));
}
