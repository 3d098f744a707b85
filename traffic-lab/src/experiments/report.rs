//! What an experiment came to: tables, charts, which expectations held, and what is to be said about the originals.
//!
//! Kept are `NAME.json` (all of it), `NAME.md` (a section for docs/EXPERIMENTS.md) and the charts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::Lab;
use super::environment::Environment;
use super::table::Table;

/// An experiment's results.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// As on the command line.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) quick: bool,
    pub(crate) environment: Environment,
    pub(crate) tables: Vec<Table>,
    pub(crate) charts: Vec<Chart>,
    pub(crate) checks: Vec<Check>,
    /// What the originals' figures mean beside these.
    pub(crate) remarks: Vec<String>,
    /// The numbers themselves, for programs.
    pub(crate) figures: serde_json::Map<String, serde_json::Value>,
}

/// A chart and where it is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Chart {
    pub(crate) file: String,
    #[serde(skip)]
    pub(crate) svg: String,
}

/// An expectation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) expected: String,
    pub(crate) seen: String,
    pub(crate) holds: bool,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(lab: &Lab, name: &'static str, title: &'static str) -> Self {
        eprintln!("{name}: {title} …");
        Self {
            name,
            title,
            quick: lab.quick,
            environment: Environment::read(),
            tables: Vec::new(),
            charts: Vec::new(),
            checks: Vec::new(),
            remarks: Vec::new(),
            figures: serde_json::Map::new(),
        }
    }

    /// Adds a chart; its file is `NAME-of.svg`.
    pub(crate) fn chart(&mut self, of: &str, svg: String) {
        self.charts.push(Chart { file: format!("{}-{of}.svg", self.name), svg });
    }

    /// States an expectation and what was seen instead, or so.
    pub(crate) fn check(&mut self, holds: bool, expected: &str, seen: String) {
        self.checks.push(Check { expected: expected.to_owned(), seen, holds });
    }

    /// Something to know.
    pub(crate) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// A number, or several, for programs.
    pub(crate) fn figure(&mut self, name: &str, value: impl Serialize) -> Result<()> {
        self.figures.insert(name.to_owned(), serde_json::to_value(value)?);
        Ok(())
    }

    /// Whether all expectations held.
    pub(crate) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let mut out = format!("\n{}: {}\n{}\n", self.name, self.title, self.environment.line());
        for table in &self.tables {
            let _ = write!(out, "\n{}", table.text());
        }
        out.push('\n');
        for Check { expected, seen, holds } in &self.checks {
            let word = if *holds { "holds" } else { "FAILS" };
            let _ = writeln!(out, "{word}  {expected}: {seen}");
        }
        for remark in &self.remarks {
            let _ = writeln!(out, "note   {remark}");
        }
        out
    }

    /// A section of a page; charts are looked for in `experiments/`.
    pub(crate) fn markdown(&self) -> String {
        let Self { name, title, .. } = self;
        let command = if self.quick {
            format!("traffic-lab run {name} --quick")
        } else {
            format!("make experiments ONLY={name}        # traffic-lab run {name}")
        };
        let mut out = format!("## {name}: {title}\n\n```\n{command}\n```\n\n");
        let _ = writeln!(out, "{}.\n", self.environment.line());
        for table in &self.tables {
            let _ = writeln!(out, "{}", table.markdown());
        }
        for chart in &self.charts {
            let _ = writeln!(out, "![{}](experiments/{})\n", chart.file.trim_end_matches(".svg"), chart.file);
        }
        for Check { expected, seen, holds } in &self.checks {
            let word = if *holds { "Holds" } else { "**Fails**" };
            let _ = writeln!(out, "- {word}: {expected}: {seen}");
        }
        for remark in &self.remarks {
            let _ = writeln!(out, "- {remark}");
        }
        out
    }

    /// Keeps everything in a directory of its name below `out`, which is returned.
    pub(crate) fn write(&self, out: &Path) -> Result<PathBuf> {
        let directory = out.join(self.name);
        std::fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
        let keep = |file: &str, text: &str| {
            let path = directory.join(file);
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
        };
        for chart in &self.charts {
            keep(&chart.file, &chart.svg)?;
        }
        keep(&format!("{}.md", self.name), &self.markdown())?;
        keep(&format!("{}.json", self.name), &(serde_json::to_string_pretty(self)? + "\n"))?;
        Ok(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_hold_is_told_and_kept() {
        let mut report = Report::new(&Lab::nowhere(), "a-1", "Who got what");
        report.check(true, "none is lost", "0".to_owned());
        assert!(report.holds());
        report.check(false, "max/mean of at most 1.05", "1.4".to_owned());
        report.remark("the original lost 149");
        report.figure("ratio", 1.4).unwrap();
        report.chart("n3", "<svg/>".to_owned());
        assert!(!report.holds());
        assert!(report.text().contains("FAILS  max/mean of at most 1.05: 1.4\n"), "{}", report.text());
        assert!(report.markdown().contains("![a-1-n3](experiments/a-1-n3.svg)"), "{}", report.markdown());
        let out = std::env::temp_dir().join(format!("traffic-lab-report-{}", std::process::id()));
        let kept = report.write(&out).unwrap();
        let json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(kept.join("a-1.json")).unwrap()).unwrap();
        assert_eq!(
            (json["checks"][1]["holds"].as_bool(), json["figures"]["ratio"].as_f64()),
            (Some(false), Some(1.4))
        );
        assert_eq!(std::fs::read_to_string(kept.join("a-1-n3.svg")).unwrap(), "<svg/>");
        std::fs::remove_dir_all(&out).unwrap();
    }
}
