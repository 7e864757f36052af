//! Columns side by side.
//!
//! Rows are held back until a page of [`PAGE_ROWS`] is full; that page settles how wide the columns are, and later pages
//! are drawn below it with the same widths. On a terminal wider values are cut (`…`), so that no line wraps; elsewhere
//! nothing is ever cut, and a later page widens a column if it has to.
//!
//! A page is drawn only when the row after it has come or no more rows follow: the last one closes the frame.

use std::io::{self, Write};

use tabled::builder::Builder;
use tabled::settings::object;
use tabled::settings::themes::Theme;
use tabled::settings::{Alignment, Color, Style};
use unicode_width::UnicodeWidthStr;

use super::vertical::{Vertical, cells};
use super::{Expanded, Layout, Rows, fit, printable, row_count};
use crate::rows::{Batch, Columns};

/// Rows that are looked at before the widths are settled: more than a screen, less than what would be felt as waiting.
const PAGE_ROWS: usize = 1_000;
/// What a column takes beside its value: a space on either side, and a line.
const COLUMN_OVERHEAD: usize = 3;
const NULL: &str = "NULL";

/// Writes columns side by side.
pub struct Table {
    layout: Layout,
    columns: Columns,
    names: Vec<String>,
    numeric: Vec<bool>,
    /// Widths, once the first page has settled them.
    widths: Option<Vec<usize>>,
    /// Rows not drawn yet.
    page: Vec<Vec<Option<String>>>,
    rows: usize,
    /// Takes the rows over where columns side by side would not fit.
    blocks: Option<Vertical>,
}

impl Table {
    /// A writer for these columns.
    pub fn new(layout: Layout, columns: &Columns) -> Self {
        Self {
            layout,
            columns: Columns::clone(columns),
            names: columns.iter().map(|column| printable(&column.name).into_owned()).collect(),
            numeric: columns.iter().map(|column| column.kind.is_numeric()).collect(),
            widths: None,
            page: Vec::new(),
            rows: 0,
            blocks: None,
        }
    }

    /// Draws the rows at hand; `last` closes the frame.
    fn flush(&mut self, out: &mut dyn Write, last: bool) -> io::Result<()> {
        let first = self.widths.is_none();
        let natural = self.natural_widths();
        let page = std::mem::take(&mut self.page);
        match self.settle(natural) {
            Some(widths) => {
                if !self.names.is_empty() {
                    out.write_all(self.draw(&page, &widths, first, last).as_bytes())?;
                }
                self.widths = Some(widths);
                Ok(())
            }
            None => {
                let mut blocks = Vertical::new(&self.columns);
                page.iter().try_for_each(|row| blocks.row(out, row))?;
                self.blocks = Some(blocks);
                Ok(())
            }
        }
    }

    fn natural_widths(&self) -> Vec<usize> {
        let mut widths: Vec<_> = self.names.iter().map(|name| name.width()).collect();
        for row in &self.page {
            for (width, value) in widths.iter_mut().zip(row) {
                *width = (*width).max(value.as_deref().unwrap_or(NULL).width());
            }
        }
        widths
    }

    /// The widths to draw with, or `None` when rows are better shown as blocks.
    fn settle(&self, natural: Vec<usize>) -> Option<Vec<usize>> {
        match (&self.widths, self.layout.terminal_width) {
            (Some(settled), Some(_)) => Some(settled.clone()),
            (Some(settled), None) => Some(settled.iter().zip(&natural).map(|(old, new)| *old.max(new)).collect()),
            (None, None) => Some(natural),
            (None, Some(width)) => {
                let available = width.saturating_sub(COLUMN_OVERHEAD * natural.len() + 1);
                match (fit::fit(&natural, available), self.layout.expanded) {
                    (Some(widths), _) => Some(widths),
                    (None, Expanded::Auto) => None,
                    (None, _) => Some(natural.into_iter().map(|width| width.min(fit::WIDTH_MIN)).collect()),
                }
            }
        }
    }

    fn draw(&self, page: &[Vec<Option<String>>], widths: &[usize], first: bool, last: bool) -> String {
        let mut records: Vec<Vec<String>> = Vec::with_capacity(page.len() + 1);
        if first {
            records.push(self.names.iter().zip(widths).map(|(name, width)| fit::cut(name, *width)).collect());
        }
        let shown = |value: &Option<String>, width: usize| fit::cut(value.as_deref().unwrap_or(NULL), width);
        records
            .extend(page.iter().map(|row| row.iter().zip(widths).map(|(value, width)| shown(value, *width)).collect()));
        // A record that fills its columns makes them as wide as they shall be.
        if let Some(record) = records.first_mut() {
            self.pad(record, widths);
        }
        let mut table = records.into_iter().collect::<Builder>().build();
        table.with(self.theme(first, last));
        for (column, _) in self.numeric.iter().enumerate().filter(|(_, numeric)| **numeric) {
            table.modify(object::Columns::one(column), Alignment::right());
        }
        if self.layout.terminal_width.is_some() {
            dim_nulls(&mut table, page, usize::from(first));
        }
        let text = table.to_string();
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    fn pad(&self, record: &mut [String], widths: &[usize]) {
        for ((value, width), numeric) in record.iter_mut().zip(widths).zip(&self.numeric) {
            let padding = " ".repeat(width.saturating_sub(value.width()));
            *value = if *numeric { format!("{padding}{value}") } else { format!("{value}{padding}") };
        }
    }

    fn theme(&self, first: bool, last: bool) -> Theme {
        let terminal = self.layout.terminal_width.is_some();
        let mut theme = if terminal { Theme::from_style(Style::sharp()) } else { Theme::from_style(Style::psql()) };
        if !first {
            theme.remove_horizontal_lines();
        }
        let frame = theme.get_borders_mut();
        if !first {
            (frame.top, frame.top_left, frame.top_intersection, frame.top_right) = (None, None, None, None);
        }
        if !last {
            (frame.bottom, frame.bottom_left, frame.bottom_intersection, frame.bottom_right) = (None, None, None, None);
        }
        theme
    }
}

impl Rows for Table {
    fn batch(&mut self, out: &mut dyn Write, batch: &Batch) -> io::Result<()> {
        for row in batch.rows() {
            if self.page.len() == PAGE_ROWS {
                self.flush(out, false)?;
            }
            self.rows += 1;
            let row = cells(row);
            match &mut self.blocks {
                Some(blocks) => blocks.row(out, &row)?,
                None => self.page.push(row),
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.blocks.is_none() && (self.widths.is_none() || !self.page.is_empty()) {
            self.flush(out, true)?;
        }
        writeln!(out, "{}", row_count(self.rows))
    }
}

fn dim_nulls(table: &mut tabled::Table, page: &[Vec<Option<String>>], first_row: usize) {
    let dim = Color::new("\u{1b}[2m", "\u{1b}[22m");
    for (row, values) in page.iter().enumerate() {
        for (column, _) in values.iter().enumerate().filter(|(_, value)| value.is_none()) {
            table.modify((row + first_row, column), dim.clone());
        }
    }
}
