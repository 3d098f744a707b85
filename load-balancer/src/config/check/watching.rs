//! Traces and the access log.

use std::path::PathBuf;

use super::super::{AccessLog, Believed, Format, Protocol, Target, Traces, raw};
use super::{Checker, quoted};

/// Where OTLP's traces go over HTTP: an endpoint without a path means this one.
const TRACES_PATH: &str = "/v1/traces";

impl Checker {
    pub(super) fn traces(&mut self, raw: &raw::Traces) -> Traces {
        self.unknown("traces", &raw.unknown, raw::Traces::KEYS);
        let protocol = match self.one_of("traces.protocol", raw.protocol.as_ref(), &["http", "grpc"]) {
            0 => Protocol::Http,
            _ => Protocol::Grpc,
        };
        let endpoint = self.text("traces.endpoint", raw.endpoint.as_ref(), "");
        let endpoint = self.endpoint(&endpoint, protocol);
        let believed = [Believed::Trusted, Believed::Always, Believed::Nobody];
        let parent = self.one_of("traces.parent", raw.parent.as_ref(), &["trusted", "always", "ignore"]);
        Traces {
            endpoint,
            protocol,
            sample: self.float("traces.sample", raw.sample.as_ref(), 0.01, 0.0, 1.0),
            parent: believed[parent],
            service: self.name("traces.service", raw.service.as_ref(), "ballast"),
            timeout: self.time("traces.timeout", raw.timeout.as_ref(), "5s"),
            queue: self.int("traces.queue", raw.queue.as_ref(), 8_192, 1, 1_000_000) as usize,
        }
    }

    /// The receiver's URL, complete; `None` for none.
    fn endpoint(&mut self, text: &str, protocol: Protocol) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        let url = text.parse::<hyper::Uri>().ok();
        let host = url.as_ref().and_then(hyper::Uri::authority).map(|host| host.as_str());
        let (Some(url), Some(host)) = (&url, host.filter(|host| !host.contains('@'))) else {
            self.faults.add("traces.endpoint", &quoted(text), "must be a URL like \"http://localhost:4318\"");
            return None;
        };
        if url.scheme_str() != Some("http") {
            let remedy = "begins with http://: TLS is not spoken here, a collector on this machine can do it";
            self.faults.add("traces.endpoint", &quoted(text), remedy);
        }
        match (protocol, url.path()) {
            // The exporter takes a URL as it is: without this spans would be posted to /.
            (Protocol::Http, "" | "/") => Some(format!("http://{host}{TRACES_PATH}")),
            (Protocol::Grpc, path) if path.len() > 1 => {
                let remedy = "has a path, which gRPC has no use for: write \"http://localhost:4317\"";
                self.faults.add("traces.endpoint", &quoted(text), remedy);
                None
            }
            _ => Some(text.to_owned()),
        }
    }

    pub(super) fn access_log(&mut self, raw: &raw::AccessLog) -> AccessLog {
        self.unknown("access_log", &raw.unknown, raw::AccessLog::KEYS);
        let format = match self.one_of("access_log.format", raw.format.as_ref(), &["off", "json", "text"]) {
            0 => None,
            1 => Some(Format::Json),
            _ => Some(Format::Text),
        };
        let to = match self.text("access_log.path", raw.path.as_ref(), "stdout").as_str() {
            "stdout" => Target::Stdout,
            "stderr" => Target::Stderr,
            "" => {
                self.faults.add("access_log.path", "\"\"", "must be \"stdout\", \"stderr\" or a file");
                Target::Stdout
            }
            file => Target::File(PathBuf::from(file)),
        };
        AccessLog {
            format,
            to,
            share: self.float("access_log.share", raw.share.as_ref(), 1.0, 0.0, 1.0),
            queue: self.int("access_log.queue", raw.queue.as_ref(), 100_000, 1_000, 10_000_000) as usize,
            query: self.flag("access_log.query", raw.query.as_ref(), false),
        }
    }
}

#[cfg(test)]
mod tests;
