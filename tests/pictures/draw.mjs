// Draws Grafana dashboards in a browser: runs each panel's own queries on Loki and Prometheus, and draws the answers with ECharts.
// It knows the kinds of panels that our dashboards have, and no more.
//
//   node draw.mjs DASHBOARDS OUT LOKI PROMETHEUS FROM TO     folders, URLs, and seconds since 1970
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [folder, out, loki, prometheus, from, to] = process.argv.slice(2);
// Loki and Prometheus answer with times that are multiples of the step.
const STEP = 10;
const range = { from: Math.ceil(from / STEP) * STEP, to: Math.floor(to / STEP) * STEP };
const WIDTH = 1600;

// Every variable selects everything, as it does when a person opens the dashboard.
function filled(query) {
  return query
    .replaceAll('$__rate_interval', '60s')
    .replaceAll('$__auto', `${STEP}s`)
    .replaceAll('$search', '')
    .replace(/\$\w+/g, '.+');
}

async function get(url, parameters) {
  const answer = await fetch(`${url}?${new URLSearchParams(parameters)}`);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${parameters.query}: ${answer.status} ${text}`);
  return JSON.parse(text).data.result;
}

function legend(format, labels) {
  if (!format) return '';
  return format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '');
}

async function answer(panel, target) {
  const query = filled(target.expr);
  const type = target.datasource?.type ?? panel.datasource?.type;
  const times = { start: range.from, end: range.to, step: STEP };
  if (type === 'loki') {
    const parameters = { query, ...times };
    if (panel.type === 'logs') Object.assign(parameters, { limit: 40, direction: 'backward' });
    return get(`${loki}/loki/api/v1/query_range`, parameters);
  }
  if (panel.type === 'timeseries') return get(`${prometheus}/api/v1/query_range`, { query, ...times });
  return get(`${prometheus}/api/v1/query`, { query, time: range.to });
}

function lines(results) {
  const entries = results.flatMap(({ stream, values }) =>
    values.map(([time, text]) => ({ time: Number(time) / 1e6, text, level: stream.level ?? stream.detected_level ?? '' })));
  return entries.sort((a, b) => b.time - a.time).slice(0, 40);
}

// Bars stand upon each other only if every series has a value at every time.
function filledUp(panel) {
  const bars = panel.fieldConfig?.defaults?.custom?.drawStyle === 'bars';
  return ({ name, points }) => {
    if (!bars) return { name, points };
    const known = new Map(points);
    const times = [];
    for (let time = range.from; time <= range.to; time += STEP) times.push(time * 1000);
    return { name, points: times.map((time) => [time, known.get(time) ?? 0]) };
  };
}

async function data(panel) {
  const results = [];
  for (const target of panel.targets ?? []) {
    for (const result of await answer(panel, target)) {
      results.push({ ...result, name: legend(target.legendFormat, result.metric ?? {}) });
    }
  }
  if (panel.type === 'logs') return lines(results);
  if (panel.type === 'timeseries') {
    return results.map(({ name, values }) => ({ name, points: values.map(([time, value]) => [time * 1000, Number(value)]) })).map(filledUp(panel));
  }
  return results.map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
const page = await browser.newPage({ viewport: { width: WIDTH, height: 900 } });
const echarts = createRequire(import.meta.url).resolve('echarts/dist/echarts.min.js');
for (const file of readdirSync(folder).filter((name) => name.endsWith('.json'))) {
  const dashboard = JSON.parse(readFileSync(join(folder, file), 'utf8'));
  const panels = [];
  for (const panel of dashboard.panels) panels.push({ ...panel, data: await data(panel) });
  await page.goto(`file://${new URL('page.html', import.meta.url).pathname}`);
  await page.addScriptTag({ path: echarts });
  await page.evaluate(([title, panels, range]) => window.draw(title, panels, range), [dashboard.title, panels, range]);
  const picture = join(out, file.replace(/json$/, 'png'));
  await page.screenshot({ path: picture, fullPage: true });
  console.log(picture);
}
await browser.close();
