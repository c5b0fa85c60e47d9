(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  const bytes = (count) => {
    let unit = 0;
    while (count >= 1024 && unit < UNITS.length - 1) { count /= 1024; unit += 1; }
    return `${unit === 0 ? Math.round(count) : count.toFixed(1)} ${UNITS[unit]}`;
  };
  const number = (count) => count.toLocaleString("en").replaceAll(",", "\u202f");

  draws((add, colour) => {
    for (const { id, what, labels, values, bytes: inBytes } of data) {
      // A bar needs so much room that its name can be read.
      document.getElementById(id).parentElement.style.height = `${Math.max(labels.length * 20 + 60, 100)}px`;
      const most = Math.max(...values, 1);
      const unit = inBytes ? Math.min(Math.floor(Math.log(most) / Math.log(1024)), UNITS.length - 1) : 0;
      const shown = (value) => (inBytes ? bytes(value) : `${number(value)} ${what}`);
      add(id, () => ({
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
  });
})();
