// Requests to the API: JSON, with the CSRF token that belongs to the session.

let csrf = "";
let loggedOut = () => {};
let cached = () => {};

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// What is to be done when the session is over.
export function onLoggedOut(then) {
  loggedOut = then;
}

// What is to be done when an answer is told to be remembered, the database being away, or to be fresh.
export function onCached(then) {
  cached = then;
}

export const get = (path, signal) => ask("GET", path, undefined, signal);
export const post = (path, body) => ask("POST", path, body);
export const put = (path, body) => ask("PUT", path, body);
export const remove = (path) => ask("DELETE", path);

async function ask(method, path, body, signal) {
  const headers = { "Csrf-Token": csrf };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The appliance does not answer. Is it up, and is the network?");
  }
  if (answer.ok && path !== "/auth/session") cached(answer.headers.has("Culvert-Cached"));
  const text = await answer.text();
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = undefined;
  }
  if (!answer.ok) {
    if (answer.status === 401 && path !== "/auth/session") loggedOut();
    throw new Refused(answer.status, parsed?.error_msg ?? (text.trim() || `The appliance answered with status ${answer.status}.`));
  }
  if (path === "/state") csrf = parsed.csrf_token;
  return parsed;
}
