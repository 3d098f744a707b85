//! Faults, collected: whoever mends a configuration wants to see them all at once.

use std::fmt;

/// What a fault shows instead of a secret.
pub(super) const HIDDEN: &str = "(not shown)";

/// One thing wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field, as in the file: `timeouts.connect`.
    pub field: String,
    /// The value found, as written; empty where it is missing.
    pub value: String,
    /// What is wrong and what to write instead.
    pub remedy: String,
}

/// At least one fault.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// A single fault.
    #[must_use]
    pub fn one(field: &str, value: &str, remedy: String) -> Self {
        let mut faults = Faults::default();
        faults.add(field, value, remedy);
        faults
    }

    /// Adds a fault.
    pub fn add(&mut self, field: &str, value: &str, remedy: impl Into<String>) {
        self.0.push(Fault { field: field.to_owned(), value: value.to_owned(), remedy: remedy.into() });
    }
}

impl Faults {
    /// Fields and remedies without the values, for records that others read.
    #[must_use]
    pub fn without_values(&self) -> String {
        let all: Vec<String> = self.0.iter().map(|f| format!("{}: {}", f.field, f.remedy)).collect();
        all.join("; ")
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.len();
        writeln!(f, "{n} fault{} in the configuration:", if n == 1 { "" } else { "s" })?;
        for fault in &self.0 {
            let value = if fault.value.is_empty() { String::new() } else { format!(" = {}", fault.value) };
            writeln!(f, "  {}{value}: {}", fault.field, fault.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
