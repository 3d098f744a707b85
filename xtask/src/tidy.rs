//! Checks the rules that no compiler knows: who may import whom, who reads the clock, how long a file may grow.
//!
//! Each rule is a function from the [`Tree`] (all tracked files, in memory) to violations, so that each is tested
//! with a sample that breaks it. Every violation of every rule is printed, as `file:line: rule: remedy`.
//! How it fails: the checks are textual, over code with comments and strings blanked out. They catch what people
//! write, not what someone could hide.

mod adr;
mod banned;
mod clock;
mod core_pure;
mod data_plane;
mod head;
mod lexicon;
mod links;
mod machine_paths;
mod mask;
mod observe_leaf;
mod publish;
mod regions;
mod size;
mod source;
mod tree;
mod violation;

use std::path::Path;

use anyhow::Result;

use tree::Tree;
use violation::Violation;

/// A rule's name in the output, and its check.
type Rule = (&'static str, fn(&Tree) -> Vec<Violation>);

/// Every rule; the order is that of the modules.
const RULES: &[Rule] = &[
    ("adr", adr::check),
    ("banned", banned::check),
    ("clock", clock::check),
    ("core-pure", core_pure::check),
    ("data-plane", data_plane::check),
    ("head", head::check),
    ("lexicon", lexicon::check),
    ("links", links::check),
    ("machine-paths", machine_paths::check),
    ("observe-leaf", observe_leaf::check),
    ("publish", publish::check),
    ("size", size::check),
];

/// Prints every violation; `true` when there is none.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let tree = Tree::tracked(root)?;
    let mut found: Vec<(&str, Violation)> = RULES
        .iter()
        .flat_map(|(name, check)| check(&tree).into_iter().map(move |violation| (*name, violation)))
        .collect();
    found.sort_by(|a, b| (&a.1.file, a.1.line, a.0).cmp(&(&b.1.file, b.1.line, b.0)));
    for (rule, Violation { file, line, remedy }) in &found {
        println!("{file}:{line}: {rule}: {remedy}");
    }
    let rules = RULES.len();
    let files = tree.paths().count();
    if found.is_empty() {
        println!("tidy: {rules} rules hold over {files} files");
    } else {
        println!("tidy: {} violations of {rules} rules in {files} files", found.len());
    }
    Ok(found.is_empty())
}
