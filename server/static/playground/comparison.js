// Two answers side by side: to two queries, or of two models to the same query. Labels are the same by their text.
function ranksOf(panel) {
  return new Map(panel.rows().map((row, rank) => [row.dataset.label, rank]));
}

function mark(row, text, meaning, className) {
  const shown = row.querySelector(".mark");
  shown.replaceChildren(text, element("span", meaning && ` (${meaning})`, "unseen"));
  shown.title = meaning;
  shown.hidden = !text;
  row.classList.toggle("shared", className === "shared");
  row.classList.toggle("new", className === "new");
}

function markShared(panels) {
  const [ranks, others] = panels.map(ranksOf);
  for (const panel of panels) {
    for (const row of panel.rows()) {
      const isShared = ranks.has(row.dataset.label) && others.has(row.dataset.label);
      mark(row, isShared ? "both" : "", "", isShared ? "shared" : "");
    }
  }
  const shared = [...ranks.keys()].filter((label) => others.has(label)).length;
  return `${shared} of ${ranks.size} labels in both`;
}

function markMoved(panels) {
  const ranks = panels.map(ranksOf);
  panels.forEach((panel, side) => {
    panel.rows().forEach((row, rank) => {
      const other = ranks[1 - side].get(row.dataset.label);
      const there = `the ${side ? "left" : "right"} model`;
      if (other === undefined) mark(row, "only here", `${there} does not have it among as many labels`, "new");
      else if (other === rank) mark(row, "", "", "");
      else {
        const places = Math.abs(other - rank);
        const ranked = `${places} ${places > 1 ? "ranks" : "rank"} ${other > rank ? "higher" : "lower"}`;
        mark(row, `${other > rank ? "▲" : "▼"} ${places}`, `${ranked} than with ${there}`, "");
      }
    });
  });
  const shared = [...ranks[0].keys()].filter((label) => ranks[1].has(label));
  const same = shared.filter((label) => ranks[0].get(label) === ranks[1].get(label)).length;
  return `${shared.length} of ${ranks[0].size} labels in both, ${same} at the same rank`;
}

function clearMarks(panels) {
  for (const panel of panels) for (const row of panel.rows()) mark(row, "", "", "");
}
