//! How answers look to people: lean tables, exact counts, readable sizes and times.

use std::time::{Duration, SystemTime};

use comfy_table::{Cell, CellAlignment, Color, Table, presets};

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
    Cell::new(content).set_alignment(CellAlignment::Right)
}

/// A cell with a number of bytes, in IEC units.
pub(super) fn bytes(content: u64) -> Cell {
    Cell::new(size(content)).set_alignment(CellAlignment::Right)
}

/// A cell with a duration.
pub(super) fn duration(content: Duration) -> Cell {
    Cell::new(span(content)).set_alignment(CellAlignment::Right)
}

/// A cell with the time since then.
pub(super) fn age(then: Option<Timestamp>, style: &Style) -> Cell {
    match then {
        Some(then) => duration(then.age(style.now)),
        None => Cell::new("-").set_alignment(CellAlignment::Right),
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

/// A word as JSON names it, such as `standby`.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("states are words, not {other:?}"),
    }
}

/// A table with these headings. Columns whose cells are numbers get a right-aligned heading.
pub(super) fn table(headings: &[&str], rows: Vec<Vec<Cell>>, style: &Style) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    if style.colours {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(headings);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
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
        assert_eq!(table(&["NAME", "N"], rows, &PLAIN), "NAME     N\na        1\nlong  1000\n");
    }

    #[test]
    fn colours_are_there_only_if_wanted() {
        let rows = || vec![vec![state("up", Tone::Good)]];
        assert!(!table(&["STATE"], rows(), &PLAIN).contains('\x1b'));
        let coloured = table(&["STATE"], rows(), &Style { colours: true, ..PLAIN });
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
