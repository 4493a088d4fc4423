
"use strict";
const $ = id => document.getElementById(id);
const answer = $("answer"), detail = $("detail");
let running = null, tokens = [], text = "", current = 0;

// Everything is set as text: nothing that a model or a manifest says becomes markup.
function made(name, content = "", className = "") {
  const element = document.createElement(name);
  element.textContent = content;
  if (className) element.className = className;
  return element;
}

function percent(logprob) {
  const share = Math.exp(logprob) * 100;
  return (share >= 9.95 ? share.toFixed(0) : share >= 0.01 ? share.toPrecision(2) : "<0.01") + " %";
}

// A token as a person can tell it from another: with its spaces and line ends visible.
function visible(token) {
  return token.replace(/ /g, "\u00b7").replace(/\n/g, "\u21b5").replace(/\t/g, "\u2192") || "(no text)";
}

function headers() {
  const found = {"content-type": "application/json"};
  const key = $("key").value.trim();
  if (key) found.authorization = "Bearer " + key;
  return found;
}

async function refusal(response) {
  if (response.status === 401) {
    $("key-row").hidden = false;
    $("key").focus();
  }
  try {
    return (await response.json()).error.message;
  } catch {
    return "the server answered with status " + response.status;
  }
}

function fail(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

function request() {
  const number = id => Number($(id).value);
  const body = {
    prompt: $("prompt").value, stream: true, logprobs: 5, stream_options: {include_usage: true},
    max_tokens: number("max_tokens"), temperature: number("temperature"), top_p: number("top_p"),
    top_k: number("top_k"), min_p: number("min_p"),
  };
  if ($("seed").value !== "") body.seed = number("seed");
  if ($("stop").value !== "") body.stop = [$("stop").value];
  return body;
}

// Server-sent events, as they come.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      if (!part.startsWith("data: ")) continue;
      const data = part.slice(6);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

function show(choice) {
  const from = text.length, found = choice.logprobs;
  text += choice.text;
  const starts = found ? found.text_offset : [];
  // What comes before the first new token belongs to the last one, whose text was held back.
  const before = text.slice(from, starts.length ? Math.max(starts[0], from) : text.length);
  if (before && tokens.length) tokens[tokens.length - 1].element.textContent += before;
  else if (before) answer.append(before);
  starts.forEach((start, index) => {
    const end = index + 1 < starts.length ? starts[index + 1] : text.length;
    const written = text.slice(Math.max(start, from), end);
    // A line end takes no room, and no pointer would find it.
    const element = made("span", written, /^\n+$/.test(written) ? "token line-end" : "token");
    const logprob = found.token_logprobs[index];
    element.style.setProperty("--surprise", Math.min(1, Math.max(0, -logprob / 6)).toFixed(3));
    element.tabIndex = tokens.length ? -1 : 0;
    element.dataset.index = tokens.length;
    const token = {element, text: found.tokens[index], logprob, top: found.top_logprobs[index] || {}};
    tokens.push(token);
    answer.append(element);
  });
}

function explain(index) {
  const token = tokens[index];
  if (!token) return;
  const says = made("p");
  says.append(made("code", visible(token.text)), " had a probability of " + percent(token.logprob));
  const list = made("ul");
  Object.entries(token.top).sort((a, b) => b[1] - a[1]).slice(0, 5).forEach(([name, logprob]) => {
    const row = made("li"), bar = made("span", "", "bar"), fill = made("i");
    fill.style.width = Math.exp(logprob) * 100 + "%";
    bar.setAttribute("aria-hidden", "true");
    bar.append(fill);
    row.append(made("code", visible(name)), bar, made("span", percent(logprob)));
    list.append(row);
  });
  detail.replaceChildren(says, list);
  detail.hidden = false;
}

function select(index) {
  tokens[current].element.tabIndex = -1;
  current = Math.min(Math.max(index, 0), tokens.length - 1);
  tokens[current].element.tabIndex = 0;
  tokens[current].element.focus();
}

function measure(started, first, last, count) {
  $("first").textContent = first ? (first - started).toFixed(0) + " ms" : "\u2013";
  const seconds = (last - first) / 1000;
  $("rate").textContent = count > 1 && seconds > 0
    ? ((count - 1) / seconds).toFixed(1) + " tokens/s" : "\u2013";
  $("count").textContent = count || "\u2013";
}

async function generate() {
  if (running) return;
  fail("");
  tokens = [];
  text = "";
  current = 0;
  detail.hidden = true;
  answer.replaceChildren(made("span", $("prompt").value, "given"));
  answer.setAttribute("aria-busy", "true");
  $("generate").disabled = true;
  $("cancel").disabled = false;
  $("speed").hidden = false;
  $("reason").textContent = "\u2013";
  $("status").textContent = "Generating \u2026";
  running = new AbortController();
  const started = performance.now();
  let first = 0, last = 0, reason = "", count = 0;
  try {
    const response = await fetch("/v1/completions", {
      method: "POST", headers: headers(), body: JSON.stringify(request()), signal: running.signal,
    });
    if (!response.ok) throw new Error(await refusal(response));
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      for (const choice of event.choices) {
        show(choice);
        last = performance.now();
        first = first || last;
        reason = choice.finish_reason || reason;
      }
      count = event.usage ? event.usage.completion_tokens : tokens.length;
      measure(started, first, last, count);
    }
    if (!reason) throw new Error("the answer broke off");
    $("reason").textContent = reason === "length" ? "its length" : "a stop";
    $("status").textContent = "Done: " + count + " tokens.";
  } catch (error) {
    const stopped = error.name === "AbortError";
    $("reason").textContent = stopped ? "you" : "an error";
    $("status").textContent = stopped ? "Stopped." : "";
    if (!stopped) fail(error.message);
  } finally {
    running = null;
    answer.setAttribute("aria-busy", "false");
    $("generate").disabled = false;
    $("cancel").disabled = true;
  }
}

