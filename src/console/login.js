// Logging in.

import { post } from "./api.js";
import { h, mount } from "./dom.js";

export function login(app, then) {
  const fault = h("p.fault", { role: "alert", hidden: true });
  const submit = h("button", { type: "submit" }, "Log in");
  const form = h("form#login", { onsubmit: async (event) => {
    event.preventDefault();
    submit.disabled = true;
    fault.hidden = true;
    try {
      const answer = await post("/auth/session", Object.fromEntries(new FormData(form)));
      sessionStorage.setItem("default", String(answer.default));
      await then();
    } catch (error) {
      fault.textContent = error.message;
      fault.hidden = false;
      submit.disabled = false;
    }
  } },
    h("h1", h("img", { src: "/s/favicon.svg", alt: "" }), "Culvert"),
    h("label", "Administrator", h("input", { name: "username", autocomplete: "username", required: true, autofocus: true })),
    h("label", "Password", h("input", { name: "password", type: "password", autocomplete: "current-password", required: true })),
    fault, submit);
  mount(app, form);
  form.username.focus();
}
