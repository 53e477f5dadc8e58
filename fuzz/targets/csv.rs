//! Law: a table is read, or refused with its place; the options are the first byte.
#![no_main]
use gelu_nn::data::csv::{Column, Header, Missing, Options, Table};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((options, text)) = data.split_first() else { return };
    let options = Options {
        header: [Header::Detect, Header::Present, Header::Absent][usize::from(options & 3) % 3],
        label: [None, Some(Column::First), Some(Column::Last)][usize::from(options >> 2 & 3) % 3]
            .clone(),
        missing: if options >> 4 & 1 == 0 { Missing::Refuse } else { Missing::DropRows },
        ..Options::default()
    };
    if let Ok(table) = Table::read(text, &options) {
        let _ = table.into_dataset();
    }
});
