//! `load-balancer health`: asks a running balancer how it is, for containers whose image has no other HTTP client.
//!
//! The address is an argument instead of being read from the configuration: that may have been edited into a faulty one
//! since, which the running balancer refuses and survives. With `https://` its certificate is verified, as everybody's; whom to
//! believe, and what to show, are arguments too. Every failure is one line: no answer in time, or another than 200.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use reqwest::Url;

use crate::config::Address;
use crate::control::innermost;
use crate::forward::connect;
use crate::socket::Socket;
use crate::tls::{Client, Pair, Version, client::Settings};

/// Until the answer has come; below the three seconds that our images give a check.
const WITHIN: Duration = Duration::from_secs(2);

/// What TLS is spoken by, where the URL begins with `https://`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Trust {
    /// Who vouches for the balancer, in PEM [default: whom this machine believes]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// What its certificate must name [default: the URL's host]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// What is shown where [tls.admin] asks for clients' certificates
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

impl Trust {
    fn client(&self) -> Result<Client, String> {
        let identity = self.certificate.clone().zip(self.key.clone()).map(|(chain, key)| Pair { chain, key });
        let settings = Settings { ca: self.ca.clone(), identity, verify: true, least: Version::V12 };
        Client::new(settings).map_err(|fault| fault.to_string())
    }
}

/// Fails, with one line for people, where `url` is not answered by 200.
///
/// # Errors
/// What was answered instead, or why nothing was.
pub fn check(url: &str, trust: &Trust) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let answer = runtime.block_on(async {
        let asked = tokio::time::timeout(WITHIN, ask(url, trust)).await;
        asked.unwrap_or_else(|_| Err("timeout".to_owned()))
    });
    // A name that is still being looked up would be waited for.
    runtime.shutdown_background();
    match answer {
        Ok(StatusCode::OK) => Ok(()),
        Ok(other) => Err(format!("{url} answers {}", other.as_u16())),
        Err(why) => Err(format!("{url} does not answer: {why}")),
    }
}

/// The status that `url` is answered with. Nothing is followed.
async fn ask(url: &str, trust: &Trust) -> Result<StatusCode, String> {
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    let host = url.host_str().unwrap_or_default();
    let (bare, port) = (host.trim_matches(['[', ']']), url.port_or_known_default().unwrap_or(80));
    let address = match bare.parse::<IpAddr>() {
        Ok(ip) => Address::Ip((ip, port).into()),
        Err(_) => Address::Name(bare.to_owned(), port),
    };
    let tls = match url.scheme() {
        "http" => None,
        "https" => Some(trust.client()?),
        _ => return Err("it begins neither with http:// nor with https://".to_owned()),
    };
    let name = tls.as_ref().map(|_| trust.server_name.as_deref().unwrap_or(bare));
    let stream =
        connect(&address, &[], name, tls.as_ref(), false).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(Socket::new(stream)).await.map_err(|error| innermost(&error))?;
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let request = Request::get(format!("{}{query}", url.path()))
        .header(header::HOST, format!("{host}:{port}"))
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    // It ends with the runtime, and what goes wrong is told to whoever waits for the answer.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    answer.map(|answer| answer.status()).map_err(|error| innermost(&error))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::{Trust, check};

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
        assert_eq!(
            check(&answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), &Trust::default()),
            Ok(())
        );
        let url = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(check(&url, &Trust::default()), Err(format!("{url} answers 503")));
        let url = answering("HTTP/1.1 302 Found\r\nlocation: /health\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(check(&url, &Trust::default()), Err(format!("{url} answers 302")));
    }

    #[test]
    fn nobody_there_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/ready", listener.local_addr().unwrap());
        drop(listener);
        let said = check(&url, &Trust::default()).unwrap_err();
        assert!(said.starts_with(&format!("{url} does not answer: ")), "{said}");
    }
}
