"use strict";
(() => {
  const POLL_SECONDS = 2;
  const POINTS = 60;
  const WINDOW_POLLS = 5;
  const SHOWN_ELEMENTS = 200;
  const ROW = 32;
  const TOP = 5;
  const SVG = "http://www.w3.org/2000/svg";

  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);

  // All text goes in as text nodes: nothing that a model or a server says is ever parsed as HTML.
  const node = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const drawn = (name, attributes, text) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const milliseconds = (seconds) => {
    const value = seconds * 1000;
    return `${value >= 100 ? value.toFixed(0) : value.toPrecision(2)}\u00a0ms`;
  };

  // Requests

  const call = async (path, options) => {
    const started = performance.now();
    const response = await fetch(path, options);
    const text = await response.text();
    const took = (performance.now() - started) / 1000;
    let content;
    try {
      content = JSON.parse(text);
    } catch {
      throw new Error(`The server answered ${response.status} with something that is not JSON.`);
    }
    if (!response.ok) throw new Error(content.error ?? `The server answered ${response.status}.`);
    return { content, took };
  };

  const problem = (error) =>
    node("p", { className: "error" }, error instanceof TypeError ? "The server cannot be reached." : error.message);

  // Images

  const chance = ({ label, probability }, named) => {
    const bar = node("i");
    bar.style.width = `${(100 * probability).toFixed(1)}%`;
    const row = node("div", { className: "chance" });
    if (named) row.append(node("span", { className: "name" }, label));
    row.append(
      node("span", { className: "track" }, bar),
      node("span", { className: "value" }, `${(100 * probability).toFixed(1)} %`),
    );
    return row;
  };

  const prediction = (file, answer) => {
    const image = node("img", { src: URL.createObjectURL(file), alt: file.name });
    image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth < 64));
    const classes = answer.top ?? [answer];
    const text = node("div", {}, node("h3", {}, answer.label));
    text.append(...classes.map((item) => chance(item, classes.length > 1)));
    return node("div", { className: "prediction" }, image, text);
  };

  const predict = async (files) => {
    const target = byId("predictions");
    const form = new FormData();
    for (const file of files) form.append("image", file);
    try {
      const { content, took } = await call(`predict?top_k=${TOP}`, { method: "POST", body: form });
      const answers = content.predictions ?? [content];
      const shown = answers.map((answer, index) => prediction(files[index], answer));
      target.replaceChildren(...shown, node("p", { className: "took" }, `Answered in ${milliseconds(took)}`));
    } catch (error) {
      target.replaceChildren(problem(error));
    }
  };

  const connectImages = () => {
    const drop = byId("drop");
    byId("file").addEventListener("change", (event) => {
      if (event.target.files.length) predict([...event.target.files]);
      event.target.value = "";
    });
    for (const name of ["dragover", "dragenter"]) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.add("over");
      });
    }
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      if (event.dataTransfer.files.length) predict([...event.dataTransfer.files]);
    });
    const panes = ["image", "json"];
    for (const pane of panes) {
      byId(`tab-${pane}`).addEventListener("click", () => {
        for (const other of panes) {
          byId(`tab-${other}`).setAttribute("aria-selected", String(other === pane));
          byId(`pane-${other}`).hidden = other !== pane;
        }
      });
    }
  };

  // JSON

  const elements = ({ shape, data: sample }) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const written = Array.from({ length: count }, (_, index) => JSON.stringify(sample[index % sample.length]));
    const rows = [];
    for (let start = 0; start < count; start += ROW) rows.push(written.slice(start, start + ROW).join(", "));
    return rows.length > 1 ? `[\n      ${rows.join(",\n      ")}\n    ]` : `[${rows.join("")}]`;
  };

  const example = () => {
    const inputs = data.inputs.map((input) => {
      const fields = ["name", "shape", "datatype"].map((key) => `    "${key}": ${JSON.stringify(input[key])}`);
      return `  {\n${fields.join(",\n")},\n    "data": ${elements(input)}\n  }`;
    });
    return `{"inputs": [\n${inputs.join(",\n")}\n]}`;
  };

  const shortened = (answer) => {
    const outputs = (answer.outputs ?? []).map((output) => {
      const more = (output.data ?? []).length - SHOWN_ELEMENTS;
      return more > 0 ? { ...output, data: [...output.data.slice(0, SHOWN_ELEMENTS), `… ${more} more`] } : output;
    });
    return { ...answer, outputs };
  };

  const pretty = (value) =>
    JSON.stringify(value, null, 2).replace(/\[\s+([^[\]{}]*?)\s+\]/g, (_, inside) => `[${inside.replace(/\s+/g, " ")}]`);

  const infer = async () => {
    const target = byId("answer");
    byId("send").disabled = true;
    try {
      const { content, took } = await call(`v2/models/${encodeURIComponent(data.model)}/infer`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: byId("request").value,
      });
      target.replaceChildren(
        node("pre", {}, pretty(shortened(content))),
        node("p", { className: "took" }, `Answered in ${milliseconds(took)}`),
      );
    } catch (error) {
      target.replaceChildren(problem(error));
    } finally {
      byId("send").disabled = false;
    }
  };

  // Live latency

  const snapshots = [];
  const history = [];

  const read = (text) => {
    const buckets = new Map();
    let count = 0;
    for (const line of text.split("\n")) {
      const match = /^edgemodel_request_duration_seconds_(bucket|count)\{(.*)\} (\S+)$/.exec(line);
      if (!match) continue;
      const [, kind, labels, value] = match;
      if (kind === "count") count += Number(value);
      else if (/code="2/.test(labels) || /code="OK"/.test(labels)) {
        const bound = /le="([^"]*)"/.exec(labels)[1];
        const upper = bound === "+Inf" ? Infinity : Number(bound);
        buckets.set(upper, (buckets.get(upper) ?? 0) + Number(value));
      }
    }
    return { time: performance.now() / 1000, count, buckets };
  };

  const quantile = (share, first, last) => {
    const bounds = [...last.buckets.keys()].sort((a, b) => a - b);
    const counts = bounds.map((bound) => last.buckets.get(bound) - (first.buckets.get(bound) ?? 0));
    const total = counts.at(-1) ?? 0;
    if (total <= 0) return null;
    const rank = share * total;
    const index = counts.findIndex((count) => count >= rank);
    const [lower, below] = index > 0 ? [bounds[index - 1], counts[index - 1]] : [0, 0];
    if (bounds[index] === Infinity) return lower;
    return lower + ((bounds[index] - lower) * (rank - below)) / (counts[index] - below);
  };

  const ceiling = (value) => {
    const magnitude = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 5, 10].map((factor) => factor * magnitude).find((round) => round >= value);
  };

  const draw = () => {
    const chart = byId("live-chart");
    const [left, right, top, bottom] = [46, 352, 12, 146];
    const highest = Math.max(...history.map((point) => point.p95 ?? 0));
    const limit = ceiling(Math.max(highest, 0.001));
    const x = (index) => right - ((history.length - 1 - index) * (right - left)) / (POINTS - 1);
    const y = (seconds) => bottom - (seconds / limit) * (bottom - top);
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const height = y(share * limit);
      parts.push(drawn("line", { class: "grid", x1: left, x2: right, y1: height, y2: height }));
      const text = share ? `${+(share * limit * 1000).toPrecision(3)} ms` : "0";
      parts.push(drawn("text", { x: left - 6, y: height + 4, "text-anchor": "end" }, text));
    }
    parts.push(drawn("text", { x: left, y: 164 }, "2 min ago"));
    parts.push(drawn("text", { x: right, y: 164, "text-anchor": "end" }, "now"));
    for (const name of ["p50", "p95"]) {
      let run = [];
      const flush = () => {
        if (run.length === 1) parts.push(drawn("circle", { class: name, cx: run[0][0], cy: run[0][1], r: 2 }));
        if (run.length > 1) parts.push(drawn("polyline", { class: name, points: run.map((at) => at.join(",")).join(" ") }));
        run = [];
      };
      history.forEach((point, index) => {
        if (point[name] === null) flush();
        else run.push([x(index).toFixed(1), y(point[name]).toFixed(1)]);
      });
      flush();
    }
    chart.replaceChildren(...parts);
  };

  const show = (state, className) => {
    const label = byId("state");
    label.textContent = state;
    label.className = `state ${className}`;
  };

  const poll = async () => {
    if (document.hidden) return;
    let latest;
    try {
      const [ready, metrics] = await Promise.all([
        fetch("v2/health/ready"),
        fetch("metrics"),
      ]);
      if (ready.ok) show("Ready", "");
      else if (ready.status === 503) show("Not ready", "waiting");
      if (!metrics.ok) {
        byId("live-note").textContent = "Metrics are not offered on this port.";
        return;
      }
      latest = read(await metrics.text());
    } catch {
      show("Not reachable", "lost");
      return;
    }
    if (snapshots.length && latest.count < snapshots.at(-1).count) snapshots.length = 0;
    snapshots.push(latest);
    if (snapshots.length > WINDOW_POLLS + 1) snapshots.shift();
    const first = snapshots[0];
    const seconds = latest.time - first.time;
    const point = { p50: quantile(0.5, first, latest), p95: quantile(0.95, first, latest) };
    if (seconds > 0) {
      history.push(point);
      if (history.length > POINTS) history.shift();
      const rate = (latest.count - first.count) / seconds;
      byId("live-rate").textContent = rate >= 10 ? rate.toFixed(0) : rate.toFixed(1);
      for (const name of ["p50", "p95"]) byId(`live-${name}`).textContent = point[name] === null ? "–" : milliseconds(point[name]);
    }
    draw();
  };

  const request = byId("request");
  request.value = example();
  byId("reset").addEventListener("click", () => (request.value = example()));
  byId("send").addEventListener("click", infer);
  if (byId("drop")) connectImages();
  draw();
  const again = () => poll().finally(() => setTimeout(again, POLL_SECONDS * 1000));
  again();
})();
