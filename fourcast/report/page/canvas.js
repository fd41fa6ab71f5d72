// What is drawn over and under the field: coast, degrees, the cursor, the colour bar.

function extentOf(map) {
  const [rows, columns] = [map.latitude_edges, map.longitude_edges];
  return { west: columns[0], east: columns[columns.length - 1], north: rows[0], south: rows[rows.length - 1] };
}

function projection(map, width, height) {
  const { west, east, north, south } = extentOf(map);
  return {
    x: (longitude) => ((longitude - west) / (east - west)) * width,
    y: (latitude) => ((north - latitude) / (north - south)) * height,
  };
}

function drawOver(canvas, map, cursor, ratio) {
  const context = canvas.getContext("2d");
  const place = projection(map, canvas.width, canvas.height);
  context.clearRect(0, 0, canvas.width, canvas.height);
  drawDegrees(context, map, place, ratio);
  drawCoast(context, map, place, ratio);
  if (cursor) drawCursor(context, map, place, cursor, ratio);
}

function drawCoast(context, map, place, ratio) {
  const { west, east } = extentOf(map);
  const turns = east - west > 359 ? [-360, 0, 360] : [-360, 0];
  for (const [colour, width] of [
    ["rgba(255,255,255,0.55)", 2.2],
    ["rgba(20,24,28,0.85)", 0.9],
  ]) {
    [context.strokeStyle, context.lineWidth, context.lineJoin] = [colour, width * ratio, "round"];
    context.beginPath();
    for (const line of map.coast) for (const turn of turns) traceLine(context, line, turn, place);
    context.stroke();
  }
}

function traceLine(context, line, turn, place) {
  for (let i = 0; i < line.length; i += 2) {
    const [x, y] = [place.x(line[i] / 10 + turn), place.y(line[i + 1] / 10)];
    if (i === 0) context.moveTo(x, y);
    else context.lineTo(x, y);
  }
}

// Between lines of longitude, and between lines of latitude.
function degreesApart(map) {
  const { west, east } = extentOf(map);
  return [60, 30, 20, 10, 5, 2, 1].find((degreesEach) => (east - west) / degreesEach >= 4) || 1;
}

function drawDegrees(context, map, place, ratio) {
  const { west, east, north, south } = extentOf(map);
  const step = degreesApart(map);
  const lines = [];
  for (let lon = Math.ceil(west / step) * step; lon < east; lon += step)
    lines.push([place.x(lon), 0, place.x(lon), context.canvas.height]);
  for (let lat = Math.ceil(south / step) * step; lat < north; lat += step)
    lines.push([0, place.y(lat), context.canvas.width, place.y(lat)]);
  [context.strokeStyle, context.lineWidth] = ["rgba(255,255,255,0.22)", ratio];
  context.beginPath();
  for (const [x0, y0, x1, y1] of lines) {
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
  }
  context.stroke();
}

function drawCursor(context, map, place, cursor, ratio) {
  const [left, right] = [place.x(map.longitude_edges[cursor.column]), place.x(map.longitude_edges[cursor.column + 1])];
  const [top, bottom] = [place.y(map.latitude_edges[cursor.row]), place.y(map.latitude_edges[cursor.row + 1])];
  const grow = Math.max(0, 5 * ratio - (right - left) / 2);
  for (const [colour, width] of [
    ["rgba(255,255,255,0.95)", 4],
    ["#111", 1.8],
  ]) {
    [context.strokeStyle, context.lineWidth] = [colour, width * ratio];
    context.strokeRect(left - grow, top - grow, right - left + 2 * grow, bottom - top + 2 * grow);
  }
}

// The bar as a picture: 256 colours, ticks with numbers, and arrows where values lie beyond.
function drawBar(place, { table, range, label, below, above }) {
  const [width, left, right] = [place.clientWidth || 600, 22, 22];
  const across = width - left - right;
  const x = (value) => left + (across * (value - range[0])) / (range[1] - range[0]);
  const colour = (i) => `rgb(${table[3 * i]},${table[3 * i + 1]},${table[3 * i + 2]})`;
  const picture = draw("svg", {
    viewBox: `0 0 ${width} 40`,
    width,
    height: 40,
    role: "img",
    "aria-label": `${label}, from ${number(range[0])} to ${number(range[1])}`,
  });
  for (let i = 0; i < 256; i++)
    picture.append(
      draw("rect", { x: left + (across * i) / 256, y: 4, width: across / 256 + 0.6, height: 14, fill: colour(i) }),
    );
  if (below) picture.append(draw("polygon", { points: `${left},4 ${left - 12},11 ${left},18`, fill: colour(0) }));
  if (above)
    picture.append(
      draw("polygon", { points: `${left + across},4 ${left + across + 12},11 ${left + across},18`, fill: colour(255) }),
    );
  const axis = ticks(range[0], range[1], Math.max(3, Math.floor(width / 90)));
  for (const value of axis.values) {
    picture.append(
      draw("line", { x1: x(value), x2: x(value), y1: 18, y2: 23 }),
      draw("text", { x: x(value), y: 36, "text-anchor": "middle" }, tickText(value, axis.step)),
    );
  }
  place.replaceChildren(picture, make("p", { class: "bar-label" }, label));
}
