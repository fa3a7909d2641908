// Light and dark, and the start of the page.
const THEMES = ["auto", "light", "dark"];

function switchTheme() {
  setTheme(nextOf(THEMES, document.documentElement.dataset.theme ?? "auto"));
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  find("#theme").textContent = t(`theme_${theme}`);
  try {
    localStorage.setItem("blemish-theme", theme);
  } catch {
    // storage is off: the choice holds until the page is closed
  }
  if (view) showScatter();
}

function storedTheme() {
  try {
    return THEMES.find((theme) => theme === localStorage.getItem("blemish-theme")) ?? "auto";
  } catch {
    return "auto";
  }
}

find("#theme").addEventListener("click", switchTheme);
find("#back").addEventListener("click", () => update({ grouping: "run", threshold: data.threshold ?? Infinity, filter: "all" }));
setTheme(storedTheme());
if (window.matchMedia("(max-width: 62rem)").matches) for (const panel of document.querySelectorAll(".tool")) panel.open = false;
buildToolbar();
buildThreshold();
buildTree();
buildScatter();
buildReviewBar();
buildHelp();
for (const listener of [showLead, showAttention, showCards, showToolbar, showThreshold, showTree, arrange, showReviewBar, showScatter, preparePrint]) onChange(listener);
if (!images.some((image) => image.regions.some((region) => source(region.crop)))) state.layout = "whole";
update();
document.documentElement.classList.add("js");
loadCorrections();
