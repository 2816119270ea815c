//! The command line: one shared table of options, and what a command sees of them.

mod parser;
pub mod sets;
pub mod table;
#[cfg(test)]
mod tests;
pub mod value;

pub use parser::{builder, parse};
pub use table::Opt;

use clap::ArgMatches;

/// The parsed command line of one command. Values have been checked by their kind, so that a
/// number is a number; sizes and extents are left as text for their own parsers.
#[derive(Debug)]
pub struct Args {
    matches: ArgMatches,
    operands: Vec<String>,
    /// Options of the command, beside the common ones. (The parser itself tells what it takes in
    /// debug builds only.)
    options: &'static [Opt],
}

impl Args {
    /// Was the option given?
    pub fn has(&self, opt: Opt) -> bool {
        self.count(opt) > 0
    }
    /// How often it was given.
    pub fn count(&self, opt: Opt) -> usize {
        let spec = opt.spec();
        if !self.takes(opt) {
            0
        } else if spec.value.takes_value() {
            self.matches
                .get_many::<String>(spec.id)
                .map_or(0, Iterator::count)
        } else {
            usize::from(self.matches.get_count(spec.id))
        }
    }
    /// Its value (the last one, if it was repeated).
    pub fn text(&self, opt: Opt) -> Option<&str> {
        self.texts(opt).last()
    }
    /// Its values in order.
    pub fn texts(&self, opt: Opt) -> impl Iterator<Item = &str> {
        let spec = opt.spec();
        let values = if self.takes(opt) && spec.value.takes_value() {
            self.matches.get_many::<String>(spec.id)
        } else {
            None
        };
        values.into_iter().flatten().map(String::as_str)
    }
    /// The profile that a VG or LV shall remember: `--metadataprofile`, or `--profile` where that
    /// could be given.
    pub fn metadata_profile(&self) -> Option<&str> {
        let own = self.text(Opt::MetadataProfile);
        own.or_else(|| {
            self.text(Opt::Profile)
                .filter(|_| self.takes(Opt::MetadataProfile))
        })
    }
    /// A `y|n` option.
    pub fn yes_no(&self, opt: Opt) -> Option<bool> {
        self.text(opt).and_then(value::yes_no)
    }
    /// A number option.
    pub fn number(&self, opt: Opt) -> Option<i64> {
        self.text(opt).and_then(|t| t.parse().ok())
    }
    /// Options in the order of the command line, as (position, option, value).
    pub fn in_order(&self, opts: &[Opt]) -> Vec<(usize, Opt, &str)> {
        let mut out: Vec<(usize, Opt, &str)> = Vec::new();
        for opt in opts.iter().filter(|o| self.takes(**o)) {
            let id = opt.spec().id;
            if let (Some(at), true) = (self.matches.indices_of(id), opt.spec().value.takes_value())
            {
                out.extend(at.zip(self.texts(*opt)).map(|(i, v)| (i, *opt, v)));
            }
        }
        out.sort_by_key(|o| o.0);
        out
    }
    /// Everything that is not an option, in order.
    pub fn operands(&self) -> &[String] {
        &self.operands
    }
    /// `-f` given?
    pub fn force(&self) -> bool {
        self.has(Opt::Force)
    }

    pub fn takes(&self, opt: Opt) -> bool {
        self.options.contains(&opt) || sets::COMMON.contains(&opt)
    }
}
