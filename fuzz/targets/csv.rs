//! Law: a table gets a schema and is read by it, or is refused with its place; the options are the first byte.
#![no_main]
use gelu_nn::Schema;
use gelu_nn::data::csv::{Column, Format, Header, Table};
use gelu_nn::schema::{Fill, Options, ReadOptions, RowReader};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((options, text)) = data.split_first() else { return };
    let choice = |shift: u8| usize::from(options >> shift & 3) % 3;
    let format = Format {
        header: [Header::Detect, Header::Present, Header::Absent][choice(0)],
        ..Format::default()
    };
    let infer = Options {
        label: [None, Some(Column::First), Some(Column::Last)][choice(2)].clone(),
        missing: [Fill::Refuse, Fill::Drop, Fill::Fill][choice(4)],
        ..Options::default()
    };
    let text = text.to_vec();
    let Ok(table) = Table::read(std::io::Cursor::new(text.clone()), &format) else { return };
    let Ok(inferred) = Schema::infer(&table, &infer) else { return };
    let schema = inferred.schema;
    assert_eq!(Schema::from_json(&schema.to_json()).unwrap().hash(), schema.hash());
    let options = ReadOptions { format, ..ReadOptions::default() };
    if let Ok(reader) = RowReader::new(std::io::Cursor::new(text), "text", &schema, &options) {
        for row in reader.flatten() {
            assert!(row.features.is_none_or(|features| features.len() == schema.inputs()));
        }
    }
});
