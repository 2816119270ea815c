//! `-o help` and `-S help`.

use super::fields::{FIELDS, Group};
use super::select::Vocabulary;

/// The fields, group by group.
pub fn fields() -> String {
    listing(|field| field.about.to_owned(), true)
}

fn listing(about: impl Fn(&super::fields::Field) -> String, groups: bool) -> String {
    let mut out = String::new();
    for ((group, title, prefix), fields) in Group::ALL.iter().zip(FIELDS) {
        out.push_str(&format!("  {title}\n  {}\n", "-".repeat(title.len())));
        if groups && *group != Group::Special {
            out.push_str(&format!(
                "    {:<27} - All fields of {prefix}.\n",
                format!("{prefix}_all")
            ));
        }
        for field in fields {
            out.push_str(&format!("    {:<27} - {}\n", field.id, about(field)));
        }
        out.push_str("   \n");
    }
    out
}

/// The fields with their types, the values they may be compared with, and the operators.
pub fn selection() -> String {
    let mut out = listing(|f| format!("{} [{}]", f.about, f.kind.word()), false);
    out.push_str(OPERANDS);
    out.push_str("  Reserved values\n  ---------------\n");
    for (words, what) in Vocabulary::lines() {
        out.push_str(&format!("    {words:<31} - {what}\n"));
    }
    out.push_str(OPERATORS);
    out
}

const OPERANDS: &str = "  Selection operands
  ------------------
    number       - Whole number.
    size         - Number with a unit; mebibytes without one.
    percent      - Number, with or without %.
    string       - Text, in quotes if it has spaces or operators in it.
    string list  - Texts in [ ] (these and no others) or { } (these at least),
                   with , or && between them (all) or # or || (any).
    time         - Date and time, @SECONDS, or words such as yesterday.
   \n";

const OPERATORS: &str = "   
  Selection operators
  -------------------
    =  !=           equal, not equal [all types]
    >= > <= <       compare [number, size, percent, time]
    since after until before   the same [time]
    =~ !~           matches a regular expression, does not [string]
    && ,            all must hold
    || #            one must hold
    !( )            must not hold
    ( )             grouping
   \n";
