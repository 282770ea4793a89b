// The rows of an answer: labels, why they are there, and training texts near the query.
const MOST_NEIGHBOUR_LABELS = 6;
const LEAST_STRENGTH = .05;  // Weights below this part of the heaviest one make no difference.
const PARTS = {
  classifier: "What the classifier of the label says",
  similarity: "How near the label is to the query",
  sparse: "What the words of the query say",
  votes: "What the nearest training texts say",
  reranker: "What the re-ranker says",
  bias: "The same for all labels",
};

function labelRow({label, score, probability}, why) {
  const row = document.createElement("li");
  row.tabIndex = -1;  // Arrows lead here; fifty stops on the way of Tab would be too many.
  row.dataset.label = label;
  const ranked = element("div", "", "ranked");
  const mark = element("span", "", "mark");
  mark.hidden = true;
  const figures = element("span", "", "figures");
  const shownScore = element("span", score.toFixed(3), "score");
  shownScore.title = "Score: it orders the labels of this query, and is no probability";
  if (probability !== undefined) {
    const bar = document.createElement("i");
    bar.style.width = `${(100 * probability).toFixed(1)}%`;
    ranked.append(bar);
    const shown = element("span", percent(probability), "probability");
    shown.title = `Probability that this label is right: ${probability.toFixed(4)}`;
    figures.append(shown);
  }
  figures.append(shownScore);
  ranked.append(element("span", label, "name"), mark, figures);
  row.append(ranked);
  if (why) row.append(why);
  return row;
}

// The query with a colour behind each word, as strong as its weight beside the heaviest one.
function coloured(query, words, weights, heaviest, written, meaning) {
  const characters = Array.from(query);
  const shown = [];
  let end = 0;
  words.forEach((word, position) => {
    const weight = weights[position];
    const strength = Math.abs(weight) / heaviest || 0;
    const marked = element("mark", word.text, weight < 0 && strength >= LEAST_STRENGTH ? "against" : "");
    marked.style.setProperty("--strength", `${(100 * strength).toFixed(0)}%`);
    marked.append(element("span", written(weight), "number"));
    marked.title = `${word.text}: ${written(weight)} ${meaning}`;
    shown.push(characters.slice(end, word.begin).join(""), marked);
    end = word.end;
  });
  const whole = element("p", "", "words");
  whole.append(...shown, characters.slice(end).join(""));
  return whole;
}

function reading(query, words) {
  const weights = words.map(({weight}) => weight);
  const whole = coloured(query, words, weights, Math.max(...weights), percent, "of what the model reads");
  whole.querySelectorAll("mark").forEach((marked, position) => {
    if (weights[position]) return;
    marked.className = "unknown";
    marked.title = `${words[position].text}: the model knows nothing of this word`;
  });
  return whole;
}

function heaviestWord(labels) {
  return Math.max(0, ...labels.flatMap((label) => label.word_weights.map(Math.abs)));
}

function whyRow(query, words, {parts, word_weights}, heaviest) {
  const why = element("div", "", "why");
  const bar = element("div", "", "parts");
  const key = element("div", "", "key");
  const entries = Object.entries(parts).filter(([, added]) => added !== 0);
  // Parts that speak against the label have no place in the bar.
  const speaksFor = entries.reduce((sum, [, added]) => sum + Math.max(added, 0), 0);
  for (const [part, added] of entries) {
    const piece = document.createElement("div");
    piece.style.width = `${(100 * Math.max(added, 0) / speaksFor || 0).toFixed(1)}%`;
    const patch = document.createElement("b");
    piece.style.background = patch.style.background = `var(--${part})`;
    const name = element("span", "");
    name.title = piece.title = PARTS[part] || part;
    name.append(patch, `${part} ${added.toFixed(3)}`);
    bar.append(piece);
    key.append(name);
  }
  // A model without the sparse term has nothing to say about words.
  if (heaviest) why.append(coloured(query, words, word_weights, heaviest, signed, "to the logit of the sparse term"));
  why.append(bar, key);
  return why;
}

function neighbourRow({text, similarity, vote, labels}, answered) {
  const row = document.createElement("li");
  const chips = element("div", "", "chips");
  chips.append(...labels.slice(0, MOST_NEIGHBOUR_LABELS).map((label) =>
    element("span", label, answered.has(label) ? "answered" : "")));
  if (labels.length > MOST_NEIGHBOUR_LABELS) {
    chips.append(element("small", `and ${labels.length - MOST_NEIGHBOUR_LABELS} more`));
  }
  const figures = element("div", "", "key");
  figures.append(element("span", `similarity ${similarity.toFixed(3)}`), element("span", `vote ${vote.toFixed(3)}`));
  const head = element("div", "", "head");
  head.append(element("p", text), figures);
  row.append(head, chips);
  return row;
}
