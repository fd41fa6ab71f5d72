// Elements, and numbers as people write them.

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  return dress(element, attributes, children);
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  return dress(element, attributes, children);
}

function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function body(section) {
  return document.querySelector(`#${section} .body`);
}

function fill(section, ...children) {
  body(section).replaceChildren(...children.filter((child) => child !== null));
}

function absent(section, why) {
  body(section).replaceChildren(make("p", { class: "absent" }, why));
}

// Numbers are unpacked meanwhile: a picture is drawn only if no other was asked for in its place since.
function turnOf(place) {
  const turn = Number(place.dataset.turn || 0) + 1;
  place.dataset.turn = turn;
  return () => Number(place.dataset.turn) === turn;
}

let choices = 0;

// A labelled choice; options are [value, text]. change(value) is called when another is chosen.
function choice(label, options, value, change) {
  const id = `choice-${choices++}`;
  const select = make("select", { id }, ...options.map(([key, text]) => make("option", { value: key }, text)));
  select.value = value;
  select.addEventListener("change", () => change(select.value));
  return { element: make("div", { class: "choice" }, make("label", { for: id }, label), select), select };
}

function refill(select, options, value) {
  select.replaceChildren(...options.map(([key, text]) => make("option", { value: key }, text)));
  select.value = options.some(([key]) => key === value) ? value : options[0][0];
  return select.value;
}

// Choices among names, shown as people say them.
function named(names, say = spoken) {
  return names.map((name) => [name, say(name)]);
}

// Four significant digits, and all digits of a large whole part.
function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.floor(Math.log10(Math.abs(value)));
  const text = size < -4 || size > 6 ? value.toExponential(digits - 1) : value.toFixed(Math.max(0, digits - 1 - size));
  return text.replace(/-/g, "−");
}

// As many digits as a step between ticks asks for.
function tickText(value, step) {
  if (Math.abs(value) < step * 1e-6) return "0";
  const size = Math.floor(Math.log10(Math.abs(value)));
  if (size > 6 || step < 1e-4) return number(value, 3).replace(/\.?0+e/, "e");
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const needed = Math.abs(step * 10 ** decimals - Math.round(step * 10 ** decimals)) > 1e-6 ? decimals + 1 : decimals;
  return value.toFixed(needed).replace("-", "−");
}

function raised(units) {
  const digits = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  return units
    .replace(/([a-z])(-?\d)/gi, (_, unit, power) => unit + [...power].map((c) => digits[c]).join(""))
    .replace(/ /g, "\u00a0");
}

function withUnits(value, units) {
  return units === "1" ? number(value) : `${number(value)}\u00a0${raised(units)}`;
}

function latitudeText(value) {
  return degrees(value, "N", "S");
}

function longitudeText(value) {
  const centred = ((((value + 180) % 360) + 360) % 360) - 180;
  return degrees(centred, "E", "W");
}

function degrees(value, positive, negative) {
  const rounded = Math.abs(Math.round(value * 100) / 100);
  const side = rounded === 0 || rounded === 180 ? "" : ` ${value > 0 ? positive : negative}`;
  return `${rounded}°${side}`;
}

function leadText(hours) {
  if (hours === 0) return "start";
  return hours % 24 === 0 ? `${hours / 24} d` : `${hours} h`;
}

function validText(init, hours) {
  const time = new Date(Date.parse(`${init}:00Z`) + hours * 3600e3);
  return `${time.toISOString().slice(0, 13).replace("T", " ")} UTC`;
}

function spoken(name) {
  return name.replace(/_/g, " ");
}
