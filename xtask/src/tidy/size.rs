//! Rule `size`: files stay small enough to read: median ≤ 150 lines, nine of ten ≤ 400, none over 700 without a reason.

use super::tree::Tree;
use super::violation::Violation;

const MEDIAN_MAX: usize = 150;
const P90_MAX: usize = 400;
const FILE_MAX: usize = 700;
/// Where a long file must give its reason.
const HEAD_LINES: usize = 10;
const REASON: &str = "long because";

/// Checks the distribution, then each long file.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut sizes: Vec<(usize, &str)> =
        tree.sources().map(|source| (source.text.lines().count(), source.path.as_str())).collect();
    sizes.sort_unstable();
    let mut found = Vec::new();
    for (name, percent, max) in [("median", 50, MEDIAN_MAX), ("p90", 90, P90_MAX)] {
        // Nearest rank: the smallest file that at least this share of all files does not exceed.
        let rank = (sizes.len() * percent).div_ceil(100);
        if let Some(&(lines, path)) = rank.checked_sub(1).and_then(|index| sizes.get(index))
            && lines > max
        {
            let remedy = format!(
                "the {name} file has {lines} lines, the limit is {max}: split the longest by concern"
            );
            found.push(Violation::new(path, lines, remedy));
        }
    }
    for source in tree.sources() {
        let lines = source.text.lines().count();
        let explained = source.text.lines().take(HEAD_LINES).any(|line| line.contains(REASON));
        if lines > FILE_MAX && !explained {
            let remedy =
                format!("{lines} lines: split it, or say \"{REASON} …\" in its first {HEAD_LINES} lines");
            found.push(Violation::new(&source.path, lines, remedy));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedies(sizes: &[usize], head: &str) -> Vec<String> {
        let files: Vec<(String, String)> = sizes
            .iter()
            .enumerate()
            .map(|(n, lines)| (format!("src/f{n}.rs"), format!("{head}\n{}", "\n".repeat(lines - 1))))
            .collect();
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        check(&Tree::of(&files)).into_iter().map(|violation| violation.remedy).collect()
    }

    #[test]
    fn each_limit_can_be_broken() {
        assert!(remedies(&[10, 151, 160], "")[0].starts_with("the median file has 151"));
        let p90 = remedies(&[10, 10, 10, 10, 10, 10, 10, 10, 401, 500], "");
        assert!(p90.len() == 1 && p90[0].starts_with("the p90 file has 401"));
        let long = remedies(&[10, 10, 10, 10, 10, 10, 10, 10, 10, 701], "");
        assert!(long.len() == 1 && long[0].starts_with("701 lines"));
    }

    #[test]
    fn limits_themselves_and_a_reasoned_giant_are_fine() {
        assert_eq!(remedies(&[150], ""), [""; 0]);
        let reasoned =
            remedies(&[10, 10, 10, 10, 10, 10, 10, 10, 10, 701], "//! long because it is one table");
        assert_eq!(reasoned, [""; 0]);
        assert_eq!(check(&Tree::of(&[])), []);
    }
}
