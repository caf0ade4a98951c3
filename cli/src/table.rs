//! Prints rows as a table, CSV or JSON.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use migration_core::printable::{printable, printable_json};
use serde::Serialize;

/// Forms of an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Aligned columns for people.
    #[default]
    Table,
    /// CSV with a header.
    Csv,
    /// One JSON object per line.
    Json,
}

/// Prints rows to standard output. CSV has keys as they are, for programs; on a terminal they are escaped.
pub fn print<T: Serialize>(rows: &[T], output: Output) -> io::Result<()> {
    let out = &mut io::stdout().lock();
    if output == Output::Csv && out.is_terminal() {
        return Ok(shown(&csv_of(rows)?, out)?);
    }
    write(out, rows, output)
}

/// Writes rows in a form.
pub fn write<T: Serialize>(out: &mut dyn Write, rows: &[T], output: Output) -> io::Result<()> {
    match output {
        Output::Json => {
            for row in rows {
                writeln!(out, "{}", printable_json(&serde_json::to_string(row)?))?;
            }
        }
        Output::Csv => out.write_all(&csv_of(rows)?)?,
        Output::Table => {
            let text = csv_of(rows)?;
            let mut reader = csv::Reader::from_reader(&text[..]);
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
            table.set_header(reader.headers()?.iter().map(str::to_uppercase));
            for row in reader.records() {
                table.add_row(row?.iter().map(printable));
            }
            for line in table.lines() {
                writeln!(out, "{}", line.trim_end())?;
            }
        }
    }
    out.flush()
}

/// Writes CSV with escaped fields.
fn shown(text: &[u8], out: &mut dyn Write) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_writer(out);
    for row in csv::ReaderBuilder::new().has_headers(false).from_reader(text).records() {
        writer.write_record(row?.iter().map(|field| printable(field).into_owned()))?;
    }
    Ok(writer.flush()?)
}

fn csv_of<T: Serialize>(rows: &[T]) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row {
        key: String,
        size: Option<u64>,
    }

    fn text(output: Output) -> String {
        let rows = [Row { key: "a,\u{1b}b".into(), size: Some(7) }, Row { key: "c".into(), size: None }];
        let mut out = Vec::new();
        write(&mut out, &rows, output).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_have_three_forms() {
        assert_eq!(text(Output::Csv), "key,size\n\"a,\u{1b}b\",7\nc,\n");
        assert_eq!(text(Output::Json), "{\"key\":\"a,\\u001bb\",\"size\":7}\n{\"key\":\"c\",\"size\":null}\n");
        let table = text(Output::Table);
        assert!(table.contains("KEY") && table.contains("a,\\u{1b}b") && !table.contains('\u{1b}'), "{table}");
    }
}
