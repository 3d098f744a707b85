//! All tracked files in memory: what the rules look at, and what their tests build by hand.
//!
//! How it fails: a file git tracks but the working tree lacks is left out; one that is not text counts as a path only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use super::regions;
use super::source::Source;
use crate::workspace;

/// The tracked files.
#[derive(Debug)]
pub(crate) struct Tree {
    root: String,
    paths: BTreeSet<String>,
    texts: BTreeMap<String, String>,
    sources: Vec<Source>,
}

impl Tree {
    /// Reads every file git tracks under the workspace root.
    pub(crate) fn tracked(root: &Path) -> Result<Self> {
        let listed = workspace::output_of(root, "git", &["ls-files", "-z"])?;
        let mut paths = BTreeSet::new();
        let mut texts = BTreeMap::new();
        for path in listed.split('\0').filter(|path| !path.is_empty()) {
            let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
            paths.insert(path.to_owned());
            if let Ok(text) = String::from_utf8(bytes) {
                texts.insert(path.to_owned(), text);
            }
        }
        Ok(Self::new(root.display().to_string(), paths, texts))
    }

    fn new(root: String, paths: BTreeSet<String>, texts: BTreeMap<String, String>) -> Self {
        let mut sources: Vec<Source> = texts
            .iter()
            .filter(|(path, _)| path.ends_with(".rs"))
            .map(|(path, text)| Source::new(path, text))
            .collect();
        let test_files: BTreeSet<String> = sources.iter().flat_map(regions::test_files).collect();
        for source in &mut sources {
            if test_files.contains(&source.path) {
                source.mark_as_test();
            }
        }
        Self { root, paths, texts, sources }
    }

    /// A tree of samples, rooted at `/srv/sample`.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let texts: BTreeMap<String, String> =
            files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Self::new("/srv/sample".to_owned(), texts.keys().cloned().collect(), texts)
    }

    /// Where the workspace lies on this machine.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// Every tracked path.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// Every text file, with its path.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// One text file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Every Rust file, with comments and strings blanked out.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter()
    }

    /// Whether a path is a tracked file, or a directory that holds one.
    pub(crate) fn exists(&self, path: &str) -> bool {
        let directory = format!("{path}/");
        path.is_empty()
            || self.paths.contains(path)
            || self.paths.range(directory.clone()..).next().is_some_and(|next| next.starts_with(&directory))
    }
}
