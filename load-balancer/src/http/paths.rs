//! Which paths backends have, where `pool.allowed_paths` says so.
//!
//! Paths are compared in one spelling, so that no other spelling of a path slips past the list: escapes of unreserved
//! characters are decoded and the others written in upper case (RFC 3986, 6.2.2.1 and 6.2.2.2). What a backend might
//! resolve to another path than the one compared here, dot segments above all, is on no list.

use std::borrow::Cow;

use crate::config::AllowedPath;

/// Reads an entry of the list: a path, with `/*` behind it for everything below.
///
/// `None` where the text is not a path in this sense: without `/` in front, with a query, fragment or another `*`, or one
/// that [`is_allowed`] would always refuse.
#[must_use]
pub fn allowed(text: &str) -> Option<AllowedPath> {
    let (path, below) = text.strip_suffix("/*").map_or((text, false), |path| (path, true));
    let rooted = path.starts_with('/') || (below && path.is_empty());
    if !rooted || path.contains(['?', '#', '*']) {
        return None;
    }
    let path = plain(path)?.into_owned();
    Some(if below { AllowedPath::Below(path) } else { AllowedPath::Exact(path) })
}

/// Whether `path`, as a client sent it, is on the list; an empty list is one of all paths. Allocates nothing unless the
/// path has escapes.
#[must_use]
pub fn is_allowed(list: &[AllowedPath], path: &str) -> bool {
    if list.is_empty() {
        return true;
    }
    let Some(path) = plain(path) else { return false };
    list.iter().any(|allowed| match allowed {
        AllowedPath::Exact(exact) => path == exact.as_str(),
        AllowedPath::Below(root) => {
            path.strip_prefix(root.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    })
}

/// Whether a backend might take `path` for one on the list, an empty list being one of all paths: for limits, where doubt
/// must not be a way out, as it is none in.
#[must_use]
pub fn may_be(list: &[AllowedPath], path: &str) -> bool {
    let doubtful = |path: &str| plain(path).is_none_or(|path| path.contains("//") || path.contains("%2F"));
    list.is_empty() || is_allowed(list, path) || doubtful(path)
}

/// The one spelling of a path; `None` where it has broken escapes or dot segments.
fn plain(path: &str) -> Option<Cow<'_, str>> {
    let path = decoded(path)?;
    (!has_dot_segment(&path)).then_some(path)
}

/// Decodes the escapes of unreserved characters and writes the others in upper case; `None` where an escape is broken.
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    let mut parts = path.split('%');
    let first = parts.next()?;
    if first.len() == path.len() {
        return Some(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len());
    out.push_str(first);
    for part in parts {
        let digits = part.get(..2).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&digits.to_ascii_uppercase());
        }
        out.push_str(&part[2..]);
    }
    Some(Cow::Owned(out))
}

/// Whether a backend might find `.` or `..` between the separators of a decoded path. Some take a backslash or an
/// escaped slash for a separator, and some cut parameters off (`..;x`), before they resolve.
fn has_dot_segment(path: &str) -> bool {
    let path = match path.contains('%') {
        true => Cow::Owned(path.replace("%2F", "/").replace("%5C", "/").replace("%3B", ";")),
        false => Cow::Borrowed(path),
    };
    path.split(['/', '\\']).any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(list: &[&str], path: &str) -> bool {
        let list: Vec<_> = list.iter().map(|text| allowed(text).unwrap()).collect();
        is_allowed(&list, path)
    }

    #[test]
    fn no_list_is_a_list_of_all() {
        assert!(["/", "*", "/a/../b", "/%zz"].iter().all(|path| is_allowed(&[], path)));
        assert!(passes(&["/*"], "/") && passes(&["/*"], "/any/thing"));
        assert!(!passes(&["/*"], "*"), "OPTIONS * has no path");
    }

    #[test]
    fn exact_paths_and_everything_below() {
        let list = ["/status", "/api/*"];
        for good in [
            "/status",
            "/api",
            "/api/",
            "/api/x",
            "/api/x/y",
            "/api//x",
            "/api/.hidden",
            "/api/...",
            "/api/a..b",
        ] {
            assert!(passes(&list, good), "{good}");
        }
        for bad in ["/", "/status/", "/status/x", "/Status", "/apix", "/apix/y", "//api", "/x/api", ""] {
            assert!(!passes(&list, bad), "{bad}");
        }
        assert!(!passes(&["/"], "/x"), "an exact path is not what is below it");
    }

    #[test]
    fn other_spellings_are_the_same_path() {
        for same in ["/%61pi/x", "/api/%78", "/%61%70%69", "/api/%7euser"] {
            assert!(passes(&["/api/*"], same), "{same}");
        }
        assert!(passes(&["/caf%c3%a9"], "/caf%C3%A9") && passes(&["/%61"], "/a"));
        for other in ["/api%2Fx", "/api%2fx", "/api%00", "/%2561pi", "%2Fapi"] {
            assert!(!passes(&["/api/*"], other), "{other}");
        }
    }

    #[test]
    fn nothing_resolves_to_where_it_may_not() {
        for trick in [
            "/api/..",
            "/api/../secret",
            "/api/./x",
            "/api/%2e%2e/secret",
            "/api/%2E./secret",
            "/api/.%2e",
            "/api/..%2fsecret",
            "/api/x%2F..%2F..%2Fsecret",
            "/api/..\\secret",
            "/api/x%5c..%5csecret",
            "/api/..;/secret",
            "/api/..;v=1/secret",
            "/api/..%3b/secret",
            "/api/x/.",
            "/api/%",
            "/api/%2",
            "/api/%zz",
            "/api/%+1",
        ] {
            assert!(!passes(&["/api/*"], trick) && !passes(&["/*"], trick), "{trick}");
        }
    }

    #[test]
    fn entries_that_could_never_match_are_none() {
        for bad in ["", "api", "*", "/a*", "/*/a", "/a?b", "/a#b", "/a/../b", "/%zz", "a/*"] {
            assert_eq!(allowed(bad), None, "{bad}");
        }
        assert_eq!(allowed("/%61/*"), Some(AllowedPath::Below("/a".to_owned())));
    }
}