function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) { count /= 1000; unit += 1; }
  return (unit ? count.toFixed(1) : count) + " " + units[unit];
}

function row(name, lines, className = "") {
  const group = made("div"), value = made("dd", "", className);
  lines.filter(Boolean).forEach((line, index) => {
    if (index) value.append(document.createElement("br"));
    value.append(line);
  });
  group.append(made("dt", name), value);
  return group;
}

function link(address, words) {
  if (!/^https?:\/\//.test(address || "")) return words;
  const found = made("a", words);
  found.href = address;
  found.rel = "noreferrer";
  return found;
}

function provenance(found) {
  document.title = found.model + " \u00b7 grokdist";
  $("model").textContent = found.title || found.model;
  $("notice").textContent = found.notice;
  const rows = [];
  if (!found.verified) {
    rows.push(row("Verified", ["Nothing vouches for these bytes."], "bad"));
  } else {
    const {verified, license, openness, signed_by: signed} = found;
    if (found.altered) rows.push(row("Altered", [found.altered], "bad"));
    rows.push(row("Publisher", [found.publisher, found.revision && "revision " + found.revision]));
    rows.push(row("Licence", [link(license.evidence, license.expression), license.name]));
    rows.push(row("Openness", [openness.headline, openness.class,
      "Open Source AI Definition: " + openness.osaid]));
    rows.push(row("Verified", [verified.at, verified.how,
      verified.files + " files, " + bytes(verified.bytes)]));
    rows.push(row("Signed by", signed.root_sha256
      ? [signed.registry + " registry: " + signed.keyids.length + " signatures, " +
         signed.threshold + " required", made("code", "root " + signed.root_sha256.slice(0, 16)),
         signed.expired && "its time has expired"]
      : ["nobody: the manifest was given as a file"], signed.root_sha256 ? "" : "bad"));
    rows.push(row("What that means", [found.role + ": " + found.statement]));
    rows.push(row("Fetched from", [...found.sources.map(s => s.name + ": " + bytes(s.bytes)),
      found.fetched]));
    rows.push(row("Manifest", [made("code", "sha256 " + found.manifest_sha256)]));
  }
  $("provenance").replaceChildren(...rows);
}

async function load() {
  try {
    const response = await fetch("/provenance", {headers: headers()});
    if (!response.ok) throw new Error(await refusal(response));
    provenance(await response.json());
  } catch (error) {
    $("provenance").replaceChildren(row("Provenance", [error.message], "bad"));
  }
}

$("form").addEventListener("submit", event => { event.preventDefault(); generate(); });
$("cancel").addEventListener("click", () => running && running.abort());
$("key").addEventListener("change", load);
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && running) running.abort();
  if (event.key === "Enter" && event.ctrlKey) $("form").requestSubmit();
});
answer.addEventListener("keydown", event => {
  const moves = {ArrowRight: current + 1, ArrowDown: current + 1, ArrowLeft: current - 1,
    ArrowUp: current - 1, Home: 0, End: tokens.length - 1};
  if (!(event.key in moves) || !tokens.length) return;
  event.preventDefault();
  select(moves[event.key]);
});
for (const kind of ["mouseover", "focusin"]) {
  answer.addEventListener(kind, event => {
    if (event.target.dataset.index === undefined) return;
    if (kind === "focusin") {
      tokens[current].element.tabIndex = -1;
      current = Number(event.target.dataset.index);
      event.target.tabIndex = 0;
    }
    explain(Number(event.target.dataset.index));
  });
}
load();
