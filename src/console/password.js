// The administrator's own name and password.

import { get, put } from "./api.js";
import { form, h, mount } from "./dom.js";

export async function password(main) {
  const settings = await get("/settings");
  const isDefault = sessionStorage.getItem("default") === "true";
  mount(main,
    h("h1", "Password"),
    isDefault && h("p.hint", "You are using the one-time password. Choose your own before you go on."),
    form("password", [
      h("input", { type: "hidden", name: "username", value: settings.username }),
      h("label", "New password", h("input", { name: "password", type: "password", minlength: 8, autocomplete: "new-password", required: true })),
    ], "Change it", async ({ password: chosen }) => {
      // Settings are written as a whole (semantics.md section d): what was read goes back with the new password.
      await put("/settings", { ...settings, password: chosen });
      sessionStorage.setItem("default", "false");
      location.hash = "organizations";
    }));
}
