//! What the fuzz targets (`load-balancer/fuzz`) promise, held over what fuzzing has collected and over mutants of it: each
//! target's function, over each file of its corpus, on a stable compiler and in seconds.

use std::collections::BTreeSet;
use std::path::Path;

use lb_core::Rng;

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a crate of its own, in its own workspace")]
mod fuzz;

/// Mutants of each target's corpus. A fuzzer makes ten million; these catch what breaks at once.
const MUTANTS: u32 = 1_500;
/// Changes to one mutant, at most.
const CHANGES: u32 = 6;
/// Bytes of an input, as for the fuzzer.
const LONGEST: usize = 4_096;

/// Says which input it was, where the target panics.
struct Tell<'a> {
    target: &'a str,
    from: &'a str,
    input: &'a [u8],
}

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}, {}: b\"{}\"", self.target, self.from, self.input.escape_ascii());
        }
    }
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

/// A target's corpus: name and content, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder().join("corpus").join(target)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap()).collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    let read = |file: &std::fs::DirEntry| {
        (file.file_name().to_string_lossy().into_owned(), std::fs::read(file.path()).unwrap())
    };
    files.iter().map(read).collect()
}

fn mutant(corpus: &[(String, Vec<u8>)], rng: &mut Rng) -> Vec<u8> {
    let any = |rng: &mut Rng| &corpus[rng.below(corpus.len() as u32) as usize].1;
    let mut bytes = any(rng).clone();
    for _ in 0..1 + rng.below(CHANGES) {
        let at = rng.below(bytes.len() as u32 + 1) as usize;
        let end = (at + rng.below(24) as usize).min(bytes.len());
        match rng.below(6) {
            0 => bytes.insert(at, rng.next_u64() as u8),
            1 => drop(bytes.drain(at..end)),
            2 => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << rng.below(8)),
            3 => bytes[at..end].iter_mut().for_each(|byte| *byte = b"\r\n\0 ,;:=%9."[rng.below(11) as usize]),
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let other = any(rng);
                let from = rng.below(other.len() as u32 + 1) as usize;
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

fn holds(target: &str, run: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(corpus.len() >= 5, "{target}: {} files", corpus.len());
    for (file, input) in &corpus {
        let _tell = Tell { target, from: file, input };
        run(input);
    }
    let mut rng = Rng::seeded(9);
    for _ in 0..MUTANTS {
        let input = mutant(&corpus, &mut rng);
        let _tell = Tell { target, from: "a mutant", input: &input };
        run(&input);
    }
}

/// A test for each target, so that they run side by side and each has its own verdict.
macro_rules! targets {
    ($($target:ident),*) => {
        const NAMES: &[&str] = &[$(stringify!($target)),*];

        $(#[test]
        fn $target() {
            holds(stringify!($target), fuzz::$target::run);
        })*
    };
}

targets!(
    config, control, discovered, exposition, forwarded, frames, gate, head, log, message, orca, paths, proxy,
    response, slices
);

/// A target that is not replayed, or has no program, is forgotten by somebody.
#[test]
fn every_target_is_replayed_and_has_a_program() {
    let named: BTreeSet<String> = NAMES.iter().map(|&name| name.to_owned()).collect();
    let listed = |folder: &Path| -> BTreeSet<String> {
        let stem = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
        std::fs::read_dir(folder).unwrap().map(|entry| stem(&entry.unwrap().path())).collect()
    };
    assert_eq!(listed(&folder().join("corpus")), named);
    assert_eq!(listed(&folder().join("fuzz_targets")), named);
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let programs = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
    assert_eq!(
        programs.filter_map(|rest| rest.strip_suffix(".rs\"")).map(str::to_owned).collect::<BTreeSet<_>>(),
        named
    );
}
