// Axes and colours.

function roundStep(raw) {
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 2.5, 5, 10].find((times) => times * power >= raw * (1 - 1e-9)) * power;
}

// Round values within [low, high], about `count` of them.
function ticks(low, high, count) {
  // Nearly the same: steps too small to be counted.
  if (!(high - low > 1e-12 * Math.max(Math.abs(low), Math.abs(high)))) return { values: [low], step: Math.abs(low) || 1 };
  const step = roundStep((high - low) / count);
  const values = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) values.push(i * step);
  return { values, step };
}

function hourTicks(low, high, count) {
  const steps = [1, 2, 3, 6, 12, 24, 48, 72, 120, 240, 480, 960];
  const step = steps.find((hours) => (high - low) / hours <= count) || 1920;
  const values = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) values.push(i * step);
  return { values, step };
}

// Powers of ten within [low, high]; over a short range twice and five times these, too.
function powersOfTen(low, high) {
  const times = high / low < 200 ? [1, 2, 5] : [1];
  const values = [];
  for (let e = Math.floor(Math.log10(low)); 10 ** e <= high; e++) values.push(...times.map((t) => t * 10 ** e));
  const held = values.filter((value) => value >= low && value <= high);
  const every = Math.ceil(held.length / 8);
  return { values: held.filter((_, i) => i % every === 0), step: 0 };
}

// 256 colours as [red, green, blue] each.
function colourTable(encoded) {
  return Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
}

function colourPlace(value, low, high) {
  return Math.min(255, Math.max(0, Math.floor(((value - low) / (high - low)) * 256)));
}

// From orange (worse) over the paper to blue (better); share from -1 to 1.
function shade(share) {
  const strength = Math.min(1, Math.abs(share)) ** 0.7;
  return `color-mix(in oklab, var(--${share < 0 ? "worse" : "better"}) ${Math.round(strength * 88)}%, var(--card))`;
}

const KINDS = {
  ensemble_mean: { dash: "", colour: "blue" },
  ensemble: { dash: "", colour: "blue" },
  members: { dash: "2 3", colour: "purple" },
  control: { dash: "6 3", colour: "vermilion" },
  persistence: { dash: "2 3", colour: "grey" },
  climatology: { dash: "8 3 2 3", colour: "green" },
  climatology_ensemble: { dash: "8 3 2 3", colour: "green" },
  analysis: { dash: "", colour: "ink" },
};
const FORECAST_COLOURS = ["blue", "vermilion", "purple", "sky", "green", "gold"];

// A line's colour and dashes: by kind, or by forecast where several are compared.
function styleOf(system, systems) {
  const [kind, name] = [system.split("/").pop(), system.split("/").slice(0, -1).join("/")];
  const style = KINDS[kind] || { dash: "", colour: "purple" };
  if (!name) return { dash: style.dash, colour: `var(--${style.colour})` };
  const names = [...new Set(systems.filter((s) => s.includes("/")).map((s) => s.split("/").slice(0, -1).join("/")))];
  return { dash: style.dash, colour: `var(--${FORECAST_COLOURS[names.indexOf(name) % FORECAST_COLOURS.length]})` };
}
