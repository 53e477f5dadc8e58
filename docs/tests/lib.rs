//! Compiles and runs the Rust blocks of every page of the book:
//! `cargo test -p gelu-book`.

macro_rules! pages {
    ($($name:ident: $page:literal),* $(,)?) => {
        $(#[doc = include_str!(concat!("../src/", $page))] pub mod $name {})*
    };
}

pages! {
    introduction: "introduction.md",
    protocol: "protocol.md",
    numbers: "numbers.md",
    security: "security.md",
    add_a_backend: "add-a-backend.md",
    add_a_layer: "add-a-layer.md",
    add_a_message: "add-a-message.md",
    operating: "operating.md",
    commands: "commands.md",
    wire_format: "wire-format.md",
    glossary: "glossary.md",
}
