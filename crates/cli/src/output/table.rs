//! Tables without borders: easy to read, to copy and to cut.

use unicode_width::UnicodeWidthStr;

use super::{Paint, Tone, one_line};

/// Blanks between columns.
const GAP: usize = 2;

/// One place in a table.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// Text in a colour.
    pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Some(tone) }
    }

    fn render(&self, paint: Paint) -> String {
        let text = one_line(&self.text);
        self.tone.map_or_else(|| text.clone(), |tone| paint.paint(tone, &text))
    }

    fn width(&self) -> usize {
        one_line(&self.text).width()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: None }
    }
}

/// Rows under headers.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new<const N: usize>(headers: [&str; N]) -> Self {
        Self { rows: vec![headers.map(|header| Cell::toned(Tone::Dim, header)).into()] }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// The table as lines. A column that says nothing in any row is left out.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let says_something = |column: usize| self.rows.iter().skip(1).any(|row| !row[column].text.is_empty());
        let columns: Vec<usize> = (0..self.rows[0].len()).filter(|column| says_something(*column)).collect();
        let pick = |row: &Vec<Cell>| columns.iter().map(|column| row[*column].clone()).collect();
        let rows: Vec<Vec<Cell>> = self.rows.iter().map(pick).collect();
        render(&rows, paint)
    }
}

/// Names with values, one a line. Empty values are left out.
pub(crate) fn record<const N: usize>(rows: [(&str, Cell); N], paint: Paint) -> String {
    let rows: Vec<Vec<Cell>> = rows
        .into_iter()
        .filter(|(_, value)| !value.text.is_empty())
        .map(|(name, value)| vec![Cell::toned(Tone::Dim, name), value])
        .collect();
    render(&rows, paint)
}

/// Columns as wide as their widest cell. Lines are never wrapped: that is the terminal's business, and `cut` and `grep`
/// want one line a row.
fn render(rows: &[Vec<Cell>], paint: Paint) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        // nothing follows the last cell that says something
        let cells = row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |last| last + 1);
        for (column, cell) in row[..cells].iter().enumerate() {
            text.push_str(&cell.render(paint));
            if column + 1 < cells {
                text.extend(std::iter::repeat_n(' ', widths[column] - cell.width() + GAP));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["ACTION", "STATUS", "NOTE"]);
        table.row(["a.short".into(), Cell::toned(Tone::Good, "succeeded"), "".into()]);
        table.row(["a.日本".into(), Cell::toned(Tone::Bad, "failed"), "two\nlines\u{1b}[2J".into()]);
        table
    }

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        insta::assert_snapshot!(table().render(Paint::PLAIN), @r"
        ACTION   STATUS     NOTE
        a.short  succeeded
        a.日本   failed     two lines [2J
        ");
    }

    #[test]
    fn colour_changes_no_width() {
        let coloured = table().render(Paint::COLOURED);
        assert!(coloured.contains("\u{1b}[32msucceeded\u{1b}[0m\n"), "{coloured:?}");
        let mut filter = super::super::TerminalFilter::new(false);
        let stripped = String::from_utf8(filter.filter(coloured.as_bytes())).unwrap();
        assert_eq!(stripped, table().render(Paint::PLAIN));
    }

    #[test]
    fn records_leave_out_what_is_not_there() {
        let text =
            record([("id", "1".into()), ("error", "".into()), ("attempt", "2 of 3".into())], Paint::PLAIN);
        insta::assert_snapshot!(text, @r"
        id       1
        attempt  2 of 3
        ");
    }
}
