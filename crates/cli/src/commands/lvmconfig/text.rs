//! Settings in the syntax of lvm.conf.

use ulvm::config::defaults;
use ulvm_metadata::tree::Value;

use super::Shown;

/// What is written beside the settings.
pub struct Shape {
    /// Spaces around the equals signs.
    pub spaces: bool,
    /// The release that brought the setting.
    pub versions: bool,
    /// A line that names the setting.
    pub comments: bool,
}

/// Settings in their sections. Settings of one section follow each other.
pub fn tree<'s>(all: impl Iterator<Item = &'s Shown>, shape: &Shape, out: &mut String) {
    let mut open: Vec<&str> = Vec::new();
    for shown in all {
        let mut path: Vec<&str> = shown.path.split('/').collect();
        path.pop();
        let same = open.iter().zip(&path).take_while(|(a, b)| a == b).count();
        close(&mut open, same, out);
        for name in &path[same..] {
            out.push_str(&format!("{}{name} {{\n", "\t".repeat(open.len())));
            open.push(name);
        }
        setting(shown, open.len(), shape, out);
    }
    close(&mut open, 0, out);
}

fn close(open: &mut Vec<&str>, down_to: usize, out: &mut String) {
    while open.len() > down_to {
        open.pop();
        out.push_str(&format!("{}}}\n", "\t".repeat(open.len())));
    }
}

/// One setting; one without a value only as a comment.
pub fn setting(shown: &Shown, depth: usize, shape: &Shape, out: &mut String) {
    let indent = "\t".repeat(depth);
    if shape.comments {
        out.push('\n');
    }
    if shape.comments {
        out.push_str(&format!("{indent}# Configuration option {}.\n", shown.path));
    }
    if let (true, Some(known)) = (shape.versions, defaults::find(&shown.path)) {
        let [a, b, c] = known.since;
        out.push_str(&format!("{indent}# Available since version {a}.{b}.{c}.\n"));
    }
    let key = shown.path.rsplit('/').next().unwrap_or(&shown.path);
    let equals = if shape.spaces { " = " } else { "=" };
    let Some(value) = &shown.value else {
        if shape.comments || shape.versions {
            out.push_str(&format!("{indent}# {key}{equals}(no default)\n"));
        }
        return;
    };
    let comment = if shown.comment { "# " } else { "" };
    out.push_str(&format!(
        "{indent}{comment}{key}{equals}{}\n",
        write(&shown.path, value, shape)
    ));
}

fn write(path: &str, value: &Value, shape: &Shape) -> String {
    match value {
        // A file mode.
        Value::Int(n) if path == "global/umask" => format!("{n:03o}"),
        Value::Int(n) => n.to_string(),
        Value::Float(text) => text.clone(),
        Value::Str(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|i| write(path, i, shape)).collect();
            match (shape.spaces, items.is_empty()) {
                (_, true) => "[]".to_owned(),
                (true, false) => format!("[ {} ]", items.join(", ")),
                (false, false) => format!("[{}]", items.join(",")),
            }
        }
    }
}
