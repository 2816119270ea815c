//! Parsing, against what LVM2 accepts and says.

use super::{Setting, parse};
use crate::report::fields::Group;

fn first_error(text: &str) -> Option<String> {
    let setting = Setting {
        own: Group::Lv,
        now: 1_795_458_600,
        offset: |_| 0,
    };
    parse(text, setting)
        .err()
        .and_then(|lines| lines.into_iter().next())
}

#[test]
fn good_selections_are_accepted() {
    for text in [
        "",
        "  ",
        "(lv_name=l)",
        "lv_name=l&&lv_size>1",
        "lv_name=l#lv_name=m2 , lv_name=ab",
        "!(lv_name=l)",
        "lv_name = \"a b\"",
        "lv_name=~^m|l",
        "lv_name=~(m|l)",
        "lv_name=",
        "lv_name==l",
        "lv_tags={a,b}",
        "lv_tags={a || c}",
        "lv_tags=[]",
        "lv_tags=\"\"",
        "lv_size>=4096k",
        "lv_size=0.004g",
        "seg_count=-1",
        "seg_count=1.0",
        "lv_major=undefined",
        "lv_skip_activation=\"skip activation\"",
        "lv_read_ahead=auto",
        "data_percent=10%",
        "lv_time since \"2020-01-01\"",
        "lv_time > \"2 hours ago\"",
        "lv_time_removed=@0",
        "vg_permissions=rw",
        "name=l && size=4m",
        "selected=1",
    ] {
        assert_eq!(first_error(text), None, "{text}");
    }
}

#[test]
fn bad_selections_are_refused_with_lvm2s_words() {
    for (text, error) in [
        (
            "!lv_name=l",
            "Syntax error: left parenthesis expected at 'lv_name=l'",
        ),
        (
            "(lv_name=l",
            "Syntax error: right parenthesis expected at ''",
        ),
        ("lv_name=l m2", "Expecting logical operator"),
        ("lv_name=l)", "Expecting logical operator"),
        ("lv_name=l &&", "Expecting field name"),
        ("()", "Expecting field name"),
        ("foo=1", "Unrecognised selection field: foo"),
        ("lv_all=1", "Unrecognised selection field: lv_all"),
        ("lv_name~l", "Unrecognised comparison operator: ~l"),
        (
            "lv_name>3",
            "Operator can be used only with number, size, time or percent fields: lv_name>3",
        ),
        (
            "lv_size=~4",
            "dm_report: incompatible comparison type for selection field lv_size",
        ),
        (
            "lv_size=abc",
            "Failed to parse numeric value for selection field lv_size.",
        ),
        (
            "lv_size=-4",
            "Failed to parse numeric value for selection field lv_size.",
        ),
        ("lv_size=4x", "Expecting logical operator"),
        (
            "seg_count=x",
            "Failed to parse numeric value for selection field seg_count.",
        ),
        (
            "data_percent=undefined",
            "Failed to parse numeric value for selection field data_percent.",
        ),
        (
            "lv_skip_activation=skipped",
            "Failed to parse numeric value for selection field lv_skip_activation.",
        ),
        ("lv_name=\"l", "Missing end quote."),
        ("lv_tags={a b}", "Invalid operator in selection list."),
        (
            "lv_tags={a,b||c}",
            "Only one type of logical operator allowed in selection list at a time.",
        ),
        ("lv_time_removed=0", "Incorrect date format."),
    ] {
        assert_eq!(first_error(text).as_deref(), Some(error), "{text}");
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}lv_name=l{}", "(".repeat(100_000), ")".repeat(100_000));
    assert_eq!(first_error(&deep).as_deref(), Some("Too many parentheses"));
}
