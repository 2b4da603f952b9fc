//! From a file to people. What is wrong is told by its line and never quoted: a line may hold a password.

use super::Format;
use crate::domain::import::Newcomer;
use serde_json::{Map, Value};
use std::collections::HashMap;

const FIELDS: [&str; 4] = ["username", "display_name", "email", "password"];

/// Somebody, and where they stand in the file.
pub(super) struct Entry {
    line: u64,
    pub(super) newcomer: Newcomer,
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u64,
    pub(super) what: String,
}

impl Fault {
    fn new(line: u64, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

/// What a line says, in the order of [`FIELDS`]; what is empty is not said.
type Said = [Option<String>; FIELDS.len()];

/// Reads and checks a whole file.
pub(super) fn read(bytes: &[u8], format: Format) -> (Vec<Entry>, Vec<Fault>) {
    // Spreadsheets begin with a mark that is no text.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let lines = match format {
        Format::Csv => csv_lines(bytes),
        Format::Jsonl => json_lines(bytes),
    };
    let (mut entries, mut faults, mut seen) = (Vec::new(), Vec::new(), HashMap::new());
    for line in lines {
        match line.and_then(|(line, said)| entry(line, said)) {
            Ok(entry) => match seen.insert(entry.newcomer.username.clone(), entry.line) {
                Some(first) => {
                    faults.push(Fault::new(entry.line, format!("the user name of line {first} again")));
                }
                None => entries.push(entry),
            },
            Err(fault) => faults.push(fault),
        }
    }
    if entries.is_empty() && faults.is_empty() {
        faults.push(Fault::new(1, "there is nobody in it"));
    }
    (entries, faults)
}

fn entry(line: u64, said: Said) -> Result<Entry, Fault> {
    let [username, display_name, email, password] = said;
    let username = username.ok_or_else(|| Fault::new(line, "no username"))?;
    let display_name = display_name.unwrap_or_else(|| username.clone());
    let newcomer = Newcomer { username, display_name, email, password };
    match newcomer.check() {
        Ok(()) => Ok(Entry { line, newcomer }),
        Err(rule) => Err(Fault::new(line, rule.to_string())),
    }
}

fn place(name: &str) -> Option<usize> {
    FIELDS.iter().position(|field| *field == name)
}

fn json_lines(bytes: &[u8]) -> Vec<Result<(u64, Said), Fault>> {
    let numbered = (1..).zip(bytes.split(|byte| *byte == b'\n'));
    let is_empty = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_whitespace);
    numbered.filter(|(_, bytes)| !is_empty(bytes)).map(|(line, bytes)| json_line(line, bytes)).collect()
}

fn json_line(line: u64, bytes: &[u8]) -> Result<(u64, Said), Fault> {
    let read = serde_json::from_slice::<Map<String, Value>>(bytes);
    // The library's own words quote what it met.
    let object = read.map_err(|_| Fault::new(line, r#"no JSON object, as {"username": "ada"}"#))?;
    let mut said = Said::default();
    for (name, value) in object {
        let place = place(&name).ok_or_else(|| {
            Fault::new(line, format!("a field that is not known; known are {}", FIELDS.join(", ")))
        })?;
        said[place] = match value {
            Value::String(text) => Some(text).filter(|text| !text.is_empty()),
            Value::Null => None,
            _ => return Err(Fault::new(line, format!("{} is no text in quotes", FIELDS[place]))),
        };
    }
    Ok((line, said))
}

fn csv_lines(bytes: &[u8]) -> Vec<Result<(u64, Said), Fault>> {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let delimiter = if first.contains(&b';') && !first.contains(&b',') { b';' } else { b',' };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
    let columns = match reader.headers().map_err(|error| csv_fault(&error)).and_then(columns) {
        Ok(columns) => columns,
        Err(fault) => return vec![Err(fault)],
    };
    let mut lines = Lines { bytes, at: 0, line: 1 };
    let mut read = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.map_err(|error| csv_fault(&error))?;
        let at = record.position().map_or(0, csv::Position::byte);
        csv_line(&columns, &record, lines.of(at))
    };
    reader.records().map(&mut read).collect()
}

/// Counts lines as an editor does. The library's count stands before what ends the line before a record.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the record that begins at this byte or behind the ends of lines there; records come in order.
    fn of(&mut self, byte: u64) -> u64 {
        let byte = usize::try_from(byte).unwrap_or(usize::MAX);
        while let Some(one) = self.bytes.get(self.at) {
            if self.at >= byte && !b"\r\n".contains(one) {
                break;
            }
            self.line += u64::from(*one == b'\n');
            self.at += 1;
        }
        self.line
    }
}

