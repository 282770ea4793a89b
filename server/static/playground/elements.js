// Elements of the page, and numbers as people read them.
const byId = (id) => document.getElementById(id);

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className || "";
  return made;
}

function percent(probability) {
  if (probability > 0 && probability < .005) return "<1%";
  if (probability < 1 && probability >= .995) return ">99%";
  return `${(100 * probability).toFixed(0)}%`;
}

function signed(number) {
  const digits = Math.abs(number).toFixed(2);
  if (Number(digits) === 0) return digits;
  return number < 0 ? `−${digits}` : `+${digits}`;
}
