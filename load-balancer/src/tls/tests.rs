//! What is read from files and refused there, each with the file at fault.

use std::path::PathBuf;

use super::client::Settings as ClientSettings;
use super::server::{ClientAuth, Settings};
use super::*;

/// A directory of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ballast-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn pair(&self, name: &str, host: &str) -> Pair {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap().self_signed(&key).unwrap();
        Pair {
            chain: self.write(&format!("{name}.pem"), &certificate.pem()),
            key: self.write(&format!("{name}.key"), &key.serialize_pem()),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn settings(pairs: Vec<Pair>) -> Settings {
    Settings { pairs, least: Version::V12, client_auth: ClientAuth::None, http2: true }
}

#[test]
fn what_cannot_be_shown_is_refused_with_its_file() {
    let folder = Folder::new("refused");
    let (a, b) = (folder.pair("a", "a.test"), folder.pair("b", "b.test"));
    let (nothing, text) = (folder.0.join("nothing"), folder.write("text", "hello"));
    let same = folder.pair("same", "a.test");
    let mixed = |chain: &PathBuf, key: &PathBuf| vec![Pair { chain: chain.clone(), key: key.clone() }];
    for (pairs, file, why) in [
        (mixed(&nothing, &a.key), &nothing, "cannot be read"),
        (mixed(&text, &a.key), &text, "holds no certificate"),
        (mixed(&a.key, &a.key), &a.key, "holds no certificate"),
        (mixed(&a.chain, &text), &text, "holds no private key"),
        (mixed(&a.chain, &a.chain), &a.chain, "holds no private key"),
        (mixed(&a.chain, &b.key), &b.key, "is not the key of the first certificate"),
        (vec![a.clone(), same.clone()], &same.chain, "would never be shown"),
    ] {
        let fault = Server::new(settings(pairs)).unwrap_err();
        assert!(fault.file == *file && fault.why.contains(why), "{fault}");
    }
    let server = Server::new(settings(vec![a.clone(), b])).unwrap();
    assert_eq!((server.files().len(), server.ends().len()), (4, 2));
    let strict = Settings { client_auth: ClientAuth::Required(text.clone()), ..settings(vec![a]) };
    assert_eq!(Server::new(strict).unwrap_err().file, text);
}

#[test]
fn the_same_files_make_the_same_and_others_do_not() {
    let folder = Folder::new("same");
    let pair = folder.pair("a", "a.test");
    let before = Server::new(settings(vec![pair.clone()])).unwrap();
    assert_eq!(before, before.again().unwrap());
    folder.pair("a", "a.test");
    assert_ne!(before, before.again().unwrap(), "another key under the same name");
    let text = format!("{before:?}");
    assert!(text.contains("a.pem") && !text.contains("PRIVATE"), "{text}");
}

#[test]
fn clients_need_authorities_that_can_be_read() {
    let folder = Folder::new("client");
    let pair = folder.pair("ca", "ca.test");
    let settings =
        |ca: Option<PathBuf>, identity| ClientSettings { ca, identity, verify: true, least: Version::V13 };
    let client = Client::new(settings(Some(pair.chain.clone()), Some(pair.clone()))).unwrap();
    assert!(client.verifies() && client.files().len() == 3 && client.ends().len() == 1);
    let fault = Client::new(settings(Some(pair.key.clone()), None)).unwrap_err();
    assert!(fault.file == pair.key && fault.why.contains("no certificate"), "{fault}");
}