/// Which field each column is.
fn columns(header: &csv::StringRecord) -> Result<Vec<usize>, Fault> {
    let mut columns = Vec::new();
    for (number, name) in (1..).zip(header) {
        let place = place(name.trim()).filter(|place| !columns.contains(place)).ok_or_else(|| {
            let known = FIELDS.join(", ");
            let what =
                format!("column {number} has no name of its own: the first line names the columns, {known}");
            Fault::new(1, what)
        })?;
        columns.push(place);
    }
    Ok(columns)
}

fn csv_line(columns: &[usize], record: &csv::StringRecord, line: u64) -> Result<(u64, Said), Fault> {
    if record.len() != columns.len() {
        let what = format!("{} values for {} columns", record.len(), columns.len());
        return Err(Fault::new(line, what));
    }
    let mut said = Said::default();
    for (place, value) in columns.iter().zip(record) {
        // A password begins and ends as it is written.
        let value = if FIELDS[*place] == "password" { value } else { value.trim() };
        said[*place] = Some(value.to_owned()).filter(|value| !value.is_empty());
    }
    Ok((line, said))
}

fn csv_fault(error: &csv::Error) -> Fault {
    Fault::new(error.position().map_or(1, csv::Position::line), "not readable as CSV in UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, format: Format) -> Vec<(u64, String, String)> {
        let (entries, faults) = read(text.as_bytes(), format);
        assert_eq!(faults, []);
        let told = |entry: Entry| (entry.line, entry.newcomer.username, entry.newcomer.display_name);
        entries.into_iter().map(told).collect()
    }

    fn fault(text: &[u8], format: Format) -> (u64, String) {
        let (_, mut faults) = read(text, format);
        assert_eq!(faults.len(), 1, "{faults:?}");
        let Fault { line, what } = faults.remove(0);
        (line, what)
    }

    #[test]
    fn columns_come_in_any_order_and_a_display_name_may_be_left_out() {
        let wanted =
            [(2, "ada".to_owned(), "Ada, Countess".to_owned()), (3, "bob".to_owned(), "bob".to_owned())];
        let comma = "display_name,username,email\n\"Ada, Countess\",ada,ada@example.org\n,bob,\n";
        assert_eq!(names(comma, Format::Csv), wanted);
        let spreadsheet = "\u{feff}username;display_name\r\nada;Ada, Countess\r\nbob;\r\n";
        assert_eq!(names(spreadsheet, Format::Csv), wanted);
        let json = "\n{\"username\":\"ada\",\"display_name\":\"Ada, Countess\"}\n{\"username\":\"bob\",\"email\":null}\n";
        assert_eq!(names(json, Format::Jsonl), wanted);
    }

    #[test]
    fn a_password_keeps_its_spaces() {
        let (entries, _) = read(b"username,password\n ada , four spaces in it \n", Format::Csv);
        assert_eq!(entries[0].newcomer.username, "ada");
        assert_eq!(entries[0].newcomer.password.as_deref(), Some(" four spaces in it "));
    }

    #[test]
    fn what_is_wrong_is_told_by_line_and_rule() {
        for (text, line, what) in [
            ("", 1, "nobody"),
            ("username\n", 1, "nobody"),
            ("ada,correct horse battery\n", 1, "column 1"),
            ("username,username\nada,ada\n", 1, "column 2"),
            ("username,email\nada\n", 2, "1 values for 2 columns"),
            ("username\nada\nbob\nada\n", 4, "line 2"),
            ("username\nada\nAda\n", 3, "a-z"),
            ("username,display_name\r\n\r\nada,\"Ada\r\nLovelace\"\r\n", 3, "control"),
            ("username,display_name\r\n\r\nada,Ada\r\n\r\nAda,\r\n", 5, "a-z"),
            ("username,email\nada,example.org\n", 2, "name@host"),
            ("email\nada@example.org\n", 2, "no username"),
        ] {
            let (at, said) = fault(text.as_bytes(), Format::Csv);
            assert!(at == line && said.contains(what), "{text:?}: {at}: {said}");
        }
        assert_eq!(fault(b"username,display_name\nada,\xff\n", Format::Csv).0, 2);
        for (text, what) in [
            ("ada", "JSON object"),
            ("[\"ada\"]", "JSON object"),
            (r#"{"username":"ada","passwort":"x"}"#, "known are username"),
            (r#"{"username":"ada","password":12345678}"#, "password is no text"),
        ] {
            let (at, said) = fault(format!("\n{text}\n").as_bytes(), Format::Jsonl);
            assert!(at == 2 && said.contains(what), "{text:?}: {said}");
        }
    }
}
