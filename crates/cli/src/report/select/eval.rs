//! Does a row match a comparison?

use super::{Compare, ListOperand, Op, Operand};
use crate::report::row::Row;
use crate::report::value::Value;

impl Compare {
    pub(super) fn holds(&self, row: &Row<'_>) -> bool {
        let value = (self.field.get)(row);
        match &self.operand {
            Operand::Text(text) => self.same(as_text(&value) == text.as_str()),
            Operand::Regex(regex) => {
                let found = regex.is_match(as_text(&value));
                (self.op == Op::Match) == found
            }
            Operand::List(list) => self.same(list.fits(&value)),
            Operand::Number(n) => match value.as_number() {
                Some(v) => self.order(v as f64, *n as f64),
                None => self.op == Op::Different,
            },
            Operand::Undefined => self.same(value.as_number().is_none()),
            Operand::Size(bytes) => match value.as_number() {
                Some(sectors) => self.order(sectors as f64 * 512.0, *bytes),
                None => self.op == Op::Different,
            },
            Operand::Percent(p) => match value.as_number() {
                // Hundredths.
                Some(v) => self.order(v as f64 / 100.0, *p),
                None => self.op == Op::Different,
            },
            Operand::Time(from, to) => self.time(value.as_number().unwrap_or(0), *from, *to),
        }
    }

    fn same(&self, equal: bool) -> bool {
        (self.op == Op::Different) != equal
    }

    fn order(&self, value: f64, operand: f64) -> bool {
        // Sizes are typed with few digits: a difference below a byte is none.
        let equal = (value - operand).abs() < 0.5_f64.min(operand.abs().max(1.0) * 1e-9);
        match self.op {
            Op::Equal | Op::Match => equal,
            Op::Different | Op::NoMatch => !equal,
            Op::AtLeast => equal || value > operand,
            Op::Above => !equal && value > operand,
            Op::AtMost => equal || value < operand,
            Op::Below => !equal && value < operand,
        }
    }

    fn time(&self, value: i64, from: i64, to: i64) -> bool {
        let within = value >= from && value <= to;
        match self.op {
            Op::Equal | Op::Match => within,
            Op::Different | Op::NoMatch => !within,
            Op::AtLeast => value >= from,
            Op::Above => value > to,
            Op::AtMost => value <= to,
            Op::Below => value < from,
        }
    }
}

fn as_text<'v>(value: &'v Value<'_>) -> &'v str {
    match value {
        Value::Text(text) => text,
        _ => "",
    }
}

impl ListOperand {
    fn fits(&self, value: &Value<'_>) -> bool {
        let Value::List(field) = value else {
            return false;
        };
        let in_field = |item: &String| field.items.iter().any(|f| f == item);
        let in_operand = |item: &str| self.items.iter().any(|i| i == item);
        if self.items.is_empty() {
            return field.items.is_empty();
        }
        match (self.strict, self.any) {
            (true, false) => {
                self.items.iter().all(in_field) && field.items.iter().all(|f| in_operand(f))
            }
            (true, true) => !field.items.is_empty() && field.items.iter().all(|f| in_operand(f)),
            (false, false) => self.items.iter().all(in_field),
            (false, true) => self.items.iter().any(in_field),
        }
    }
}
