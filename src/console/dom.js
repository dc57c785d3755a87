// Elements from code: text is always text, never markup.

// h("a.quiet#top", { href: "/" }, "text", element, [elements])
export function h(selector, ...rest) {
  const [, tag, marks] = selector.match(/^([a-z0-9]+)(.*)$/);
  const element = document.createElement(tag);
  for (const mark of marks.match(/[.#][^.#]+/g) ?? []) {
    if (mark[0] === "#") element.id = mark.slice(1);
    else element.classList.add(mark.slice(1));
  }
  for (const part of rest.flat(Infinity)) {
    if (part === null || part === undefined || part === false) continue;
    if (part instanceof Node || typeof part !== "object") element.append(part);
    else set(element, part);
  }
  return element;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
}

// Replaces what is in an element, unless somebody is filling in a form there. What was open stays open.
export function mount(parent, ...children) {
  const open = new Set([...parent.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key));
  const focused = document.activeElement;
  const busy = parent.contains(focused) && focused.closest("form") && focused.value;
  if (busy) {
    focused.addEventListener("blur", () => parent.dispatchEvent(new CustomEvent("redraw")), { once: true });
    return;
  }
  parent.replaceChildren(...children.flat(Infinity).filter(Boolean));
  for (const one of parent.querySelectorAll("details[data-key]")) {
    if (open.has(one.dataset.key)) one.open = true;
  }
}

// Says what went wrong, for a while.
export function report(text) {
  const reports = document.getElementById("reports");
  if (!reports) return;
  const note = h("p.fault", text, h("button.quiet", { "aria-label": "Dismiss", onclick: () => note.remove() }, "×"));
  reports.append(note);
  setTimeout(() => note.remove(), 15000);
}

// A form with one line: its fields and its button. Fields are cleared once it is done.
export function form(name, fields, button, done) {
  const submit = h("button", { type: "submit" }, button);
  const element = h("form.line", { name, onsubmit: async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      const values = Object.fromEntries(new FormData(element));
      element.reset();
      document.activeElement?.blur();
      await done(values);
    } catch (error) {
      report(error.message);
    } finally {
      submit.disabled = false;
    }
  } }, fields, submit);
  return element;
}

// A button that does something and is off meanwhile.
export function action(label, attributes, done) {
  const button = h("button", attributes, { type: "button", onclick: async () => {
    button.disabled = true;
    try {
      await done();
    } catch (error) {
      report(error.message);
    } finally {
      button.disabled = false;
    }
  } }, label);
  return button;
}
