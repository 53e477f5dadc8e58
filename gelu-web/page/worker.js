// The client machine, in a thread of its own: bytes between the WebSocket and the module, times, nothing stored.
//
// From the page: { connect: token, model } once, then { ask: pixels }. To the page: the module's events with `at`, the
// milliseconds since the connection was asked for.

const PIECE_BYTES = 1 << 16; // The longest message that the server takes.
const TICKETS = 2; // Made in idle time for the next queries.

let module;
let socket;
let began = 0;

self.onmessage = ({ data }) => {
  if (data.connect !== undefined) connect(data.connect, data.model).catch((error) => end(String(error)));
  if (data.ask !== undefined) call('gelu_ask', data.ask);
};

async function connect(token, model) {
  began = performance.now();
  const loaded = await WebAssembly.instantiateStreaming(fetch('gelu_web.wasm'), {});
  module = loaded.instance.exports;
  socket = new WebSocket(`wss://${location.host}/session`);
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => {
    socket.send(token);
    const seed = crypto.getRandomValues(new Uint8Array(32));
    const start = Uint8Array.of(...seed, ...new TextEncoder().encode(model));
    call('gelu_start', start);
    seed.fill(0);
    start.fill(0);
  };
  socket.onmessage = ({ data }) => call('gelu_receive', new Uint8Array(data));
  socket.onclose = ({ reason }) => end(reason || 'the connection to the server was lost; connect again');
}

// Hands bytes in, then takes out what there is for the server and for the page.
function call(name, bytes = new Uint8Array(0), argument = 0) {
  const place = module.gelu_input(bytes.length); // May move the memory: before its buffer is taken.
  new Uint8Array(module.memory.buffer, place, bytes.length).set(bytes);
  module[name](argument);
  for (let length = module.gelu_transmit(); length > 0; length = module.gelu_transmit()) {
    const frame = output(length);
    for (let at = 0; at < length; at += PIECE_BYTES) socket.send(frame.slice(at, at + PIECE_BYTES));
  }
  for (let length = module.gelu_event(); length > 0; length = module.gelu_event()) {
    heard(JSON.parse(new TextDecoder().decode(output(length))));
  }
}

function output(length) {
  return new Uint8Array(module.memory.buffer, module.gelu_output(), length);
}

function heard(event) {
  tell(event);
  if (event.event === 'welcome') call('gelu_open');
  if (event.event === 'opened' || event.event === 'answer') prepare();
  if (event.event === 'ended') socket.close();
}

// After what the page has to do first.
function prepare() {
  setTimeout(() => call('gelu_prepare', undefined, TICKETS), 50);
}

function tell(event) {
  postMessage({ ...event, at: performance.now() - began });
}

function end(reason) {
  tell({ event: 'ended', reason });
  close();
}
