"use strict";

// Tables that are cut say so; everything is printed.
(function () {
  const mark = () => document.querySelectorAll(".wide").forEach((one) => {
    const inner = one.querySelector(".scroll");
    const cut = inner.scrollWidth > inner.clientWidth + 1;
    one.classList.toggle("cut", cut);
    if (cut) inner.setAttribute("tabindex", "0");
    else inner.removeAttribute("tabindex");
  });
  const details = document.querySelectorAll("details");
  details.forEach((one) => one.addEventListener("toggle", mark));
  addEventListener("resize", mark);
  addEventListener("beforeprint", () => details.forEach((one) => { one.open = true; }));
  mark();
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
  systems.forEach((one) => one.runs.forEach((run) => {
    run.errors = run.heard.map((heard) => count(heard, "S") + count(heard, "D") + count(heard, "I"));
  }));

  // The chosen run, and the baseline's run with the same seed, or its first.
  let chosen, system, baseline;
  const choose_run = () => {
    chosen = systems[Number(find("system").value)];
    system = chosen.runs[Number(find("seed").value)] || chosen.runs[0];
    baseline = systems[0].runs.find((run) => run.seed === system.seed) || systems[0].runs[0];
  };
  const named = (one, run) => one.name + (one.runs.length > 1 ? `, ${run.seed === null ? "no seed" : "seed " + run.seed}` : "");
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
  const offer_seeds = () => {
    const { runs } = systems[Number(find("system").value)];
    find("seed").replaceChildren();
    choose("seed", runs.map((run, n) => [String(n), run.seed === null ? "none" : String(run.seed)]));
    find("seed-label").hidden = runs.length < 2;
  };
  offer_seeds();
  find("system").addEventListener("change", offer_seeds);
  choose("kind", Object.entries(kinds).map(([value, [text]]) => [value, text]));
  choose("age", ages.map((age) => [age, age]));
  choose("speaker", [...new Set(utterances.map((one) => one.speaker))].sort().map((one) => [one, one]));
  choose("order", Object.entries(orders).map(([value, [text]]) => [value, text]));

  const titles = { S: (said, got) => `substitution: ${said} → ${got}`, D: () => "deletion", I: () => "insertion" };
  const line = (name, heard) => {
    const row = element("div", undefined, "heard");
    row.append(element("b", name), " ");
    heard.forEach(([letter, said, got]) => {
      const part = element({ D: "del", I: "ins" }[letter] || "span", undefined, letter === "=" ? "" : letter);
      if (letter === "S") part.append(element("del", said), got);
      else part.textContent = letter === "D" ? said : got;
      if (letter !== "=") part.title = titles[letter](said, got);
      row.append(part, " ");
    });
    return row;
  };
  const plain = (name, text) => {
    const row = element("div", undefined, "heard");
    row.append(element("b", name), " ", text);
    return row;
  };
  const card = (n) => {
    const { id, speaker, age, words, audio, reference } = utterances[n];
    const item = element("li");
    const errors = system.errors[n];
    const changed = several ? ", baseline " + baseline.errors[n] : "";
    item.append(element("div", `${id} · speaker ${speaker} · age ${age} · ${errors} of ${words} words wrong${changed}` +
      (system.runaway[n] ? " · runaway repetition" : ""), "facts"));
    const lines = [[several ? named(chosen, system) : "hypothesis", system]];
    if (several) lines.unshift([named(systems[0], baseline), baseline]);
    item.append(plain("reference", reference), ...lines.map(([name, run]) => line(name, run.heard[n])));
    if (lines.some(([, run]) => run.raw[n])) {
      const details = element("details");
      details.append(element("summary", "before normalization"), ...lines.map(([name, run]) => plain(name, run.raw[n])));
      item.append(details);
    }
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
    choose_run();
    const text = find("text").value.trim().toLowerCase();
    const age = find("age").value, speaker = find("speaker").value;
    const holds = (n) => {
      const one = utterances[n];
      if ((age && one.age !== age) || (speaker && one.speaker !== speaker) || !kinds[find("kind").value][1](n)) return false;
      return !text || one.id.toLowerCase().includes(text) || one.reference.toLowerCase().includes(text) ||
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
