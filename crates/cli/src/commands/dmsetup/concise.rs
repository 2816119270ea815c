//! Devices in one line: `NAME,UUID,MINOR,FLAGS,LINE[,LINE...]`, with semicolons between them. A
//! backslash takes its meaning from a comma, a semicolon or a backslash.

use ulvm::daemon::dm::DmDevice;
use ulvm::error::Result;

use super::create::New;
use super::failed;
use super::show::{spaced, table_of};

/// Text up to each separator, which a backslash takes its meaning from. Other backslashes stay.
fn parts(text: &str, separator: char) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut escaped = false;
    for letter in text.chars() {
        if letter == separator && !escaped {
            out.push(String::new());
        } else if let Some(last) = out.last_mut() {
            last.push(letter);
        }
        escaped = letter == '\\' && !escaped;
    }
    out
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.extend(letters.next()),
            _ => out.push(letter),
        }
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, ',' | ';' | '\\') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// The devices of a list.
pub fn parse(text: &str) -> Result<Vec<New>> {
    let text = text.trim_end_matches(['\n', '\r', ' ']);
    let mut list = parts(text, ';');
    if list.last().is_some_and(|last| last.trim().is_empty()) {
        list.pop();
    }
    list.iter().map(|one| device(one)).collect()
}

fn device(text: &str) -> Result<New> {
    let fields: Vec<String> = parts(text.trim_start(), ',')
        .iter()
        .map(|field| unescaped(field))
        .collect();
    let [name, uuid, minor, flags, lines @ ..] = fields.as_slice() else {
        return Err(too_few(&fields));
    };
    if lines.is_empty() {
        return Err(too_few(&fields));
    }
    let read_only = match flags.as_str() {
        "" | "rw" => false,
        "ro" => true,
        other => {
            return Err(failed(format!(
                "Invalid flags parameter '{other}' must be 'ro' or 'rw' or empty."
            )));
        }
    };
    let minor = match minor.as_str() {
        "" => None,
        word => Some(
            word.parse()
                .map_err(|_| failed(format!("Invalid minor number {word}.")))?,
        ),
    };
    Ok(New {
        name: name.clone(),
        uuid: uuid.clone(),
        minor,
        read_only,
        table: lines.join("\n"),
    })
}

fn too_few(fields: &[String]) -> ulvm::error::Error {
    let field = |n: usize| fields.get(n).map_or("(null)", String::as_str);
    failed("Five comma-separated fields are required for each device").and(format!(
        "Parsed {} fields: name: {} uuid: {} minor: {} flags: {} table: {}",
        fields.len(),
        field(0),
        field(1),
        field(2),
        field(3),
        field(4)
    ))
}

/// A device as one entry of a list.
pub fn entry(device: &DmDevice, inactive: bool) -> String {
    let mut out = format!(
        "{},{},{},{}",
        escaped(&device.name),
        escaped(&device.uuid),
        device.number.1,
        if device.read_only { "ro" } else { "rw" },
    );
    for line in table_of(device, inactive).lines() {
        out.push(',');
        out.push_str(&escaped(&spaced(line)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_devices_with_lines() {
        let list = parse("a,U,3,ro,0 8 zero,8 8 error;b\\,c,,,,0 1 zero;\n").expect("list");
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].table, "0 8 zero\n8 8 error");
        assert_eq!((list[0].minor, list[0].read_only), (Some(3), true));
        assert_eq!(list[1].name, "b,c");
        assert!(parse("bad").is_err() && parse("a,,,,").is_ok());
        assert!(parse("a,,x,,0 1 zero").is_err() && parse("a,,,no,0 1 zero").is_err());
    }
}
