// Everything, once the page is there.

const SECTIONS = ["map", "scorecard", "leads", "diagnostics"];

function showAll(content) {
  scores = content.scores;
  showHead(content);
  showAbout(content);
  showTraining(content.curves);
  if (typeof DecompressionStream === "undefined") {
    for (const section of SECTIONS)
      absent(section, "This browser cannot unpack the numbers of this page; open it in a newer one (2023 or later).");
    return;
  }
  showMap(content.map);
  showScorecard();
  showLeads();
  showDiagnostics();
}

showAll(JSON.parse(document.getElementById("content").textContent));
