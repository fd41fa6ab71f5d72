// What ran.

function showAbout(content) {
  const groups = content.about.groups.map((group) =>
    make(
      "article",
      { class: "card" },
      make("h3", {}, group.name),
      make("dl", {}, ...group.rows.flatMap(([label, value]) => [make("dt", {}, label), make("dd", {}, value)])),
    ),
  );
  const whole = content.about.documents.map((item) =>
    make("details", {}, make("summary", {}, `Every key: ${item.name}`), make("pre", { tabindex: 0 }, item.text)),
  );
  if (groups.length) fill("about", make("div", { class: "cards" }, ...groups), ...whole);
  else absent("about", "Neither a training, nor a forecast, nor scores were found.");
}

function showHead(content) {
  document.getElementById("summary").textContent = summaryOf(content);
  document.getElementById("footer").textContent =
    `Written ${content.written} by ${content.source}. Everything on this page is inside this one file.`;
  const synthetic = document.getElementById("synthetic");
  synthetic.hidden = !content.synthetic;
  synthetic.textContent = content.synthetic ? `${content.synthetic}.` : "";
}

function summaryOf(content) {
  const { map, scores } = content;
  const parts = [];
  if (map) {
    const count = map.member_count;
    parts.push(
      `${count} member${count > 1 ? "s" : ""} from ${map.init_time.replace("T", " ")} UTC, up to ${leadText(map.lead_hours[map.lead_hours.length - 1])} ahead`,
    );
  }
  if (scores && scores.init_times) parts.push(`verified from ${scores.init_times} initial times`);
  return parts.join("; ") || "No forecast and no scores are on this page.";
}
