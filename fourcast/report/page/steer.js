// Pointer and keys on the map.

function moveTo(state, row, column) {
  const { map } = state;
  const columns = map.longitude.length;
  const closed = extentOf(map).east - extentOf(map).west > 359.9;
  const inside = Math.min(columns - 1, Math.max(0, column));
  state.cursor = {
    row: Math.min(map.latitude.length - 1, Math.max(0, row)),
    column: closed ? (column + columns) % columns : inside,
  };
  drawOver(state.over, map, state.cursor, state.over.width / state.frame.clientWidth);
  if (state.shown) tellValue(state);
}

function openPoint(state) {
  state.point.hidden = false;
  drawPoint(state.point, state.map, state.channel, state.cursor);
}

function listenToMap(state) {
  const { over } = state;
  const follow = (event) => {
    const frame = over.getBoundingClientRect();
    const at = (share, cells) => cells[Math.min(cells.length - 1, Math.max(0, Math.floor(share * cells.length)))];
    if (state.across)
      moveTo(
        state,
        at((event.clientY - frame.top) / frame.height, state.down.cell),
        at((event.clientX - frame.left) / frame.width, state.across.cell),
      );
  };
  over.addEventListener("pointermove", follow);
  over.addEventListener("click", (event) => {
    follow(event);
    openPoint(state);
  });
  over.addEventListener("keydown", (event) => steer(state, event));
  new ResizeObserver(() => repaint(state)).observe(state.frame);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => repaint(state));
}

function steer(state, event) {
  const { cursor, map } = state;
  const far = event.shiftKey ? 5 : 1;
  const moves = { ArrowUp: [-far, 0], ArrowDown: [far, 0], ArrowLeft: [0, -far], ArrowRight: [0, far] };
  const turns = { PageUp: -1, PageDown: 1 };
  if (!(event.key in moves) && !(event.key in turns) && event.key !== "Enter") return;
  event.preventDefault();
  if (event.key in turns)
    return choose(state, { lead: Math.min(map.lead_hours.length - 1, Math.max(0, state.lead + turns[event.key])) });
  const start = { row: Math.floor(map.latitude.length / 2), column: Math.floor(map.longitude.length / 2) };
  if (event.key === "Enter") {
    if (!cursor) moveTo(state, start.row, start.column);
    return openPoint(state);
  }
  const [down, right] = cursor ? moves[event.key] : [0, 0];
  const from = cursor || start;
  moveTo(state, from.row + down, from.column + right);
}
