"use strict";

// Charts (plotly) in the page's colours, light or dark.
(function () {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    const text = style.getPropertyValue("--text").trim();
    const line = style.getPropertyValue("--line").trim();
    document.querySelectorAll(".chart").forEach((place) => {
      const figure = JSON.parse(place.nextElementSibling.textContent);
      figure.data.filter((trace) => trace.type === "bar").forEach((trace) => { trace.error_y.color = text; });
      const layout = Object.assign({}, figure.layout, {
        template: {}, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: text, size: 13 },
        margin: { t: 20, r: 15, b: 50, l: 10 }, hovermode: "closest",
        colorway: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999"],
        legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
      });
      Object.keys(layout).filter((key) => /^[xy]axis/.test(key)).forEach((key) => {
        layout[key] = Object.assign({}, layout[key], { gridcolor: line, zerolinecolor: line, automargin: true });
      });
      Plotly.react(place, figure.data, layout, { responsive: true, displayModeBar: false });
    });
  };
  if (document.querySelector(".chart")) {
    draw();
    dark.addEventListener("change", draw);
    document.querySelectorAll("details").forEach((one) => addEventListener("beforeprint", () => { one.open = true; }));
  }
})();

// The error browser. Data is inserted as text only.
(function () {
  const source = document.getElementById("browser-data");
  if (!source) return;
  const { utterances, systems, ages, total } = JSON.parse(source.textContent);
  const several = systems.length > 1;
  const find = (id) => document.getElementById(id);
  const element = (tag, text, name) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  };
  const choose = (id, choices) => choices.forEach(([value, text]) => {
    const option = element("option", text);
    option.value = value;
    find(id).append(option);
  });

  const length = (words) => (words ? words.split(" ").length : 0);
  const count = (heard, letter) => heard.filter((part) => part[0] === letter)
    .reduce((sum, part) => sum + Math.max(length(part[1]), length(part[2])), 0);
  systems.forEach((system) => {
    system.errors = system.heard.map((heard) => count(heard, "S") + count(heard, "D") + count(heard, "I"));
  });

  const baseline = systems[0];
  let system = systems[several ? 1 : 0];
  const kinds = {
    all: ["all", () => true],
    wrong: ["with errors", (n) => system.errors[n] > 0],
    S: ["substitutions", (n) => count(system.heard[n], "S") > 0],
    D: ["deletions", (n) => count(system.heard[n], "D") > 0],
    I: ["insertions", (n) => count(system.heard[n], "I") > 0],
    runaway: ["runaway repetition", (n) => system.runaway[n]],
  };
  if (several) {
    kinds.fixed = ["wrong in the baseline, right here", (n) => baseline.errors[n] > 0 && system.errors[n] === 0];
    kinds.broken = ["right in the baseline, wrong here", (n) => baseline.errors[n] === 0 && system.errors[n] > 0];
    kinds.better = ["fewer errors than the baseline", (n) => system.errors[n] < baseline.errors[n]];
    kinds.worse = ["more errors than the baseline", (n) => system.errors[n] > baseline.errors[n]];
  }
  const rate = (n) => system.errors[n] / Math.max(1, utterances[n].words);
  const orders = {
    errors: ["most errors first", (a, b) => system.errors[b] - system.errors[a]],
    rate: ["highest WER first", (a, b) => rate(b) - rate(a)],
    id: ["by id", (a, b) => (utterances[a].id < utterances[b].id ? -1 : 1)],
  };
  if (several) {
    const change = (n) => system.errors[n] - baseline.errors[n];
    orders.gain = ["most improved first", (a, b) => change(a) - change(b)];
    orders.loss = ["most worsened first", (a, b) => change(b) - change(a)];
  }

  choose("system", systems.slice(several ? 1 : 0).map((one, n) => [String(n + (several ? 1 : 0)), one.name]));
  find("system-label").hidden = !several;
  choose("kind", Object.entries(kinds).map(([value, [text]]) => [value, text]));
  choose("age", ages.map((age) => [age, age]));
  choose("speaker", [...new Set(utterances.map((one) => one.speaker))].sort().map((one) => [one, one]));
  choose("order", Object.entries(orders).map(([value, [text]]) => [value, text]));

  const line = (name, heard) => {
    const row = element("div", undefined, "heard");
    row.append(element("b", name));
    heard.forEach(([letter, said, got]) => {
      const part = element("span", undefined, letter === "=" ? "" : letter);
      if (letter === "S") part.append(element("del", said), got);
      else part.textContent = letter === "D" ? said : got;
      part.title = { S: "reference: " + said + ", hypothesis: " + got, D: "deleted", I: "inserted" }[letter] || "";
      row.append(part, " ");
    });
    return row;
  };
  const card = (n) => {
    const { id, speaker, age, words, audio } = utterances[n];
    const item = element("li");
    const errors = system.errors[n];
    const changed = several ? ", baseline " + baseline.errors[n] : "";
    item.append(element("div", `${id} · speaker ${speaker} · age ${age} · ${errors} of ${words} words wrong${changed}` +
      (system.runaway[n] ? " · runaway repetition" : ""), "facts"));
    if (several) item.append(line(baseline.name, baseline.heard[n]));
    item.append(line(several ? system.name : "", system.heard[n]));
    if (audio) {
      const player = element("audio");
      player.controls = true;
      player.preload = "none";
      player.src = audio;
      item.append(player);
    }
    return item;
  };

  const STEP = 30;
  let shown = [];
  const more = () => {
    const list = find("utterances");
    const from = list.children.length;
    shown.slice(from, from + STEP).forEach((n) => list.append(card(n)));
    find("more").hidden = list.children.length >= shown.length;
  };
  const update = () => {
    system = systems[Number(find("system").value)];
    const text = find("text").value.trim().toLowerCase();
    const age = find("age").value, speaker = find("speaker").value;
    const holds = (n) => {
      const one = utterances[n];
      if ((age && one.age !== age) || (speaker && one.speaker !== speaker) || !kinds[find("kind").value][1](n)) return false;
      return !text || one.id.toLowerCase().includes(text) ||
        system.heard[n].some(([, said, got]) => (said + " " + got).toLowerCase().includes(text));
    };
    shown = utterances.map((_, n) => n).filter(holds).sort(orders[find("order").value][1]);
    const of = total > utterances.length ? `the ${utterances.length} with the most errors of ${total}` : `${total}`;
    find("count").textContent = `${shown.length} of ${of} utterances`;
    find("utterances").replaceChildren();
    more();
  };
  document.querySelectorAll(".filters select").forEach((one) => one.addEventListener("change", update));
  find("text").addEventListener("input", update);
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  find("more").addEventListener("click", more);
  update();
})();
