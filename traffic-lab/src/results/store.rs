//! Files of runs in a directory: written, read, listed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Record, Run, Summary, VERSION};

/// Writes a run into `directory`, which is made where it does not exist; returns the file.
pub(crate) fn write(directory: &Path, run: &Run) -> Result<PathBuf> {
    ensure!(named(&run.id), "run id {:?}: use letters, digits, `-`, `_` and `.`", run.id);
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let path = directory.join(format!("{}.json", run.id));
    let beside = directory.join(format!(".{}.part", run.id));
    let text = serde_json::to_string(run)?;
    std::fs::write(&beside, text).with_context(|| format!("cannot write {}", beside.display()))?;
    std::fs::rename(&beside, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Reads a run.
pub(crate) fn read(path: &Path) -> Result<Run> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text, id(path)).with_context(|| path.display().to_string())
}

/// The files of a directory that may be runs, by name. A directory that is not there has none.
pub(crate) fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    // One that went away meanwhile is not there.
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

fn parse(text: &str, id: String) -> Result<Run> {
    ensure!(!text.trim().is_empty(), "the file is empty");
    // Told apart by the first character: an untagged enum's error names no place and no field.
    let run = if text.trim_start().starts_with('[') {
        let records: Vec<Record> = serde_json::from_str(text).context("not an array of records")?;
        let started = records.iter().map(Record::due).reduce(f64::min).unwrap_or(0.0);
        Run {
            version: VERSION,
            id,
            title: None,
            target: String::new(),
            started,
            sending: super::Sending::default(),
            clock: None,
            summary: Summary::default(),
            records,
        }
    } else {
        let run: Run = serde_json::from_str(text).context("not a run of traffic-lab")?;
        if run.version > VERSION {
            bail!("version {} is newer than this program, which reads {VERSION}", run.version);
        }
        Run { id, ..run }
    };
    for (at, record) in run.records.iter().enumerate() {
        ensure!(
            record.resp_rcv_time >= record.req_snd_time,
            "record {at} ends before it was sent: resp_rcv_time is below req_snd_time"
        );
    }
    let summary = Summary::of(&run.records);
    Ok(Run { summary, ..run })
}

/// The id of the run in a file: its name without the ending.
pub(crate) fn id(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether an id is a file name and nothing more.
pub(crate) fn named(id: &str) -> bool {
    !id.is_empty()
        && !id.starts_with('.')
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = r#"[{"instance": "S1", "req_snd_time": 10.0, "req_rcv_time": 10.001, "resp_snd_time": 10.004,
        "resp_rcv_time": 10.005, "status": 200}, {"req_snd_time": 10.5, "resp_rcv_time": 10.6, "error": "refused"}]"#;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("traffic-lab-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_bare_array_is_a_run_and_comes_back_as_it_was_written() {
        let run = parse(BARE, "seen".to_owned()).unwrap();
        assert_eq!((run.id.as_str(), run.records.len(), run.summary.failed), ("seen", 2, 1));
        assert!((run.records[0].processing().unwrap() - 0.003).abs() < 1e-9);
        let directory = directory("round");
        let path = write(&directory, &run).unwrap();
        assert_eq!(read(&path).unwrap(), run);
        std::fs::write(directory.join("broken.json"), "{").unwrap();
        std::fs::write(directory.join("other.txt"), "{").unwrap();
        let listed = files(&directory).unwrap();
        let good: Vec<(String, bool)> = listed.iter().map(|path| (id(path), read(path).is_ok())).collect();
        assert_eq!(good, [("broken".to_owned(), false), ("seen".to_owned(), true)]);
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(files(&directory).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let says = |text: &str| format!("{:#}", parse(text, "x".to_owned()).unwrap_err());
        assert!(says("").contains("empty"));
        assert!(says("[{}]").contains("req_snd_time"));
        assert!(says(r#"{"version": 99, "id": "x", "records": []}"#).contains("version 99 is newer"));
        assert!(says(r#"[{"req_snd_time": 2, "resp_rcv_time": 1}]"#).contains("record 0 ends before"));
    }

    #[test]
    fn an_id_is_a_file_name_and_nothing_more() {
        let run = Run { id: "../x".to_owned(), ..parse(BARE, String::new()).unwrap() };
        assert!(format!("{:#}", write(&directory("id"), &run).unwrap_err()).contains("run id"));
    }
}
