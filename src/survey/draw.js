"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  const bytes = (count) => {
    let unit = 0;
    while (count >= 1024 && unit < UNITS.length - 1) { count /= 1024; unit += 1; }
    return `${unit === 0 ? Math.round(count) : count.toFixed(1)} ${UNITS[unit]}`;
  };
  const number = (count) => count.toLocaleString("en").replaceAll(",", "\u202f");

  const charts = [];
  const draw = () => {
    charts.splice(0).forEach((chart) => chart.destroy());
    const style = getComputedStyle(document.documentElement);
    const colour = (variable) => style.getPropertyValue(variable).trim();
    Chart.defaults.color = colour("--soft");
    Chart.defaults.borderColor = colour("--line");
    Chart.defaults.font.family = "system-ui, sans-serif";
    Chart.defaults.animation = false;
    Chart.defaults.maintainAspectRatio = false;
    for (const { id, what, labels, values, bytes: inBytes } of data) {
      const canvas = document.getElementById(id);
      // A bar needs so much room that its name can be read.
      canvas.parentElement.style.height = `${labels.length * 20 + 60}px`;
      const most = Math.max(...values, 1);
      const unit = inBytes ? Math.min(Math.floor(Math.log(most) / Math.log(1024)), UNITS.length - 1) : 0;
      const shown = (value) => (inBytes ? bytes(value) : `${number(value)} ${what}`);
      charts.push(new Chart(canvas, {
        type: "bar",
        data: { labels, datasets: [{ data: values.map((value) => value / 1024 ** unit), backgroundColor: inBytes ? "#66a182" : "#4477aa", minBarLength: 2 }] },
        options: {
          indexAxis: "y",
          scales: {
            x: { beginAtZero: true, ticks: { callback: (value) => number(value), maxTicksLimit: 6, maxRotation: 0 }, title: { display: true, text: inBytes ? UNITS[unit] : what } },
            y: { ticks: { autoSkip: false }, grid: { display: false } },
          },
          plugins: { legend: { display: false }, tooltip: { callbacks: { label: ({ dataIndex }) => shown(values[dataIndex]) } } },
        },
      }));
    }
  };
  draw();
  dark.addEventListener("change", draw);
})();
