//! Files that COPY reads and writes, and that a query may name in the place of a table.
//!
//! ```text
//! file ─▶ decompress ─▶ window ─┬▶ splitter (csv, tsv) ──▶ fields ─┬▶ text columns ─▶ batches
//!                               ╰▶ objects (json, ndjson) ▶ values ╯
//! file ─▶ parquet, arrow ─▶ batches ─▶ conform (match by name, cast) ─▶ batches
//!
//! batches ─▶ render (csv, tsv, json, ndjson) or encode (parquet, arrow) ─▶ compress ─▶ temporary file ─▶ rename
//! ```
//!
//! WHAT MAY NEVER HAPPEN: a value changes on its way out and in again; text that is no value of its column becomes NULL
//! or something near; a failed COPY TO leaves a part of a file under the name it was to have; memory grows with the
//! file.
//!
//! Text formats are cut in a window of the file and every value is parsed where it lies, straight into the builder of
//! its column: nothing is allocated per field. What is wrong with a value is said with the file, line and column it
//! stands in; lines are remembered as runs ([`RowOrigin`]), because later stages find errors too (keys that are there
//! twice, checks) and know only the ordinal of a row.
//!
//! In csv and tsv the marker for NULL counts only where it is not quoted. With the default of csv, an empty field is
//! NULL and `""` is an empty text.

mod arrays;
mod columnar;
mod datetime;
mod decimal;
mod delimited;
mod infer;
mod input;
mod interval;
mod json;
mod objects;
mod options;
mod origin;
mod plain;
mod reader;
mod render;
mod scalars;
mod splitter;
mod table;
mod text;
mod window;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use options::{CopyOptions, is_file_name};
pub(crate) use origin::RowOrigin;
pub(crate) use reader::{FileReader, Target};
pub use render::ColumnText;
pub(crate) use render::text_of;
pub(crate) use table::FileTable;
pub(crate) use text::TextColumn;
pub use text::parse_value;
pub(crate) use writer::{FileWriter, StreamEncoder};

/// Rows of a batch that is read from text.
const BATCH_ROWS: usize = 8192;
