//! Every endpoint of the assignment, asked once, in order, with what must come back.

use anyhow::Result;

use super::report::Report;
use super::stage::Stage;
use super::table::Table;

/// A request and its answer: method, target, body, status, and a part of the text.
type Ask = (&'static str, &'static str, &'static str, u16, &'static str);

/// Asked of a pool of S1, S2 and S3 that has the paths `/home` and `/heartbeat`; three replicas are left at the end.
const ASKED: [Ask; 15] = [
    ("GET", "/rep", "", 200, r#"{"message":{"N":3,"replicas":["S1","S2","S3"]},"status":"successful"}"#),
    ("GET", "/home?request_id=123456", "", 200, "Hello from Server: "),
    ("GET", "/heartbeat", "", 200, ""),
    ("GET", "/other", "", 400, "<Error> '/other' endpoint does not exist in server replicas"),
    ("POST", "/add", r#"{"n":2,"hostnames":["S5"]}"#, 200, r#""N":5"#),
    (
        "POST",
        "/add",
        r#"{"n":1,"hostnames":["S6","S7"]}"#,
        400,
        "Length of hostname list is more than newly added",
    ),
    ("POST", "/add", r#"{"n":1,"hostnames":["S5"]}"#, 400, "<Error> "),
    ("POST", "/add", r#"{"hostnames":["S6"]}"#, 400, "<Error> "),
    ("DELETE", "/rm", r#"{"n":2,"hostnames":["S5"]}"#, 200, r#""N":3"#),
    (
        "DELETE",
        "/rm",
        r#"{"n":1,"hostnames":["S1","S2"]}"#,
        400,
        "Length of hostname list is more than removable",
    ),
    ("DELETE", "/rm", r#"{"n":1,"hostnames":["nobody"]}"#, 400, "<Error> "),
    ("DELETE", "/rm", r#"{"n":9}"#, 400, "<Error> "),
    ("GET", "/health", "", 200, "OK"),
    ("GET", "/metrics", "", 200, "lb_requests_total"),
    ("GET", "/decisions?format=json", "", 200, r#""kind":"joined""#),
];

/// Asks them all; the table has what came back.
pub(crate) async fn ask(stage: &Stage, report: &mut Report) -> Result<()> {
    let mut table = Table::new("Endpoints", &["request", "with", "expected", "got", "answer"]);
    let mut right = 0;
    for (method, target, body, status, part) in ASKED {
        let (code, text) = stage.ask(method, target, body).await?;
        let good = code == status && text.contains(part);
        right += usize::from(good);
        let verdict = if good { code.to_string() } else { format!("{code}, wrong") };
        table.row(vec![
            format!("{method} {target}"),
            body.to_owned(),
            status.to_string(),
            verdict,
            beginning(&text),
        ]);
    }
    report.tables.push(table);
    let expected = format!("all {} requests are answered as the assignment says", ASKED.len());
    report.check(right == ASKED.len(), &expected, right.to_string());
    Ok(())
}

/// A line's beginning: what tells what an answer is.
fn beginning(text: &str) -> String {
    const CHARACTERS: usize = 72;
    let line = text.lines().next().unwrap_or_default();
    let mut cut: String = line.chars().take(CHARACTERS).collect();
    if cut.len() < line.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_a_lines_beginning_is_shown() {
        assert_eq!(super::beginning("a\nb"), "a");
        assert_eq!(super::beginning(&"x".repeat(99)).chars().count(), 73);
    }
}
