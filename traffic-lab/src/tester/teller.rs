//! Who answered, and when by its own clock, as far as an answer tells.
//!
//! Understood are the answers of the `backend` service: JSON with `instance` (and its two times) or `server`, the message
//! "Hello from Server: NAME", the line "Hello from NAME, region …".
//! How it fails: what says nothing of it leaves the fields empty.

use serde::Deserialize;

/// What an answer tells of its sender.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// Its name.
    pub(crate) instance: Option<String>,
    /// When it had the request, Unix seconds.
    pub(crate) received: Option<f64>,
    /// When it answered, Unix seconds.
    pub(crate) answered: Option<f64>,
}

#[derive(Deserialize)]
struct Body {
    instance: Option<String>,
    server: Option<String>,
    message: Option<String>,
    req_rcv_time: Option<f64>,
    resp_snd_time: Option<f64>,
}

/// Reads a body's beginning.
pub(crate) fn told(body: &[u8]) -> Told {
    if body.first() != Some(&b'{') {
        let text = body.strip_prefix(b"Hello from ").and_then(|rest| std::str::from_utf8(rest).ok());
        let name = text.and_then(|rest| rest.split_once(", region ")).map(|(name, _)| name.to_owned());
        return Told { instance: name, ..Told::default() };
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else { return Told::default() };
    let greeted = || Some(body.message?.strip_prefix("Hello from Server: ")?.to_owned());
    Told {
        instance: body.instance.or(body.server).or_else(greeted),
        received: body.req_rcv_time,
        answered: body.resp_snd_time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_the_backend_is_understood() {
        let name = |text: &str| told(text.as_bytes()).instance;
        let bench = told(br#"{"instance":"b1","req_rcv_time":1.5,"resp_snd_time":2.25}"#);
        let expected = Told { instance: Some("b1".to_owned()), received: Some(1.5), answered: Some(2.25) };
        assert_eq!(bench, expected);
        let b2 = Some("b2".to_owned());
        assert_eq!(name(r#"{"message":"Hello from Server: b2","status":"successful"}"#), b2);
        assert_eq!(name(r#"{"message":"Request 7 handled by Server: b2","server":"b2"}"#), b2);
        assert_eq!(name("Hello from b2, region EU, algorithm -\n"), b2);
        for nothing in ["", "yes", "{", r#"{"error":"No backend available"}"#, r#"{"instance":7}"#, "[1]"] {
            assert_eq!(told(nothing.as_bytes()), Told::default(), "{nothing}");
        }
    }
}
