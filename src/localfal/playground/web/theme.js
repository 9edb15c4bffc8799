// Before the first paint: the theme that was chosen last, else the system's.
"use strict";
(() => {
  const chosen = localStorage.getItem("localfal:theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
