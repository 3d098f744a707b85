//! The runs of a directory, read once as long as their files stay the same.
//!
//! A list needs the figures of every run, a chart the records of one: figures are kept for all, records for the last few.
//! How it fails: a file that is no run has a reason in place of figures; a directory that is not there has no runs.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};

use crate::results::{self, Run};

/// Runs whose records are kept in memory: two side by side, and two that somebody goes back to.
const KEPT: usize = 4;

/// Why a file whose name cannot stand in an address is no run.
const NO_ID: &str = "its name is no run id: rename it, with letters, digits, - _ . alone";

/// What tells whether a file is still the same.
type Stamp = (SystemTime, u64);
/// A run without its records, or why there is none.
pub(super) type Figures = Result<Arc<Run>, String>;

/// The directory, and what was read of it.
#[derive(Debug)]
pub(super) struct Library {
    directory: PathBuf,
    figures: Mutex<HashMap<PathBuf, (Stamp, Figures)>>,
    kept: Mutex<VecDeque<(PathBuf, Stamp, Arc<Run>)>>,
}

impl Library {
    /// Of `directory`, which need not be there yet.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, figures: Mutex::default(), kept: Mutex::default() }
    }

    /// Where it looks.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Every run's id and figures, the newest first, and after them the files that are none.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub(super) fn list(&self) -> Result<Vec<(String, Figures)>> {
        let mut listed = Vec::new();
        let mut known = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let mut still = HashMap::new();
        for path in results::files(&self.directory)? {
            // A file that went away meanwhile is not there.
            let Ok(stamp) = stamp(&path) else { continue };
            let id = results::id(&path);
            let figures = match known.remove(&path) {
                Some((then, figures)) if then == stamp => figures,
                _ if !results::named(&id) => Err(NO_ID.to_owned()),
                _ => figures(&path),
            };
            listed.push((id, figures.clone()));
            still.insert(path, (stamp, figures));
        }
        *known = still;
        let started = |figures: &Figures| figures.as_ref().map_or(f64::NEG_INFINITY, |run| run.started);
        listed.sort_by(|a, b| started(&b.1).total_cmp(&started(&a.1)).then_with(|| b.0.cmp(&a.0)));
        Ok(listed)
    }

    /// A run with its records.
    ///
    /// # Errors
    /// Where the id is no name of a file here, or the file is no run.
    pub(super) fn run(&self, id: &str) -> Result<Arc<Run>> {
        ensure!(results::named(id), "{id:?} is no run id");
        let path = self.directory.join(format!("{id}.json"));
        let stamp = stamp(&path)
            .with_context(|| format!("there is no run {id:?} in {}", self.directory.display()))?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(known, then, _): &(PathBuf, Stamp, Arc<Run>)| *known == path && *then == stamp;
        if let Some(entry) = kept.iter().position(same).and_then(|at| kept.remove(at)) {
            let run = Arc::clone(&entry.2);
            kept.push_back(entry);
            return Ok(run);
        }
        let run = Arc::new(results::read(&path)?);
        kept.retain(|(known, ..)| *known != path);
        kept.push_back((path, stamp, Arc::clone(&run)));
        while kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(run)
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let data = std::fs::metadata(path)?;
    Ok((data.modified()?, data.len()))
}

fn figures(path: &Path) -> Figures {
    match results::read(path) {
        Ok(run) => Ok(Arc::new(Run { records: Vec::new(), ..run })),
        // Without the file's path, which stands beside it anyway.
        Err(why) => Err(why.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>().join(": ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"[{"req_snd_time": 10.0, "resp_rcv_time": 10.5, "status": 200, "instance": "S1"}]"#;

    #[test]
    fn runs_are_listed_read_again_when_they_change_and_found_by_nothing_but_their_id() {
        let directory = std::env::temp_dir().join(format!("traffic-lab-library-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let library = Library::new(directory.join("runs"));
        assert!(library.list().unwrap().is_empty());
        std::fs::create_dir_all(library.directory()).unwrap();
        std::fs::write(directory.join("outside.json"), RUN).unwrap();
        std::fs::write(library.directory().join("good.json"), RUN).unwrap();
        std::fs::write(library.directory().join("half.json"), &RUN[..20]).unwrap();
        std::fs::write(library.directory().join("my run.json"), RUN.replace("10", "20")).unwrap();
        let listed = library.list().unwrap();
        assert_eq!(listed[0].0, "good");
        assert_eq!(listed[0].1.as_ref().unwrap().summary.requests, 1);
        let (id, fault) = &listed[1];
        assert_eq!((id.as_str(), fault.as_ref().unwrap_err().as_str()), ("my run", NO_ID));
        let why = listed[2].1.as_ref().unwrap_err();
        assert!(why.contains("not an array of records") && !why.contains("half.json"), "{why}");
        assert_eq!(library.run("good").unwrap().records.len(), 1);
        assert!(Arc::ptr_eq(&library.run("good").unwrap(), &library.run("good").unwrap()));
        for id in ["../outside", "", ".good", "good/../good", "missing", "half", "my run"] {
            assert!(library.run(id).is_err(), "{id}");
        }
        let twice = format!("[{0},{0}]", &RUN[1..RUN.len() - 1]);
        std::fs::write(library.directory().join("good.json"), twice).unwrap();
        assert_eq!(library.run("good").unwrap().records.len(), 2);
        assert_eq!(library.list().unwrap()[0].1.as_ref().unwrap().summary.requests, 2);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
