// Draws the charts of a Sluice report from the summary embedded in the page. Tables carry every figure without it.
(() => {
  "use strict";
  const summary = JSON.parse(document.getElementById("summary").textContent);
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---- numbers, as the rest of the page writes them
  const trim = (value, digits) => String(Number(value.toFixed(digits)));
  const ms = (v) => {
    if (v === 0) return "0";
    const size = Math.abs(v);
    if (size < 0.001) return trim(v * 1e6, 0) + "ns";
    if (size < 1) return trim(v * 1e3, size < 0.01 ? 1 : 0) + "µs";
    if (size < 1000) return trim(v, size < 10 ? 2 : size < 100 ? 1 : 0) + "ms";
    if (size < 60000) return trim(v / 1000, 2) + "s";
    return clock(v / 1000);
  };
  const number = (v) => {
    const size = Math.abs(v);
    if (size >= 1e6) return trim(v / 1e6, 2) + "M";
    if (size >= 1e4) return trim(v / 1e3, 1) + "k";
    return trim(v, size < 10 ? 2 : size < 100 ? 1 : 0);
  };
  const clock = (s) => {
    s = Math.round(s);
    const two = (n) => String(n).padStart(2, "0");
    if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)}`;
    return `${Math.floor(s / 3600)}:${two(Math.floor((s % 3600) / 60))}:${two(s % 60)}`;
  };
  const bytes = (v) => {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let unit = 0;
    while (Math.abs(v) >= 999.5 && unit + 1 < units.length) { v /= 1000; ++unit; }
    return trim(v, Math.abs(v) < 10 ? 1 : 0) + " " + units[unit];
  };
  const percent = (v) => trim(v, v < 10 ? 1 : 0) + "%";
  const watts = (v) => trim(v, 0) + " W";
  const byUnit = (unit) => (unit === "ms" ? ms : number);

  // ---- one legend for all charts: values beneath the cursor, else nothing but the names
  const legend = (element, entries) => {
    const list = document.createElement("ul");
    list.className = "legend";
    const cells = entries.map(({label, stroke, dash}) => {
      const item = document.createElement("li");
      const line = document.createElement("i");
      line.style.borderTopColor = stroke();
      line.style.borderTopStyle = dash ? "dashed" : "solid";
      const value = document.createElement("b");
      item.append(line, label + " ", value);
      list.append(item);
      return {line, value, stroke};
    });
    element.after(list);
    return {
      show: (texts) => cells.forEach((cell, i) => (cell.value.textContent = texts[i] ?? "")),
      repaint: () => cells.forEach((cell) => (cell.line.style.borderTopColor = cell.stroke())),
    };
  };

  const font = "12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  const axis = (extra) => ({
    font,
    stroke: () => color("--soft"),
    grid: {stroke: () => color("--line"), width: 1},
    ticks: {show: false},
    ...extra,
  });

  const plots = [];
  const draw = (element, options, data, entries, texts, sync) => {
    const label = legend(element, entries);
    const width = () => Math.max(element.clientWidth, 200);
    const plot = new uPlot(
      {
        width: width(), height: 210, legend: {show: false},
        cursor: {drag: {x: false, y: false}, points: {size: 6}, ...(sync ? {sync: {key: sync, setSeries: false}} : {})},
        hooks: {setCursor: [(u) => label.show(u.cursor.idx == null ? [] : texts(u.cursor.idx))]},
        ...options,
      },
      data, element);
    new ResizeObserver(() => plot.setSize({width: width(), height: 210})).observe(element);
    plots.push(() => { label.repaint(); plot.redraw(false, true); });
  };

  // ---- over time
  const points = summary.series;
  const seconds = points.map((p) => p.t_s);
  const column = (name) => points.map((p) => p[name] ?? null);
  // Where a kind of value is rare, single points stand alone: they need a dot to be seen.
  const lonely = (values) => values.some((v, i) => v != null && values[i - 1] == null && values[i + 1] == null);

  const overTime = (id, lines) => {
    const element = document.getElementById(id);
    if (!element) return;
    const scales = {x: {time: false}};
    const axes = [axis({values: (u, ticks) => ticks.map(clock), space: 60, size: 30})];
    for (const line of lines) {
      const scale = line.scale ?? "y";
      if (scales[scale]) continue;
      scales[scale] = {range: line.range ?? ((u, low, high) => [0, high > 0 ? high * 1.08 : 1])};
      axes.push(axis({
        scale, size: 58, side: scale === "y" ? 3 : 1, values: (u, ticks) => ticks.map(line.format),
        grid: {show: scale === "y", stroke: () => color("--line"), width: 1},
      }));
    }
    const data = [seconds, ...lines.map((line) => column(line.name))];
    const entries = lines.map((line) => ({label: line.label, dash: line.dash, stroke: () => color(line.color)}));
    draw(element, {
      scales, axes,
      series: [{}, ...lines.map((line, i) => ({
        scale: line.scale ?? "y", stroke: () => color(line.color), width: line.width ?? 1.5, dash: line.dash,
        spanGaps: false, points: {show: lonely(data[i + 1]), size: 4},
        paths: line.stepped ? uPlot.paths.stepped({align: 1}) : undefined,
      }))],
    }, data, entries, (i) => lines.map((line, k) => {
      const value = data[k + 1][i];
      return value == null ? "–" : line.format(value);
    }), "time");  // what happened at the instant pointed at, in every chart
  };
  overTime("chart-latency", [
    {name: "duration_p50_ms", label: "p50", color: "--accent-soft", format: ms},
    {name: "duration_p95_ms", label: "p95", color: "--accent", format: ms, width: 2},
    {name: "duration_p99_ms", label: "p99", color: "--second", format: ms, dash: [5, 4]},
  ]);
  overTime("chart-ttft", [
    {name: "ttft_p50_ms", label: "p50", color: "--accent-soft", format: ms},
    {name: "ttft_p95_ms", label: "p95", color: "--accent", format: ms, width: 2},
  ]);
  overTime("chart-load", [
    {name: "requests_per_s", label: "requests/s", color: "--accent", format: number, width: 2},
    {name: "failures_per_s", label: "failures/s", color: "--bad", format: number, dash: [5, 4]},
    {name: "vus", label: "VUs (right)", color: "--third", format: number, scale: "vus", stepped: true},
  ]);
  overTime("chart-tokens", [
    {name: "output_tokens_per_s", label: "output tokens/s", color: "--accent", format: number, width: 2},
    {name: "gap_p95_ms", label: "chunk gap p95 (right)", color: "--second", format: ms, scale: "gap", dash: [5, 4]},
  ]);

  // The engine beside the run and its GPU: on the same axis of time as the latencies.
  const wholeShare = () => [0, 100];
  overTime("chart-gpu", [
    {name: "gpu_utilization_percent", label: "GPU use", color: "--accent", format: percent, width: 2, range: wholeShare},
    {name: "gpu_power_w", label: "power (right)", color: "--second", format: watts, scale: "power", dash: [5, 4]},
  ]);
  overTime("chart-gpu-memory", [
    {name: "gpu_memory_bytes", label: "memory in use", color: "--accent", format: bytes, width: 2},
    {name: "gpu_clock_mhz", label: "clock, MHz (right)", color: "--third", format: number, scale: "clock", dash: [5, 4]},
  ]);
  overTime("chart-kv", [
    {name: "kv_cache_usage_percent", label: "KV cache held", color: "--accent", format: percent, width: 2, range: wholeShare},
    {name: "engine_preemptions", label: "preemptions (right)", color: "--bad", format: number, scale: "preemptions", dash: [5, 4],
      range: (u, low, high) => [0, Math.max(high * 1.08, 5)]},
  ]);
  overTime("chart-engine", [
    {name: "engine_running", label: "running", color: "--accent", format: number, width: 2},
    {name: "engine_queued", label: "queued", color: "--second", format: number, dash: [5, 4]},
  ]);

  // ---- histograms: a bar stands between two ticks, which are its edges
  for (const histogram of summary.histograms) {
    const element = document.getElementById("histogram-" + histogram.metric);
    if (!element) continue;
    const format = byUnit(histogram.unit);
    const buckets = histogram.buckets;
    const all = buckets.reduce((sum, bucket) => sum + bucket.count, 0);
    const edge = (i) => (i < buckets.length ? buckets[i].from : buckets[buckets.length - 1].to);
    draw(element, {
      scales: {x: {time: false, range: [0, buckets.length]}, y: {range: (u, low, high) => [0, high > 0 ? high * 1.05 : 1]}},
      axes: [
        axis({
          space: 56, size: 30, incrs: [1, 2, 4, 5, 8, 10, 20, 50], grid: {show: false},
          values: (u, ticks) => ticks.map((i) => (Number.isInteger(i) && i <= buckets.length ? format(edge(i)) : "")),
        }),
        axis({size: 58, values: (u, ticks) => ticks.map(number)}),
      ],
      series: [{}, {
        stroke: () => color("--accent"), fill: () => color("--accent-soft"), width: 1, points: {show: false},
        paths: uPlot.paths.bars({size: [0.92, 100], align: 1}),
      }],
    }, [buckets.map((_, i) => i), buckets.map((bucket) => bucket.count)],
    [{label: "samples", stroke: () => color("--accent")}],
    (i) => [`${format(buckets[i].from)} to ${format(buckets[i].to)}: ${buckets[i].count} (${trim((100 * buckets[i].count) / all, 1)}%)`]);
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach((repaint) => repaint()));
  document.documentElement.dataset.charts = String(plots.length);
})();
