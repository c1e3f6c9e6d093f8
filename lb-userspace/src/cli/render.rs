//! How answers look to people: lean tables, exact counts, readable sizes and times.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use comfy_table::{Cell, CellAlignment, Color, Table, presets};
use serde::Serialize;

use crate::admin::view::Timestamp;

/// What an answer is rendered for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// May states be coloured?
    pub(super) colours: bool,
    /// What ages are counted from.
    pub(super) now: SystemTime,
}

/// An answer that people can read.
pub(super) trait Render {
    /// The text, with a newline at its end.
    fn render(&self, style: &Style) -> String;
}

/// A column's heading, and on which side the column is aligned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// Text.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

/// How good a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Warning,
    Bad,
    Neutral,
}

impl Tone {
    fn color(self) -> Option<Color> {
        match self {
            Self::Good => Some(Color::Green),
            Self::Warning => Some(Color::Yellow),
            Self::Bad => Some(Color::Red),
            Self::Neutral => None,
        }
    }
}

/// A cell of text.
pub(super) fn text(content: impl ToString) -> Cell {
    Cell::new(content)
}

/// A cell of text that may be unknown.
pub(super) fn maybe(content: Option<impl ToString>) -> Cell {
    Cell::new(content.map_or_else(|| "-".to_owned(), |content| content.to_string()))
}

/// A cell with an exact number.
pub(super) fn number(content: u64) -> Cell {
    Cell::new(content)
}

/// A cell with a number of bytes, in IEC units.
pub(super) fn bytes(content: u64) -> Cell {
    Cell::new(size(content))
}

/// A cell with a duration.
pub(super) fn duration(content: Duration) -> Cell {
    Cell::new(span(content))
}

/// A cell with the time since then.
pub(super) fn age(then: Option<Timestamp>, style: &Style) -> Cell {
    match then {
        Some(then) => duration(then.age(style.now)),
        None => Cell::new("-"),
    }
}

/// A cell with a state.
pub(super) fn state(content: impl ToString, tone: Tone) -> Cell {
    let cell = Cell::new(content);
    match tone.color() {
        Some(color) => cell.fg(color),
        None => cell,
    }
}

/// A number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    humansize::format_size(bytes, humansize::BINARY)
}

/// A duration for people: its two largest units, no finer than seconds.
pub(super) fn span(duration: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// How many of something.
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A state's word as JSON names it, such as `standby`.
pub(super) struct Word<'a, W>(pub(super) &'a W);

impl<W: Serialize> fmt::Display for Word<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
    }
}

/// A table with these columns; without any, it has no headings and is aligned left.
pub(super) fn table(columns: &[Column], rows: Vec<Vec<Cell>>, style: &Style) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    if style.colours {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    if !columns.is_empty() {
        table.set_header(columns.iter().map(|column| match column {
            Column::Left(heading) | Column::Right(heading) => heading,
        }));
    }
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if let Some(Column::Right(_)) = columns.get(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    trimmed(&table)
}

/// Without the blanks that fill the last column.
fn trimmed(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { colours: false, now: SystemTime::UNIX_EPOCH };

    #[test]
    fn numbers_are_aligned_right_and_text_left() {
        let rows = vec![vec![text("a"), number(1)], vec![text("long"), number(1000)]];
        let columns = [Column::Left("NAME"), Column::Right("N")];
        assert_eq!(table(&columns, rows, &PLAIN), "NAME     N\na        1\nlong  1000\n");
    }

    #[test]
    fn colours_are_there_only_if_wanted() {
        let rows = || vec![vec![state("up", Tone::Good)]];
        assert!(!table(&[Column::Left("STATE")], rows(), &PLAIN).contains('\x1b'));
        let coloured = table(&[Column::Left("STATE")], rows(), &Style { colours: true, ..PLAIN });
        assert!(coloured.contains("\x1b[38;5;10mup"), "{coloured:?}");
    }

    #[test]
    fn sizes_are_in_iec_units() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1536), "1.50 KiB");
        assert_eq!(size(5 << 40), "5 TiB");
    }

    #[test]
    fn spans_have_two_units_and_no_fractions() {
        assert_eq!(span(Duration::from_millis(900)), "0s");
        assert_eq!(span(Duration::from_secs(3 * 3600 + 62)), "3h 1m");
    }
}
