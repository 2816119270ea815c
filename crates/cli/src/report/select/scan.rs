//! Characters of a selection.

/// A place in the text.
#[derive(Clone, Copy)]
pub struct Scan<'t> {
    rest: &'t str,
}

/// Signs that end an unquoted value.
const ENDS: [&str; 5] = ["&&", "||", ",", "#", ")"];

impl<'t> Scan<'t> {
    /// At the start of a text.
    pub fn new(text: &'t str) -> Self {
        Self { rest: text }
    }
    /// What is left, without the space in front.
    pub fn rest(&self) -> &'t str {
        self.rest.trim_start()
    }
    /// Takes a sign if it is next.
    pub fn take(&mut self, sign: &str) -> bool {
        match self.rest().strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
    /// Takes the first of several signs that is next.
    pub fn take_any<'s>(&mut self, signs: &[&'s str]) -> Option<&'s str> {
        signs.iter().find(|s| self.take(s)).copied()
    }
    /// Takes characters while they fit.
    pub fn while_char(&mut self, fits: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.rest = &rest[end..];
        &rest[..end]
    }
    /// Takes what stands in quotes; `None` if no quote is next. An error if it does not end.
    pub fn quoted(&mut self, pairs: &[(char, char)]) -> Result<Option<&'t str>, String> {
        let rest = self.rest();
        let Some((open, close)) = pairs.iter().find(|p| rest.starts_with(p.0)) else {
            return Ok(None);
        };
        let inner = &rest[open.len_utf8()..];
        let end = inner.find(*close).ok_or("Missing end quote.")?;
        self.rest = &inner[end + close.len_utf8()..];
        Ok(Some(&inner[..end]))
    }
    /// Takes a word that ends at a space, a logical operator, a closing parenthesis or one of
    /// `more`.
    pub fn word(&mut self, more: &str) -> &'t str {
        let rest = self.rest();
        let ends = |at: usize, c: char| {
            c.is_whitespace() || more.contains(c) || ENDS.iter().any(|e| rest[at..].starts_with(e))
        };
        let end = rest
            .char_indices()
            .find(|(i, c)| ends(*i, *c))
            .map_or(rest.len(), |x| x.0);
        self.rest = &rest[end..];
        &rest[..end]
    }
}
