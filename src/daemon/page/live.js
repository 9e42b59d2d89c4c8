// Renews the page's live part as the daemon tells, and says moments in local time.
"use strict";
(() => {
  const local = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.getTime())) time.title = at.toLocaleString();
    }
  };
  local(document);
  if (location.pathname !== "/" || !document.getElementById("live")) return;
  const source = new EventSource("/events");
  source.addEventListener("state", (event) => {
    const live = document.getElementById("live");
    // Whoever is about to press a button keeps it.
    if (!live || live.querySelector("button:hover, button:focus")) return;
    const next = document.createElement("template");
    next.innerHTML = event.data;
    live.replaceWith(next.content);
    local(document);
  });
})();
