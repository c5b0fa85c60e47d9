(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const COLOURS = {
    done: "#4477aa", partial: "#ee8833", again: "#ccbb44", unused: "#9aa4b0",
    stopped: "#aa3377", failed: "#dd3322", unfinished: "#66707c",
  };
  const MEANINGS = {
    done: "done", partial: "some could not be done", again: "done once more", unused: "not needed",
    stopped: "stopped", failed: "failed", unfinished: "no end",
  };
  const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

  const bytes = (count) => {
    let unit = 0;
    while (count >= 1024 && unit < UNITS.length - 1) { count /= 1024; unit += 1; }
    return `${unit === 0 ? Math.round(count) : count.toFixed(1)} ${UNITS[unit]}`;
  };
  const number = (count, digits = 0) => count.toLocaleString("en", { maximumFractionDigits: digits }).replaceAll(",", "\u202f");
  const two = (count) => String(count).padStart(2, "0");
  const clock = (seconds) => {
    const span = data.seconds;
    if (span < 10) return `${seconds.toFixed(span < 2 ? 2 : 1)} s`;
    if (span < 120) return `${Math.round(seconds)} s`;
    const whole = Math.round(seconds);
    const rest = `${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
    return `${Math.floor(whole / 3600)}:${rest}`;
  };
  const took = (seconds) => (seconds < 60 ? `${seconds.toFixed(2)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`);
  const lane = (place) => {
    const { host, slot } = data.lanes[place];
    return host ? `${host} ${slot}` : `slot ${slot}`;
  };

  draws((add, colour) => {
    // A tick is a whole number of seconds, minutes, hours or days; undefined for the chart's own below a second each.
    const STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400];
    const least = data.seconds / 8;
    const step = least < 0.5 ? undefined : (STEPS.find((seconds) => seconds >= least) ?? Math.ceil(least / 86400) * 86400);
    const time = { type: "linear", min: 0, max: Math.max(data.seconds, 0.001), ticks: { callback: clock, maxRotation: 0, autoSkipPadding: 16, includeBounds: false, stepSize: step } };

    add("timeline", (canvas) => {
      const labels = data.lanes.map((_, place) => lane(place));
      canvas.parentElement.style.height = `${labels.length * (labels.length > 32 ? 14 : 22) + 90}px`;
      const kinds = Object.keys(COLOURS).filter((kind) => data.bars.some((bar) => bar.result === kind));
      const datasets = kinds.map((kind) => ({
        label: MEANINGS[kind],
        backgroundColor: COLOURS[kind],
        borderColor: colour("--paper"),
        // Neighbours are told apart.
        borderWidth: data.bars.length > 1000 ? 0 : 1,
        borderSkipped: false,
        grouped: false,
        minBarLength: 2,
        barPercentage: 0.9,
        categoryPercentage: 0.95,
        data: data.bars.filter((bar) => bar.result === kind).map((bar) => ({ x: [bar.from, bar.to], y: labels[bar.lane], bar })),
      }));
      const about = ({ raw: { bar } }) => {
        const what = bar.launches === 1 ? `${bar.kind} ${bar.launch}: ${MEANINGS[bar.result]}` : `${number(bar.launches)} launches, the worst: ${MEANINGS[bar.result]}`;
        const lines = [what, `from ${clock(bar.from)}, took ${took(bar.to - bar.from)}`, `${number(bar.entries)} entries, ${bytes(bar.bytes)}`];
        if (bar.code !== undefined && bar.code !== null) lines[0] += ` (code ${bar.code})`;
        if (bar.first !== undefined) lines.push(bar.first);
        return lines;
      };
      return {
        type: "bar",
        data: { labels, datasets },
        options: {
          indexAxis: "y",
          scales: { x: time, y: { type: "category", labels, ticks: { autoSkip: labels.length > 64 }, grid: { display: false } } },
          plugins: { legend: { position: "bottom", labels: { boxWidth: 12 } }, tooltip: { callbacks: { label: about, title: ([item]) => item.label } } },
        },
      };
    });

    // Round numbers in the largest unit that fits.
    const most = Math.max(...data.points.map((point) => point.bytes ?? 0), 1);
    const unit = Math.min(Math.floor(Math.log(most) / Math.log(1024)), UNITS.length - 1);
    const scaled = (point) => (point.bytes === null ? null : point.bytes / 1024 ** unit);
    const line = (id, of, shown, title) => add(id, () => ({
      type: "line",
      data: { datasets: [{ data: data.points.map((point) => ({ x: point.at, y: of(point) })), borderColor: COLOURS.done, backgroundColor: `${COLOURS.done}33`, borderWidth: 1.5, pointRadius: data.points.length > 60 ? 0 : 2, pointHitRadius: 8, fill: true, stepped: id === "running" ? "before" : false }] },
      options: {
        interaction: { mode: "nearest", axis: "x", intersect: false },
        scales: { x: time, y: { beginAtZero: true, ticks: { precision: id === "running" ? 0 : undefined, callback: (value) => number(value, value < 10 && id === "bytes" ? 1 : 0), maxTicksLimit: 7 }, title: { display: true, text: title } } },
        plugins: { legend: { display: false }, tooltip: { callbacks: { title: ([item]) => clock(item.parsed.x), label: (item) => shown(data.points[item.dataIndex]) } } },
      },
    }));
    line("bytes", scaled, (point) => `${bytes(point.bytes)}/s`, `${UNITS[unit]}/s`);
    line("entries", (point) => point.entries, (point) => `${number(point.entries)} entries a second`, "entries/s");
    line("running", (point) => point.running, (point) => `${number(point.running)} rsyncs`, "rsyncs");

    add("lengths", () => ({
      type: "bar",
      data: { labels: data.lengths.map(([edge]) => `≤ ${edge} s`), datasets: [{ data: data.lengths.map(([, count]) => count), backgroundColor: COLOURS.done }] },
      options: {
        scales: { x: { grid: { display: false } }, y: { beginAtZero: true, ticks: { precision: 0, callback: (value) => number(value) }, title: { display: true, text: "launches" } } },
        plugins: { legend: { display: false }, tooltip: { callbacks: { label: (item) => `${number(item.parsed.y)} launches` } } },
      },
    }));
  });
})();
