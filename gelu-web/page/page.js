// The page: draws, asks, and shows what crossed. All secrets are in the worker; see worker.js.

import { Paper, SAMPLES, shrink } from './paper.js';

const at = (id) => document.getElementById(id);
const state = { worker: undefined, terms: undefined, ready: false, asked: undefined, pixels: undefined };
const sums = { up: 0, down: 0, messages: 0 };

const paper = new Paper(at('paper'), redraw);
redraw();
at('clear').onclick = () => paper.clear();
at('ask').onclick = ask;
at('connect').onsubmit = (event) => {
  event.preventDefault();
  connect(at('token').value.trim());
};
SAMPLES.forEach((strokes, digit) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.setAttribute('aria-label', `Digit ${digit}`);
  const small = document.createElement('canvas');
  [small.width, small.height] = [280, 280];
  new Paper(small, () => {}).draw(strokes);
  button.append(small);
  button.onclick = () => paper.draw(strokes);
  at('samples').append(button);
});

function connect(token) {
  at('token').value = '';
  state.worker?.terminate();
  Object.assign(state, { terms: undefined, ready: false, asked: undefined });
  Object.assign(sums, { up: 0, down: 0, messages: 0 });
  at('timeline').tBodies[0].replaceChildren();
  at('facts').hidden = true;
  status('Connecting.');
  state.worker = new Worker('worker.js');
  state.worker.onmessage = ({ data }) => heard(data);
  state.worker.onerror = ({ message }) => heard({ event: 'ended', reason: `${message}; reload the page` });
  // Of several models, the one that the address names.
  const model = new URLSearchParams(location.search).get('model') ?? '';
  state.worker.postMessage({ connect: token, model });
  enable();
}

function ask() {
  state.asked = { began: performance.now(), ...sums };
  at('answer').textContent = 'Asking.';
  at('scores').hidden = true;
  state.worker.postMessage({ ask: state.pixels });
  enable();
}

function heard(event) {
  switch (event.event) {
    case 'welcome':
      welcome(event);
      break;
    case 'opened':
      state.ready = true;
      status('Connected. Draw, then ask.');
      break;
    case 'sent':
    case 'received':
      crossed(event);
      break;
    case 'tickets':
      status(`Connected, with ${plural(event.held, 'ticket')} ready: a ticket is what a blind query was prepared with.`);
      break;
    case 'answer':
      answer(event);
      break;
    case 'refused':
      state.asked = undefined;
      at('answer').textContent = 'No answer.';
      status(`The server refused: ${event.reason}`, true);
      break;
    case 'ended':
      state.ready = false;
      state.asked = undefined;
      state.worker.terminate();
      status(`The session has ended: ${event.reason}`, true);
      break;
  }
  enable();
}

function welcome(terms) {
  state.terms = terms;
  [at('pixels').height, at('pixels').width] = terms.image;
  redraw();
  at('facts').hidden = false;
  at('facts').textContent =
    `Model ${terms.model}, version ${terms.version}; queries are booked on the account ${terms.account}.`;
  at('mode').textContent =
    terms.mode === 'blind'
      ? `Blind queries: nobody sees the sums of a layer. ${sentence(terms.verdict)}`
      : `Open queries: this browser sees the weighted sums of every layer. ${sentence(terms.verdict)}`;
  const rows = saw(terms);
  at('saw').tBodies[0].replaceChildren(...rows.map((cells) => row(cells, 'th')));
}

// What each side sees, by the mode.
function saw({ mode, scores }) {
  const blind = mode === 'blind';
  return [
    ['your drawing', blind ? 'numbers under masks that are used once' : 'ciphertexts under your key', 'all of it'],
    ['sums inside the network', blind ? 'nothing: circuits on masked numbers' : 'nothing: they are encrypted',
      blind ? 'nothing: they stay masked' : 'all of them, and with them equations about the weights'],
    ['the weights', 'its own', blind ? 'nothing but what the answer tells' : 'what the sums tell; the ledger counts it'],
    ['the answer', 'nothing', scores ? 'the class and its probabilities' : 'the class alone'],
    ['your secret key', 'never', 'it is in this tab alone'],
    ['who asks, when, how many bytes', 'your account, times, sizes', 'the same'],
  ];
}

function answer({ class: number, probabilities, cut_off }) {
  const took = performance.now() - state.asked.began;
  const word = state.terms.classes[number];
  const strong = document.createElement('strong');
  strong.textContent = word;
  const [up, down] = [sums.up - state.asked.up, sums.down - state.asked.down];
  const cut = cut_off > 0 ? ` ${plural(cut_off, 'value')} of this session did not fit the model's numbers and were cut off.` : '';
  at('answer').replaceChildren(strong, `${(took / 1000).toFixed(2)} s; ${bytes(up)} left, ${bytes(down)} came.${cut}`);
  at('answer').dataset.class = number;
  at('answer').dataset.milliseconds = took;
  state.asked = undefined;
  if (!probabilities) return;
  at('scores').hidden = false;
  at('scores').replaceChildren(
    ...probabilities.map((value, i) => {
      const line = document.createElement('li');
      const [name, share] = [document.createElement('span'), document.createElement('span')];
      const meter = document.createElement('meter');
      [name.textContent, share.textContent] = [state.terms.classes[i], `${(100 * value).toFixed(1)} %`];
      [meter.value, meter.ariaLabel] = [value, state.terms.classes[i]];
      line.dataset.probability = value;
      line.append(name, meter, share);
      return line;
    }),
  );
}

function crossed({ event, name, bytes: size, at: when }) {
  const left = event === 'sent';
  sums[left ? 'up' : 'down'] += size;
  sums.messages += 1;
  const line = row([`${(when / 1000).toFixed(3)} s`, left ? 'left' : 'came', name, size.toLocaleString('en')], 'td');
  line.className = left ? 'left' : 'came';
  line.cells[3].className = 'number';
  at('timeline').tBodies[0].append(line);
  at('traffic').textContent =
    `${bytes(sums.up)} left and ${bytes(sums.down)} came, in ${plural(sums.messages, 'message')}; a token before them. No pixel was among them.`;
}

function redraw() {
  state.pixels = shrink(at('paper'), at('pixels'));
  enable();
}

function enable() {
  at('ask').disabled = !(state.ready && state.pixels && !state.asked);
}

function status(text, wrong = false) {
  at('status').textContent = text;
  at('status').className = wrong ? 'wrong' : '';
}

function row(cells, first) {
  const line = document.createElement('tr');
  cells.forEach((text, i) => {
    const cell = document.createElement(i === 0 ? first : 'td');
    if (cell.tagName === 'TH') cell.scope = 'row';
    cell.textContent = text;
    line.append(cell);
  });
  return line;
}

function bytes(count) {
  if (count < 1000) return `${count} B`;
  return count < 1e6 ? `${(count / 1000).toFixed(0)} kB` : `${(count / 1e6).toFixed(2)} MB`;
}

function plural(count, word) {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}

function sentence(text) {
  const full = text.charAt(0).toUpperCase() + text.slice(1);
  return full.endsWith('.') ? full : `${full}.`;
}
