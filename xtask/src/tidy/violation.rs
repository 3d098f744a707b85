//! One broken rule at one place, with what to do about it.

/// A broken rule: where, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Path from the workspace root.
    pub(crate) file: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// What to do, in a sentence a reader can act on.
    pub(crate) remedy: String,
}

impl Violation {
    /// A violation at a line.
    pub(crate) fn new(file: &str, line: usize, remedy: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, remedy: remedy.into() }
    }
}
