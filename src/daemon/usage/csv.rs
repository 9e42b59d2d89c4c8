//! A month's usage as a file: CSV as RFC 4180 has it, with a line of names.

use super::{Month, Rows, Sums, row};

/// The names of the columns before the sums.
const KEYS: [&str; 3] = ["month", "job", "prefix"];

/// The text of a month's file.
pub(super) fn text(month: Month, rows: &Rows) -> String {
    let rows = rows.iter().flat_map(|(job, prefixes)| prefixes.iter().map(move |(prefix, sums)| (job.as_str(), prefix.as_str(), sums)));
    lines(&month.to_string(), rows)
}

/// Rows of job, prefix and sums, under the names of the columns.
pub(super) fn lines<'a>(month: &str, rows: impl Iterator<Item = (&'a str, &'a str, &'a Sums)>) -> String {
    let mut text = KEYS.iter().chain(Sums::NAMES).copied().collect::<Vec<_>>().join(",");
    text.push_str("\r\n");
    for (job, prefix, sums) in rows {
        text.push_str(&format!("{month},{},{}", quote(job), quote(prefix)));
        sums.values().for_each(|value| text.push_str(&format!(",{value}")));
        text.push_str("\r\n");
    }
    text
}

/// Reads a file. Columns are known by their names, so that one of an earlier Dragon with fewer of them is read as well; says what is wrong
/// where it is not of that month, or names a column that this Dragon does not know.
pub(super) fn parse(month: Month, text: &str) -> Result<Rows, String> {
    let mut records = Records(text);
    let names = records.next().ok_or("it is empty")??;
    let mut rows = Rows::new();
    if let Some(unknown) = names.iter().find(|name| !KEYS.contains(&name.as_str()) && !Sums::NAMES.contains(&name.as_str())) {
        return Err(format!("it has a column '{}'", unknown.escape_debug()));
    }
    let expected = month.to_string();
    for (line, record) in (2..).zip(records) {
        let record = record?;
        if record.len() != names.len() {
            return Err(format!("row {line} has {} fields of {}", record.len(), names.len()));
        }
        let field = |name: &str| names.iter().position(|known| known == name).and_then(|at| record.get(at)).map(String::as_str);
        let (Some(of), Some(job), Some(prefix)) = (field(KEYS[0]), field(KEYS[1]), field(KEYS[2])) else {
            return Err("it lacks the columns month, job and prefix".to_owned());
        };
        if of != expected {
            return Err(format!("row {line} is of another month"));
        }
        let mut sums = Sums::default();
        for (name, value) in names.iter().zip(&record) {
            if let Some(sum) = sums.named(name) {
                *sum = value.parse().map_err(|_| format!("row {line} has no number of {name}"))?;
            }
        }
        row(rows.entry(job.to_owned()).or_default(), prefix).add(&sums);
    }
    Ok(rows)
}

/// A field as RFC 4180 wants it.
fn quote(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

/// The records of a text, one after the other.
struct Records<'a>(&'a str);

impl Iterator for Records<'_> {
    type Item = Result<Vec<String>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let mut fields = vec![String::new()];
        let mut is_quoted = false;
        let mut chars = self.0.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let field = fields.last_mut()?;
            match c {
                '"' if is_quoted && chars.next_if(|(_, next)| *next == '"').is_some() => field.push('"'),
                '"' => is_quoted = !is_quoted,
                _ if is_quoted => field.push(c),
                ',' => fields.push(String::new()),
                '\r' => {}
                '\n' => {
                    self.0 = &self.0[at + 1..];
                    return Some(Ok(fields));
                }
                _ => field.push(c),
            }
        }
        self.0 = "";
        // Every line that was written has its end.
        Some(Err("it breaks off".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn november() -> Month {
        "2026-11".parse().expect("a month")
    }

    #[test]
    fn the_names_stand_first_and_fields_are_quoted() {
        let mut rows = Rows::new();
        row(rows.entry("photos".to_owned()).or_default(), "a,\"b\"/").objects_copied = 3;
        let text = text(november(), &rows);
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert!(lines[0].starts_with("month,job,prefix,objects_copied,bytes_copied,objects_deleted,"), "{text}");
        assert!(lines[0].contains(",requests_source,") && lines[0].contains(",requests_destination,"), "{text}");
        assert!(lines[1].starts_with("2026-11,photos,\"a,\"\"b\"\"/\",3,0,0,"), "{text}");
        assert_eq!((lines.len(), lines[2]), (3, ""));
        assert_eq!(lines[0].split(',').count() + 1, lines[1].split(',').count(), "the quoted comma is no column");
    }

    #[test]
    fn a_file_of_fewer_columns_is_read_and_damage_is_told() {
        let rows = parse(november(), "job,month,prefix,objects_copied\n\"a\",2026-11,,5\na,2026-11,x/,2\n").expect("read");
        assert_eq!((rows["a"][""].objects_copied, rows["a"]["x/"].objects_copied, rows["a"][""].bytes_copied), (5, 2, 0));
        for (text, told) in [
            ("", "empty"),
            ("month,job,prefix,price\r\n", "a column 'price'"),
            ("month,job,prefix,objects_copied\r\n2026-10,a,,1\r\n", "another month"),
            ("month,job,prefix,objects_copied\r\n2026-11,a,,many\r\n", "no number of objects_copied"),
            ("month,job,prefix,objects_copied\r\n2026-11,a,,-1\r\n", "no number"),
            ("month,job,prefix,objects_copied\r\n2026-11,a\r\n", "2 fields of 4"),
            ("month,job,prefix,objects_copied\r\n2026-11,a,,1", "breaks off"),
            ("month,job,prefix,objects_copied\r\n2026-11,\"a,,1\r\n", "breaks off"),
            ("job,objects_copied\r\na,1\r\n", "lacks the columns"),
        ] {
            let why = parse(november(), text).expect_err(told);
            assert!(why.contains(told), "{text:?}: {why}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(prefixes in proptest::collection::btree_map("\\PC{0,12}|[a-c,\"\r\n/]{0,6}", 0u64.., 0..20)) {
            let mut rows = Rows::new();
            for (prefix, value) in &prefixes {
                *row(rows.entry("job-1".to_owned()).or_default(), prefix) = Sums { objects_copied: *value, requests_destination_delete: value / 2, ..Sums::default() };
            }
            prop_assert_eq!(parse(november(), &text(november(), &rows)).expect("read"), rows);
        }
    }
}
