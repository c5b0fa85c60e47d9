"use strict";
// Calls `draw` now, and whenever the colours change: with `add(id, make)`, which makes the chart of a canvas that is there, and the colours of the page.
const draws = (draw) => {
  const charts = [];
  const add = (id, make) => {
    const canvas = document.getElementById(id);
    if (canvas) charts.push(new Chart(canvas, make(canvas)));
  };
  const again = () => {
    charts.splice(0).forEach((chart) => chart.destroy());
    const style = getComputedStyle(document.documentElement);
    const colour = (variable) => style.getPropertyValue(variable).trim();
    Chart.defaults.color = colour("--soft");
    Chart.defaults.borderColor = colour("--line");
    Chart.defaults.font.family = "system-ui, sans-serif";
    Chart.defaults.animation = false;
    Chart.defaults.maintainAspectRatio = false;
    draw(add, colour);
  };
  again();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
};
