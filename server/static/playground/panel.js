// One answer: what was asked, and what is shown of it.
const NOTHING = {predictions: []};

class Panel {
  constructor(input, name, isShown) {
    this.input = input;
    this.isShown = isShown;  // Called whenever an answer has been shown.
    this.root = byId("panel").content.firstElementChild.cloneNode(true);
    this.root.setAttribute("aria-label", name);
    this.model = this.root.querySelector(".which select");
    this.model.addEventListener("change", () => this.predict());
    for (const button of this.root.querySelectorAll(".copy button")) {
      button.setAttribute("aria-label", `Copy as ${button.dataset.as}`);
      button.addEventListener("click", () => copyAs(button, this.asked));
    }
    this.asked = null;
    this.turn = 0;
    this.pause = 0;
    byId("panels").append(this.root);
  }

  part(name) { return this.root.querySelector(`.${name}`); }

  rows() { return [...this.part("labels").children]; }

  offerModels(names) {
    const chosen = this.model.value;
    this.model.replaceChildren(new Option("as clients get it", ""), ...names.map((name) => new Option(name, name)));
    this.model.value = names.includes(chosen) ? chosen : "";
    this.part("which").hidden = names.length < 2;
  }

  show({predictions, explanation, model}, times, problem) {
    const {labels = [], words = [], neighbours = []} = explanation || {};
    const query = this.asked?.query || "";
    const heaviest = heaviestWord(labels);
    this.part("labels").replaceChildren(...predictions.map((prediction, rank) =>
      labelRow(prediction, labels[rank] && whyRow(query, words, labels[rank], heaviest))));
    this.part("reading").hidden = words.length === 0;
    if (words.length) this.part("reading").lastElementChild.replaceWith(reading(query, words));
    this.part("legend").hidden = !heaviest;
    this.part("meaning").hidden = predictions.length === 0;
    this.part("meaning").textContent = meaningOfFigures(this.asked?.model);
    const answered = new Set(predictions.map(({label}) => label));
    this.part("neighbours").replaceChildren(...neighbours.map((each) => neighbourRow(each, answered)));
    this.part("near").hidden = this.part("title").hidden = neighbours.length === 0;
    this.part("times").replaceChildren(...stageTimes(times));
    if (models.size > 1 && model) this.part("times").prepend(element("span", `answered by ${model.name}`));
    this.part("copy").hidden = !this.asked;
    this.part("problem").textContent = problem;
    this.part("problem").hidden = !problem;
    this.part("empty").hidden = Boolean(problem) || !this.asked || predictions.length > 0;
    this.root.removeAttribute("aria-busy");
    this.isShown();
  }

  request() {
    const query = this.input.value.trim();
    if (!query) return null;
    const asked = {query, top_k: Number(byId("top_k").value)};
    if (byId("explain").checked) asked.explain = true;
    if (isCalibrated(this.model.value)) asked.probabilities = true;
    if (this.model.value) asked.model = this.model.value;
    return asked;
  }

  async predict() {
    clearTimeout(this.pause);
    const turn = ++this.turn;
    const asked = this.request();
    remember();
    if (!asked) {
      this.asked = null;
      this.show(NOTHING, "", "");
      return;
    }
    this.root.setAttribute("aria-busy", "true");
    let [answer, times, problem] = [NOTHING, "", "The server does not answer."];
    try {
      const response = await ask("predict", asked);
      const content = await response.json().catch(() => ({}));
      if (response.status === 401 && turn === this.turn) askForKey();
      if (response.ok) [answer, times, problem] = [content, response.headers.get("Server-Timing"), ""];
      else problem = problemText(content, response.status);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;  // What fetch raises where there is no answer.
    }
    if (turn !== this.turn) return;  // A newer query has been typed since.
    this.asked = asked;
    this.show(answer, times, problem);
  }

  predictSoon() {
    clearTimeout(this.pause);
    this.pause = setTimeout(() => this.predict(), 120);
  }
}
