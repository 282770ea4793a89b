// The models that the server has: by name, with the description of each. One model has no name to ask for it by.
const models = new Map();

async function describeModels() {
  const response = await ask("v1/model");
  if (response.status === 401) askForKey();
  if (!response.ok) return null;
  const first = await response.json();
  models.clear();
  models.set(first.served_as || "", first);
  if (first.served_as) {  // Named on the command line, as several models are.
    const {served} = await (await ask("v2/models")).json();
    for (const {name} of served.slice(1)) {
      const answer = await ask(`v1/model?model=${encodeURIComponent(name)}`);
      if (answer.ok) models.set(name, await answer.json());
    }
  }
  return first;
}

// Whoever names no model may be answered by any of them.
function isCalibrated(name) {
  const asked = name ? [models.get(name)] : [...models.values()];
  return asked.length > 0 && asked.every((model) => Boolean(model?.calibration));
}

function meaningOfFigures(name) {
  if (!isCalibrated(name)) {
    return models.size > 1 && !name
      ? "Scores order the labels, and are no probabilities. Choose a model that is calibrated to see those."
      : "Scores order the labels, and are no probabilities: this model is not calibrated.";
  }
  return "How likely each label is right, as measured on held-out texts";
}
