//! Reading typed values out of a parsed text, with errors that name the object.

use crate::text::{Elements, ItemRef, NodeRef};
use crate::units::{Extents, Sectors};

use super::ImportError;

/// What is wrong, without the object; the caller knows that.
pub(super) type Fault = String;

/// Puts the object before a fault.
pub(super) fn content(object: impl Into<String>, what: impl Into<String>) -> ImportError {
    ImportError::Content {
        object: object.into(),
        what: what.into(),
    }
}

/// One item whose value is to be read.
pub(super) trait Typed<'d, 'a> {
    /// A string.
    fn string(&self) -> Result<&'d str, Fault>;
    /// An unsigned number.
    fn number<T: TryFrom<i64>>(&self) -> Result<T, Fault>;
    /// An array; a scalar counts as an array of one.
    fn strings(&self) -> Result<Vec<String>, Fault>;
    /// The elements of an array.
    fn elements(&self) -> Result<Elements<'d, 'a>, Fault>;
    /// Calls `each` for every string of an array or the single string.
    fn each_string(&self, each: impl FnMut(&'d str)) -> Result<(), Fault>;
    /// A number of sectors.
    fn sectors(&self) -> Result<Sectors, Fault>;
    /// A number of extents.
    fn extents(&self) -> Result<Extents, Fault>;
}

impl<'d, 'a> Typed<'d, 'a> for ItemRef<'d, 'a> {
    fn string(&self) -> Result<&'d str, Fault> {
        self.node
            .str()
            .ok_or_else(|| format!("{} is not a string", self.key))
    }
    fn number<T: TryFrom<i64>>(&self) -> Result<T, Fault> {
        let n = self
            .node
            .int()
            .ok_or_else(|| format!("{} is not a number", self.key))?;
        T::try_from(n).map_err(|_| format!("{} = {n} is out of range", self.key))
    }
    fn strings(&self) -> Result<Vec<String>, Fault> {
        let mut out = Vec::new();
        self.each_string(|s| out.push(s.to_owned()))?;
        Ok(out)
    }
    fn elements(&self) -> Result<Elements<'d, 'a>, Fault> {
        match self.node {
            NodeRef::Array(e) => Ok(e),
            _ => Err(format!("{} is not an array", self.key)),
        }
    }
    fn each_string(&self, mut each: impl FnMut(&'d str)) -> Result<(), Fault> {
        match self.node {
            NodeRef::Str(s) => each(s),
            NodeRef::Array(elements) => {
                for e in elements {
                    each(
                        e.str()
                            .ok_or_else(|| format!("{} holds what is not a string", self.key))?,
                    );
                }
            }
            _ => return Err(format!("{} is not an array of strings", self.key)),
        }
        Ok(())
    }
    fn sectors(&self) -> Result<Sectors, Fault> {
        self.number().map(Sectors)
    }
    fn extents(&self) -> Result<Extents, Fault> {
        self.number().map(Extents)
    }
}
