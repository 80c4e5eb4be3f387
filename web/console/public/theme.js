// Before the first paint: the theme that was chosen last, else the system's.
(function () {
  var chosen = null;
  try {
    chosen = localStorage.getItem("weft.theme");
  } catch (refused) {}
  var dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
