// The page: what is compared, what its address says, and what keys and buttons do.
const first = new Panel(byId("query"), "Answer", () => compareAnswers());
const second = new Panel(byId("other"), "Answer to compare with", () => compareAnswers());
let compared = "";  // "queries", "models", or nothing.
let chosen = first;  // The one whose query was edited last, which an example goes to.
const panels = () => compared ? [first, second] : [first];
const predictAll = () => panels().forEach((panel) => panel.predict());

function compare(what) {
  compared = what;
  byId("other").hidden = what !== "queries";
  second.root.hidden = !what;
  second.input = what === "models" ? first.input : byId("other");
  byId("main").classList.toggle("comparing", Boolean(what));
  byId("main").classList.toggle("two-queries", what === "queries");
  for (const id of ["queries", "models"]) byId(id).setAttribute("aria-pressed", what === id);
  if (what !== "queries") chosen = first;
  compareAnswers();
}

function compareModels() {
  const names = [...models.keys()];
  if (!first.model.value) first.model.value = names[0];
  if (!second.model.value || second.model.value === first.model.value) {
    second.model.value = names.find((name) => name !== first.model.value);
  }
}

function compareAnswers() {
  const both = [first, second];
  const isWhole = compared && both.every((panel) => panel.rows().length);
  byId("overlap").hidden = !isWhole;
  if (isWhole) byId("overlap").textContent = compared === "models" ? markMoved(both) : markShared(both);
  else clearMarks(both);
}

// What is asked is in the address, behind the # that no browser sends: a link to it shows it again.
function remember() {
  const asked = new URLSearchParams({q: byId("query").value.trim(), top_k: byId("top_k").value});
  if (compared === "queries") asked.set("vs", byId("other").value.trim());
  if (byId("explain").checked) asked.set("why", "1");
  if (byId("scores").checked) asked.set("scores", "1");
  if (first.model.value) asked.set("model", first.model.value);
  if (compared && second.model.value) asked.set("vs_model", second.model.value);
  if (compared === "models") asked.set("models", "1");
  history.replaceState(null, "", asked.get("q") || compared ? `#${asked}` : location.pathname);
}

function recall() {
  const asked = new URLSearchParams(location.hash.slice(1));
  byId("query").value = asked.get("q") || "";
  byId("other").value = asked.get("vs") || "";
  byId("explain").checked = asked.has("why");
  byId("scores").checked = asked.has("scores");
  if (asked.has("top_k")) byId("top_k").value = asked.get("top_k");
  showNumbers();
  compare(asked.has("vs") ? "queries" : "");
}

// What the address says about models can be chosen once the server has said which ones it has.
function recallModels() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const names = [...models.keys()].filter(Boolean);
  for (const [panel, name] of [[first, asked.get("model")], [second, asked.get("vs_model")]]) {
    panel.offerModels(names);
    if (names.includes(name)) panel.model.value = name;
  }
  byId("models").hidden = names.length < 2;
  if (asked.has("models") && names.length > 1) {
    compareModels();
    compare("models");
  }
}

function showNumbers() {
  byId("main").classList.toggle("numbers", byId("scores").checked);
}

async function describe() {
  const described = await describeModels();
  if (!described) return;
  recallModels();
  const named = [...models].map(([name, {model}]) => `${name || model.name}, version ${model.version}`);
  if (described.model) byId("model").textContent = named.join(" · ");
  const {examples} = described;
  byId("examples").replaceChildren(byId("examples").firstElementChild, ...(examples || []).map(exampleButton));
  byId("examples").hidden = !examples?.length;
}

function exampleButton(text) {
  const button = element("button", text);
  button.type = "button";
  button.addEventListener("click", () => {
    chosen.input.value = text;
    panels().filter((panel) => panel.input === chosen.input).forEach((panel) => panel.predict());
  });
  return button;
}

// What the address asks for waits for the model's description, which says whether there are probabilities to ask for.
async function begin() {
  await describe().catch(() => {});
  if (byId("query").value.trim() || compared) predictAll();
}

// Up and down go from the query through its labels and back, left and right to the other answer.
function neighbourOf(target, arrow) {
  const panel = panels().find(({input, root}) => input === target || root.contains(target));
  const rows = panel?.rows() || [];
  const rank = rows.indexOf(target);
  if (!panel || (rank < 0 && target !== panel.input)) return null;
  if (arrow === "ArrowDown") return rows[rank + 1];
  if (arrow === "ArrowUp") return rank < 0 ? null : rows[rank - 1] || panel.input;
  if (rank < 0 || !compared) return null;
  const others = (arrow === "ArrowLeft" ? first : second).rows();
  return others[Math.min(rank, others.length - 1)];
}

for (const field of [byId("query"), byId("other")]) {
  const concerned = () => panels().filter(({input}) => input === field);
  field.addEventListener("input", () => concerned().forEach((panel) => panel.predictSoon()));
  field.addEventListener("focus", () => { chosen = concerned()[0] || first; });
}
byId("form").addEventListener("submit", (event) => { event.preventDefault(); predictAll(); });
byId("top_k").addEventListener("change", predictAll);
byId("explain").addEventListener("change", predictAll);
byId("scores").addEventListener("change", () => { showNumbers(); remember(); });
byId("queries").addEventListener("click", () => {
  compare(compared === "queries" ? "" : "queries");
  remember();
  if (compared) {
    second.predict();
    byId("other").focus();
  }
});
byId("models").addEventListener("click", () => {
  if (compared !== "models") compareModels();
  compare(compared === "models" ? "" : "models");
  predictAll();
});
byId("door").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = byId("key").value.trim();
  byId("key").value = "";
  // No header can carry anything else.
  if (!/^[\x21-\x7e]+$/.test(key)) return refuse("A key has neither spaces nor characters beyond ASCII.");
  sessionStorage.setItem(KEY, key);
  byId("door").hidden = true;
  begin();
});
addEventListener("keydown", (event) => {
  if (event.key.startsWith("Arrow") && !event.ctrlKey && !event.altKey && !event.metaKey) {
    const next = neighbourOf(event.target, event.key);
    if (!next) return;
    event.preventDefault();
    next.focus();
  } else if (event.key === "/" && !event.target.matches("[type=text], [type=password]")) {
    event.preventDefault();
    byId("query").select();
  }
});
recall();
begin();
