//! `load-balancer health`: asks a running balancer how it is, for containers whose image has no other HTTP client.
//!
//! The address is an argument instead of being read from the configuration: that may have been edited into a faulty one
//! since, which the running balancer refuses and survives. Every failure is one line: no answer in time, or another than
//! 200.

use std::time::Duration;

/// Until the whole answer has come; below the three seconds that our images give a check.
const WITHIN: Duration = Duration::from_secs(2);

/// Fails, with one line for people, where `url` is not answered by 200.
///
/// # Errors
/// What was answered instead, or why nothing was.
pub fn check(url: &str) -> Result<(), String> {
    let client = reqwest::Client::builder()
        .timeout(WITHIN)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| format!("no HTTP client: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let status = runtime
        .block_on(async { client.get(url).send().await })
        .map_err(|error| format!("{url} does not answer: {}", crate::control::cause(&error)))?
        .status();
    match status.as_u16() {
        200 => Ok(()),
        other => Err(format!("{url} answers {other}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::check;

    /// A server for one request, which it answers with `head`; its URL.
    fn answering(head: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/ready", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(connection.read(&mut request).unwrap() > 0);
            connection.write_all(head.as_bytes()).unwrap();
        });
        url
    }

    #[test]
    fn only_200_is_healthy() {
        assert_eq!(check(&answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")), Ok(()));
        let url = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(check(&url), Err(format!("{url} answers 503")));
        let url = answering("HTTP/1.1 302 Found\r\nlocation: /health\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(check(&url), Err(format!("{url} answers 302")));
    }

    #[test]
    fn nobody_there_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/ready", listener.local_addr().unwrap());
        drop(listener);
        let said = check(&url).unwrap_err();
        assert!(said.starts_with(&format!("{url} does not answer: ")), "{said}");
    }
}
