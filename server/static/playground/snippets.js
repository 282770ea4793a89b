// A request as a command or a program that others can run. A key never leaves the tab: its place is marked.
const KEY_PLACE = "YOUR_API_KEY";

// The address of the server, below the prefix of a proxy if there is one.
function serverAddress() {
  return new URL(".", document.baseURI).href.replace(/\/$/, "");
}

function inShell(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function asCurl(asked) {
  const lines = [`curl -s ${inShell(`${serverAddress()}/predict`)}`, "-H 'content-type: application/json'"];
  if (sessionStorage.getItem(KEY)) lines.push(`-H 'authorization: Bearer ${KEY_PLACE}'`);
  return [...lines, `-d ${inShell(JSON.stringify(asked))}`].join(" \\\n    ") + "\n";
}

function asPython({query, top_k, probabilities, explain, model}) {
  // A string of JSON is one of Python.
  const text = JSON.stringify;
  const key = sessionStorage.getItem(KEY) ? `, api_key=${text(KEY_PLACE)}` : "";
  const options = [text(query), `top_k=${top_k}`];
  if (probabilities) options.push("probabilities=True");
  if (model) options.push(`model=${text(model)}`);
  const figure = probabilities ? "{prediction.probability:.0%}" : "{prediction.score:.3f}";
  const found = explain ? [
    `    explanation = client.explain(${options.join(", ")})`,
    "    words = [word.text for word in explanation.words]",
    "    for prediction, why in zip(explanation.ranking, explanation.labels):",
    `        print(f"${figure} {prediction.label}", dict(why.parts), list(zip(words, why.word_weights)))`,
  ] : [
    `    for prediction in client.predict(${options.join(", ")}):`,
    `        print(f"${figure} {prediction.label}")`,
  ];
  return [
    "import astec  # pip install 'astec[client]'", "", `with astec.Client(${text(serverAddress())}${key}) as client:`,
    ...found, "",
  ].join("\n");
}

// Browsers have a clipboard on https and on this machine only; elsewhere there is the command of before.
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");
  const focused = document.activeElement;
  field.value = text;
  field.className = "unseen";
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  focused.focus();
  if (!isCopied) throw new Error("this browser does not copy");
}

async function copyAs(button, asked) {
  const name = button.dataset.as;
  const isCopied = await copy(name === "curl" ? asCurl(asked) : asPython(asked)).then(() => true, () => false);
  byId("copied").textContent = isCopied ? `Copied as ${name}` : "The browser does not let this page copy.";
  button.textContent = isCopied ? "copied" : "not copied";
  setTimeout(() => { button.textContent = name; byId("copied").textContent = ""; }, 2000);
}
