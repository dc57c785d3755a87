// Organizations and their users.

import { get, post, put, remove } from "./api.js";
import { action, form, h, mount } from "./dom.js";

export async function organizations(main, redraw) {
  const list = await get("/organization");
  const users = await Promise.all(list.map((one) => get(`/user/${one.id}`)));
  mount(main,
    h("h1", "Organizations"),
    form("organization", h("label", "Name", h("input", { name: "name", required: true, placeholder: "acme" })), "Add organization", async ({ name }) => {
      await post("/organization", { name });
      await redraw();
    }),
    list.length === 0 && h("p.hint", "An organization holds users. Add the first one."),
    list.map((one, place) => organization(one, users[place].filter((user) => user.type === "client"), redraw)));
}

function organization(one, users, redraw) {
  return h("section", { "data-organization": one.name },
    h("div.title", h("h2", one.name), h("span.dim", count(users.length, "user")),
      action("Delete", { class: "quiet danger" }, async () => {
        if (!confirm(`Delete ${one.name} with all of its users? Their profiles stop working at once.`)) return;
        await remove(`/organization/${one.id}`);
        await redraw();
      })),
    users.length > 0 && h("table",
      h("thead", h("tr", ["User", "State", "Address", "Server", ""].map((title) => h("th", title)))),
      h("tbody", users.map((user) => row(one, user, redraw)))),
    form("user", [
      h("label", "Name", h("input", { name: "name", required: true, placeholder: "alice" })),
      h("label", "PIN", h("input", { name: "pin", inputmode: "numeric", pattern: "[0-9]{6,}", placeholder: "none", title: "At least six digits" })),
    ], "Add user", async ({ name, pin }) => {
      await post(`/user/${one.id}`, { name, pin });
      await redraw();
    }));
}

function row(organization, user, redraw) {
  const online = user.servers.filter((server) => server.status);
  const path = `/user/${organization.id}/${user.id}`;
  const state = user.disabled ? h("span.badge.off", "disabled") : user.status ? h("span.badge.on", "online") : h("span.badge", "offline");
  return h("tr", { "data-user": user.name, "data-online": String(user.status) },
    h("td", user.name),
    h("td", state),
    h("td", online.map((server) => h("div.mono", server.virt_address, h("span.dim", ` from ${server.real_address}`)))),
    h("td", user.servers.map((server) => h("div", server.name, " ", h("a", { href: `/data/${organization.id}/${user.id}/${server.server_id}.key`, download: "" }, ".ovpn")))),
    h("td.actions",
      user.servers.length > 0 && h("a.button", { href: `/data/${organization.id}/${user.id}.tar`, download: "" }, "Profile"),
      action(user.disabled ? "Enable" : "Disable", { class: "quiet" }, async () => {
        await put(path, { ...user, pin: true, disabled: !user.disabled });
        await redraw();
      }),
      action("Delete", { class: "quiet danger" }, async () => {
        if (!confirm(`Delete ${user.name}? The user's profiles stop working at once.`)) return;
        await remove(path);
        await redraw();
      })));
}

export function count(number, what) {
  return number === 1 ? `1 ${what}` : `${number} ${what}s`;
}
