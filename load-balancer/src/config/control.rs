//! Settings of the control endpoints: who may see and change what.

use std::net::IpAddr;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

/// The control endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// Whether they also answer on the traffic port, hiding backends' paths of the same names.
    pub on_traffic_port: bool,
    /// What a request may present; where none may change, loopback peers change things, and nobody else.
    pub tokens: Vec<Token>,
    /// Networks whose peers may read on the admin listener without a token.
    pub readers: Vec<IpNet>,
    /// Names that the admin listener goes by, beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// Connections to the admin listener at once.
    pub connections: usize,
    /// Whether `/server_up` takes backends in.
    pub registration: bool,
    /// Networks that a registered backend must lie in.
    pub networks: Vec<IpNet>,
    /// Members the pool may have, however they came.
    pub max_backends: usize,
    /// Request ids that each backend is remembered for, 0..=100,000; 0 for none.
    pub request_log: usize,
}

impl Control {
    /// Whether the peer at `ip` may read without a token.
    #[must_use]
    pub fn reads_freely(&self, ip: IpAddr) -> bool {
        self.readers.iter().any(|net| net.contains(&ip))
    }
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To read.
    Read,
    /// To read and to change.
    Change,
}

/// A secret that no log and no error shows. Only its digest is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What the audit log calls whoever has it.
    pub name: String,
    /// What it allows.
    pub right: Right,
    digest: [u8; 32],
}

impl Token {
    /// The token `secret`.
    #[must_use]
    pub fn new(name: &str, right: Right, secret: &str) -> Self {
        Token { name: name.to_owned(), right, digest: Sha256::digest(secret).into() }
    }

    /// The one of `tokens` that was offered. Digests are compared, all of each, and all of them: how long that takes depends
    /// neither on where an offer differs from a token, nor on the token's length, nor on which token it is.
    #[must_use]
    pub fn among<'a>(tokens: &'a [Token], offered: &[u8]) -> Option<&'a Token> {
        let digest: [u8; 32] = Sha256::digest(offered).into();
        tokens.iter().fold(None, |found, token| if token.is(&digest) { Some(token) } else { found })
    }

    fn is(&self, digest: &[u8; 32]) -> bool {
        let differs = self.digest.iter().zip(digest).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differs) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({}, {:?}, …)", self.name, self.right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_alone_and_is_not_shown() {
        let tokens = [Token::new("ops", Right::Change, "secret"), Token::new("eyes", Right::Read, "other")];
        assert_eq!(Token::among(&tokens, b"secret").unwrap().name, "ops");
        assert_eq!(Token::among(&tokens, b"other").unwrap().right, Right::Read);
        for wrong in ["", "secre", "secret2", "Secret", "xxxxxx", "secretother"] {
            assert!(Token::among(&tokens, wrong.as_bytes()).is_none(), "{wrong}");
        }
        let shown = format!("{tokens:?}");
        assert!(
            shown.contains("ops")
                && !shown.contains("secret")
                && !shown.contains(&format!("{:?}", tokens[0].digest))
        );
    }
}
