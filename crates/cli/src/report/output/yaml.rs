//! YAML: the tree of the typed JSON, without LVM2's indentation.

use super::{Object, json};
use crate::report::value::Style;

/// Writes the whole document.
pub fn write(objects: &[Object<'_>], style: &Style, put: &mut dyn FnMut(&str)) {
    let mut document = String::new();
    json::write(objects, style, true, &mut |text| document.push_str(text));
    let tree: Result<serde_json::Value, _> = serde_json::from_str(&document);
    // The document was made a moment ago: it always parses, and always turns into YAML.
    let yaml = tree.ok().and_then(|t| serde_yaml::to_string(&t).ok());
    put(yaml.as_deref().unwrap_or(""));
}
