// The map's controls, and how they follow what is chosen.

const FRAME_MS = 450;

function variablesOf(map) {
  const names = [...new Set(map.channels.map((channel) => channel.variable))];
  return names.map((name) => [name, `${spoken(map.channels.find((c) => c.variable === name).long_name)} (${name})`]);
}

function levelsOf(state) {
  const same = state.map.channels.filter((channel) => channel.variable === state.channel.variable);
  return same.map((channel) => [channel.name, channel.level === null ? "surface" : `${channel.level} hPa`]);
}

function buildControls(state) {
  const { map } = state;
  const channelOf = (name) => map.channels.find((channel) => channel.name === name);
  const sameLevel = (variable) =>
    map.channels.find((c) => c.variable === variable && c.level === state.channel.level) ||
    map.channels.find((c) => c.variable === variable);
  state.variables = choice("Variable", variablesOf(map), state.channel.variable, (name) =>
    choose(state, { channel: sameLevel(name) }),
  );
  state.levels = choice("Level", levelsOf(state), state.channel.name, (name) =>
    choose(state, { channel: channelOf(name) }),
  );
  state.views = choice("Show", [["", ""]], "", (view) => choose(state, { view }));
  state.members = choice(
    "Member",
    map.members.map((m) => [String(m), m === 0 ? "0 (control)" : String(m)]),
    String(state.member),
    (m) => choose(state, { member: Number(m) }),
  );
  const smooth = box("Smooth", true, (smooth) => choose(state, { smooth }));
  const fitted = box("Fit colours to this map", false, (fitted) => choose(state, { fitted }));
  const pickers = [state.variables, state.levels, state.views, state.members].map((p) => p.element);
  state.controls = make(
    "div",
    {},
    make("div", { class: "controls" }, ...pickers, make("div", { class: "boxes" }, smooth, fitted)),
    leadControl(state),
  );
}

function box(label, checked, change) {
  const input = make("input", { type: "checkbox", checked });
  input.addEventListener("change", () => change(input.checked));
  return make("label", { class: "box" }, input, label);
}

function leadControl(state) {
  const last = state.map.lead_hours.length - 1;
  state.slider = make("input", { type: "range", min: 0, max: last, step: 1, value: 0, "aria-label": "Lead time" });
  state.slider.addEventListener("input", () => choose(state, { lead: Number(state.slider.value) }));
  state.play = make(
    "button",
    { type: "button", class: "play", "aria-label": "Play through the lead times", "aria-pressed": "false" },
    "▶ Play",
  );
  state.play.addEventListener("click", () => togglePlay(state));
  state.when = make("span", { class: "when" });
  return make("div", { class: "lead" }, last > 0 ? state.play : null, last > 0 ? state.slider : null, state.when);
}

function togglePlay(state) {
  const playing = state.timer !== undefined;
  window.clearInterval(state.timer);
  state.timer = playing ? undefined : window.setInterval(() => stepOn(state), FRAME_MS);
  state.play.textContent = playing ? "▶ Play" : "❚❚ Pause";
  state.play.setAttribute("aria-pressed", String(!playing));
}

// The next lead time once this one is drawn.
function stepOn(state) {
  if (state.drawn === state.turn) choose(state, { lead: (state.lead + 1) % state.map.lead_hours.length });
}

function alignChannel(state) {
  const levels = levelsOf(state);
  state.variables.select.value = state.channel.variable;
  refill(state.levels.select, levels, state.channel.name);
  state.levels.element.hidden = levels.length < 2;
}

function alignView(state) {
  const views = viewsOf(state.channel, state.map.events);
  state.view = refill(
    state.views.select,
    views.map((view) => [view.key, view.text]),
    state.view,
  );
  state.kind = views.find((view) => view.key === state.view).kind;
  state.members.element.hidden = !state.view.startsWith("member") || state.map.members.length < 2;
}

function alignLead({ map, lead, slider, when }) {
  const hours = map.lead_hours[lead];
  const valid = validText(map.init_time, hours);
  slider.value = lead;
  slider.setAttribute("aria-valuetext", `${hours} hours, ${valid}`);
  when.replaceChildren(make("b", {}, hours === 0 ? "Start" : `+${hours} h`), ` ${valid}`);
}
