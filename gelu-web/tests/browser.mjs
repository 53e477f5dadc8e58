// The page in headless Chromium, against a real server over TLS: its answers are the program's.
//
//   node gelu-web/tests/browser.mjs GELU OUT [MODEL]
//
// GELU is the program, OUT a folder for what is made on the way (screenshots among it), MODEL a LeNet-5 of images of
// 28 by 28 pixels; without one, one is trained on the digits that are part of the program. Needs gelu-web/dist, Chromium,
// and playwright-core where Node finds it.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

const { chromium } = createRequire(join(process.cwd(), 'package.json'))('playwright-core');
const [gelu, out, given] = process.argv.slice(2).map((path) => resolve(path));
const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const LIMIT = 2000; // Milliseconds of a query.

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, 'data/mnist'), { recursive: true });
const run = (...args) => execFileSync(gelu, args, { cwd: out, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

const model = given ?? train();
run('certs', 'init', '--dir', 'certs');
run('certs', 'add', 'alice', '--dir', 'certs');
const token = run('token', 'alice', '--for', '1h', '--dir', 'certs').trim();
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
  // Trust this server's key, and no other that is not certified.
  `--ignore-certificate-errors-spki-list=${keyHash()}`,
] });
try {
  for (const [name, how] of [
    ['blind', []],
    ['scores', ['--answer', 'scores']],
    ['open', ['--modes', 'open', '--allow-model-extraction']],
  ]) {
    await served(how, (server) => check(name, server));
  }
} finally {
  await browser.close();
}
console.log('all answers of the page are those of the program');

// One mode: the page's answers, the program's, and what the page leaves behind.
async function check(name, { page: address, address: server }) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  const wrong = [];
  page.on('console', (message) => message.type() === 'error' && wrong.push(message.text()));
  page.on('pageerror', (error) => wrong.push(String(error)));
  page.on('request', (request) => {
    if (new URL(request.url()).host !== address) wrong.push(`a request to ${request.url()}`);
  });
  const origin = `https://${address}/`;
  await page.goto(origin);
  if (name === 'blind') await refuses(page);

  const first = [await cold(page), await cold(page), await cold(page)].sort((a, b) => a - b)[1];
  await connect(page);
  const [probes, classes, probabilities, times] = [[], [], [], []];
  for (let digit = 0; digit < 10; digit += 1) {
    await page.getByRole('button', { name: `Digit ${digit}` }).click();
    await page.waitForFunction((wanted) => document.getElementById('status').textContent.includes(wanted),
      name === 'open' ? 'Connected' : '2 tickets', { timeout: 60_000 });
    await page.evaluate(() => delete document.getElementById('answer').dataset.class);
    await page.locator('#ask').click();
    await page.waitForSelector('#answer[data-class]', { timeout: 60_000 });
    const got = await page.evaluate(() => ({
      pixels: [...document.getElementById('pixels').getContext('2d').getImageData(0, 0, 28, 28).data]
        .filter((_, i) => i % 4 === 0),
      answer: { ...document.getElementById('answer').dataset },
      scores: [...document.querySelectorAll('#scores li')].map((line) => Number(line.dataset.probability)),
    }));
    probes.push(got.pixels);
    classes.push(Number(got.answer.class));
    times.push(Number(got.answer.milliseconds));
    probabilities.push(got.scores);
  }
  await looks(page, name);
  await leavesNothing(page, context, origin);
  assert.deepEqual(wrong.filter((text) => !/status of 403/.test(text)), []);
  await context.close();

  const expected = predict(server, probes, name === 'blind' ? ['--answer', 'class'] : []);
  assert.deepEqual(classes, expected.map((line) => Number(line.class)));
  assert.ok(new Set(classes).size > 3, `the model tells digits apart: ${classes}`);
  if (name !== 'blind') {
    assert.deepEqual(probabilities, expected.map((line) => Object.values(line.probabilities)), 'to the last bit');
  }
  times.sort((a, b) => a - b);
  console.log(`${name}: ${classes.join(' ')}; with tickets ready ${times[5].toFixed(0)} ms, at most ` +
    `${times[9].toFixed(0)} ms; from the click on Connect to a first answer ${first.toFixed(0)} ms`);
  assert.ok(times[5] < LIMIT, `the median query takes ${times[5]} ms`);
  assert.ok(first < LIMIT, `the median first query takes ${first} ms`);
}

async function connect(page) {
  await page.getByLabel('Your token').fill(token);
  await page.getByRole('button', { name: 'Connect' }).click();
}

// From the click that connects to an answer, in milliseconds: the module, keys, a ticket and the query.
async function cold(page) {
  await page.getByRole('button', { name: 'Digit 3' }).click();
  // In the page, as a user in a hurry: no time is lost to the driver.
  await page.evaluate(() => {
    const [form, ask, answer] = ['connect', 'ask', 'answer'].map((id) => document.getElementById(id));
    window.cold = new Promise((done) => {
      let began;
      form.addEventListener('submit', () => { began = performance.now(); });
      new MutationObserver(() => ask.click()).observe(ask, { attributeFilter: ['disabled'] });
      new MutationObserver(() => done(performance.now() - began)).observe(answer, { attributeFilter: ['data-class'] });
    });
  });
  await connect(page);
  const took = await page.evaluate(() => window.cold);
  await page.reload();
  return took;
}

