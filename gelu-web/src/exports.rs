//! What JavaScript calls: one session, one place for what goes in, one for what comes out.
//!
//! ```text
//! at = gelu_input(length)      a place of so many bytes in the module's memory: write there, then call one of
//! gelu_start()                 32 bytes of randomness, then the model's name: a new session
//! gelu_receive()               bytes that came from the server
//! gelu_ask()                   an image, a byte for each pixel
//! gelu_open(), gelu_prepare(tickets), gelu_close()             take no input
//! length = gelu_transmit()     the next bytes for the server, or 0; they stand at gelu_output()
//! length = gelu_event()        the next event as JSON, or 0; it stands at gelu_output()
//! ```
//!
//! A place is good until the next call. Nothing here reads memory by an address that JavaScript says.

use std::cell::RefCell;

use zeroize::Zeroize;

use crate::session::Session;

#[derive(Default)]
struct Module {
    session: Option<Session>,
    input: Vec<u8>,
    output: Vec<u8>,
}

thread_local! {
    static MODULE: RefCell<Module> = RefCell::default();
}

fn with<T>(call: impl FnOnce(&mut Module) -> T) -> T {
    MODULE.with_borrow_mut(call)
}

impl Module {
    /// Hands the input over; it may hold pixels or a seed, so it is wiped.
    fn take(&mut self, call: impl FnOnce(&mut Session, &[u8])) {
        if let Some(session) = &mut self.session {
            call(session, &self.input);
        }
        self.input.zeroize();
    }

    fn put(&mut self, bytes: Option<Vec<u8>>) -> usize {
        self.output = bytes.unwrap_or_default();
        self.output.len()
    }
}

/// A place of `length` bytes for what the next call takes.
#[unsafe(no_mangle)]
pub extern "C" fn gelu_input(length: usize) -> *mut u8 {
    with(|module| {
        module.input = vec![0; length];
        module.input.as_mut_ptr()
    })
}

/// Where the last output stands.
#[unsafe(no_mangle)]
pub extern "C" fn gelu_output() -> *const u8 {
    with(|module| module.output.as_ptr())
}

/// Begins a session with the input's first 32 bytes as its randomness and the others as the model's name; 0 when
/// there are too few or the name is no text.
#[unsafe(no_mangle)]
pub extern "C" fn gelu_start() -> u32 {
    with(|module| {
        let begun = module
            .input
            .split_first_chunk()
            .and_then(|(seed, name)| Some(Session::new(*seed, std::str::from_utf8(name).ok()?)));
        module.input.zeroize();
        module.session = begun;
        u32::from(module.session.is_some())
    })
}

/// Takes bytes from the server.
#[unsafe(no_mangle)]
pub extern "C" fn gelu_receive() {
    with(|module| module.take(Session::receive));
}

/// Asks about the image in the input.
#[unsafe(no_mangle)]
pub extern "C" fn gelu_ask() {
    with(|module| module.take(Session::ask));
}

/// Makes a key and sends its public half.
#[unsafe(no_mangle)]
pub extern "C" fn gelu_open() {
    with(|module| module.take(|session, _| session.open()));
}

/// Makes tickets in idle time.
#[unsafe(no_mangle)]
pub extern "C" fn gelu_prepare(tickets: usize) {
    with(|module| module.take(|session, _| session.prepare(tickets)));
}

/// Says goodbye.
#[unsafe(no_mangle)]
pub extern "C" fn gelu_close() {
    with(|module| module.take(|session, _| session.close()));
}

/// The next bytes for the server become the output; their number.
#[unsafe(no_mangle)]
pub extern "C" fn gelu_transmit() -> usize {
    with(|module| {
        let bytes = module.session.as_mut().and_then(Session::poll_transmit);
        module.put(bytes)
    })
}

/// The next event becomes the output, as JSON; its length.
#[unsafe(no_mangle)]
pub extern "C" fn gelu_event() -> usize {
    with(|module| {
        let event = module.session.as_mut().and_then(Session::poll_event);
        let json = event.map(|event| serde_json::to_vec(&event).expect("words and numbers only"));
        module.put(json)
    })
}
