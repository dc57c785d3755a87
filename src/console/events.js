// Changes, as the cluster tells them: one request after the other, each held until something happens.

import { get } from "./api.js";

// Calls `changed` with the set of types that happened and `connected` with whether the appliance answers.
export function listen({ changed, connected }) {
  const end = new AbortController();
  (async () => {
    let cursor = "";
    let lost = false;
    while (!end.signal.aborted) {
      try {
        const events = await get(cursor ? `/event/${cursor}` : "/event", end.signal);
        connected(true);
        // What happened while nobody answered is not known: everything is read again.
        if (lost) changed(new Set(everything));
        lost = false;
        if (events.length) {
          cursor = events[events.length - 1].id;
          changed(new Set(events.map((event) => event.type)));
        }
      } catch (error) {
        if (end.signal.aborted || error.status === 401) return;
        lost = true;
        connected(false);
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
  })();
  connected(true);
  return () => end.abort();
}

const everything = ["organizations_updated", "users_updated", "servers_updated", "hosts_updated", "log_updated"];