// A token that is none: the page says so, and works afterwards.
async function refuses(page) {
  await page.getByLabel('Your token').fill('gelu1.nonsense');
  await page.getByRole('button', { name: 'Connect' }).click();
  await page.waitForSelector('#status.wrong');
  assert.match(await page.locator('#status').textContent(), /no token/);
  assert.equal(await page.locator('#ask').isDisabled(), true);
}

async function leavesNothing(page, context, origin) {
  assert.equal(page.url(), origin, 'nothing secret is in an address');
  const kept = await page.evaluate(async () => ({
    local: localStorage.length,
    session: sessionStorage.length,
    databases: (await indexedDB.databases()).length,
    caches: (await caches.keys()).length,
    workers: (await navigator.serviceWorker.getRegistrations()).length,
    cookies: document.cookie.length,
    token: document.getElementById('token').value.length,
  }));
  assert.deepEqual(Object.values(kept), Object.values(kept).map(() => 0), JSON.stringify(kept));
  assert.deepEqual(await context.cookies(), []);
  assert.deepEqual((await context.storageState()).origins, []);
}

// Both windows: no sideways scrolling, a picture of each; and drawing by the keyboard alone.
async function looks(page, name) {
  await page.screenshot({ path: join(out, `${name}-wide.png`), fullPage: true });
  await page.setViewportSize({ width: 375, height: 812 });
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 375, 'fits a narrow window');
  const cut = await page.evaluate(() => [...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth).length);
  assert.equal(cut, 0, 'tables are not cut off');
  await page.screenshot({ path: join(out, `${name}-narrow.png`), fullPage: true });
  await page.getByRole('button', { name: 'Clear' }).click();
  assert.equal(await page.locator('#ask').isDisabled(), true, 'there is nothing to ask about');
  await page.locator('#paper').focus();
  for (const key of ['ArrowUp', ' ', 'ArrowDown', 'ArrowDown', 'ArrowDown']) await page.keyboard.press(key);
  assert.equal(await page.locator('#ask').isDisabled(), false, 'the keyboard draws');
}

// What the program answers about the same pixels, from the same server.
function predict(server, probes, how) {
  const header = Buffer.alloc(16);
  [0x803, probes.length, 28, 28].forEach((word, i) => header.writeUInt32BE(word, 4 * i));
  writeFileSync(join(out, 'probes-idx3-ubyte'), Buffer.concat([header, Buffer.from(probes.flat())]));
  const answers = run('predict', '--server', server, '--certs', 'certs', '--account', 'alice',
    '--backend', 'lattice', '--images', 'probes-idx3-ubyte', '--format', 'jsonl', ...how);
  return answers.trim().split('\n').map((line) => JSON.parse(line));
}

async function served(how, use) {
  const server = spawn(gelu, ['serve', '--model', model, '--store', 'books.store', '--listen', '127.0.0.1:0', '--certs', 'certs',
    '--backend', 'lattice', '--web', '127.0.0.1:0', '--web-root', join(root, 'gelu-web/dist'), '--json', ...how],
    { cwd: out, stdio: ['ignore', 'pipe', 'inherit'] });
  const stopped = new Promise((resolve) => server.on('exit', resolve));
  try {
    const { value: ready } = await createInterface({ input: server.stdout })[Symbol.asyncIterator]().next();
    assert.ok(ready, 'the server starts');
    await use(JSON.parse(ready));
  } finally {
    server.kill('SIGINT');
    await stopped;
  }
}

function keyHash() {
  const { publicKey } = new X509Certificate(readFileSync(join(out, 'certs/server.pem')));
  return createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('base64');
}

// The program's own digits of 8 by 8 pixels, as large as those of MNIST and in its files.
function train() {
  const rows = gunzipSync(readFileSync(join(root, 'gelu-nn/src/data/digits.csv.gz'))).toString().trim().split('\n');
  const samples = rows.map((row) => row.split(',').map(Number));
  const write = (name, part) => {
    const words = (...numbers) => Buffer.concat(numbers.map((n) => Buffer.from([n >> 24, n >> 16, n >> 8, n])));
    const at = (kind) => join(out, `data/mnist/${name}-${kind}-ubyte`);
    writeFileSync(at('images-idx3'), Buffer.concat([words(0x803, part.length, 28, 28), ...part.map(enlarge)]));
    writeFileSync(at('labels-idx1'), Buffer.concat([words(0x801, part.length), Buffer.from(part.map((s) => s[64]))]));
  };
  write('train', samples.slice(0, 1500));
  write('t10k', samples.slice(1500));
  run('train', '--plaintext', '--network', 'lenet5', '--data', 'data', '--dataset', 'mnist', '--epochs', '4',
    '--batch', '32', '--out', 'lenet5.safetensors');
  return 'lenet5.safetensors';
}

// 8 by 8 counts to 16, in the middle 20 by 20 of 28 by 28 bytes, by straight lines between pixels.
function enlarge(sample) {
  const image = Buffer.alloc(28 * 28);
  for (let y = 0; y < 20; y += 1) {
    for (let x = 0; x < 20; x += 1) {
      const [u, v] = [x, y].map((at) => Math.min(7, Math.max(0, (at + 0.5) * 0.4 - 0.5)));
      const [i, j] = [Math.floor(u), Math.floor(v)];
      const value = (dx, dy) => sample[8 * Math.min(7, j + dy) + Math.min(7, i + dx)];
      const across = (dy) => value(0, dy) * (1 - u + i) + value(1, dy) * (u - i);
      image[28 * (y + 4) + x + 4] = Math.round((255 / 16) * (across(0) * (1 - v + j) + across(1) * (v - j)));
    }
  }
  return image;
}
