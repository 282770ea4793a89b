// Requests to the server, and the API key, which is shown with each; the tab forgets it when it is closed.
const KEY = "astec-api-key";

function ask(path, body) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? {Authorization: `Bearer ${key}`} : {};
  if (!body) return fetch(path, {headers});
  headers["Content-Type"] = "application/json";
  return fetch(path, {method: "POST", headers, body: JSON.stringify(body)});
}

function askForKey() {
  const hadOne = sessionStorage.getItem(KEY) !== null;
  sessionStorage.removeItem(KEY);
  if (hadOne || byId("door").hidden) refuse(hadOne ? "The server does not know this key." : "The server asks for an API key.");
}

function refuse(reason) {
  byId("refusal").textContent = reason;
  byId("door").hidden = false;
}

function problemText(problem, status) {
  const fields = (problem.errors || []).map(({field, message}) => `${field}: ${message}`);
  return fields.join("; ") || problem.detail || `The server answers with status ${status}.`;
}

function stageTimes(header) {
  return (header || "").split(", ").filter(Boolean).map((stage) => {
    const [name, duration] = stage.split(";dur=");
    return element("span", duration ? `${name} ${Number(duration).toFixed(2)} ms` : "from the cache");
  });
}
