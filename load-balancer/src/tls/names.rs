//! Which certificate a client is shown: the one with the name it asks for (SNI), or else the first.
//!
//! Names are the certificates' own (`subjectAltName`), a wildcard stands for one label. A name that nobody has is answered with
//! the first certificate, as web servers do: the client then says itself what is wrong, in words its user understands.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Certificates by name.
pub(super) struct Names {
    first: Arc<CertifiedKey>,
    others: HashMap<String, Arc<CertifiedKey>>,
}

/// Names alone: keys are for nobody's log.
impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.others.keys()).finish()
    }
}

impl Names {
    /// Shows `first` where no name fits.
    pub(super) fn new(first: CertifiedKey) -> Self {
        let mut names = Names { first: Arc::new(first), others: HashMap::new() };
        let first = Arc::clone(&names.first);
        names.name(&first);
        names
    }

    /// Adds a certificate; false where it would never be shown, since all its names are taken or it has none. Of two
    /// certificates with one name the earlier is shown.
    pub(super) fn add(&mut self, certified: CertifiedKey) -> bool {
        self.name(&Arc::new(certified))
    }

    fn name(&mut self, certified: &Arc<CertifiedKey>) -> bool {
        let parsed = certified.end_entity_cert().ok().map(webpki::EndEntityCert::try_from);
        let Some(Ok(parsed)) = parsed else { return false };
        let mut named = false;
        for name in parsed.valid_dns_names() {
            self.others.entry(name.to_ascii_lowercase()).or_insert_with(|| {
                named = true;
                Arc::clone(certified)
            });
        }
        named
    }

    fn of(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wild = || self.others.get(&format!("*.{}", name.split_once('.')?.1));
            self.others.get(&name).or_else(wild)
        });
        found.unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.of(hello.server_name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::provider;

    fn certified(names: &[&str]) -> CertifiedKey {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let der = key.serialize_der().try_into().unwrap();
        CertifiedKey::from_der(vec![certificate.der().clone()], der, &provider()).unwrap()
    }

    #[test]
    fn a_name_is_met_exactly_or_by_a_wildcard_for_one_label() {
        let mut names = Names::new(certified(&["first.test"]));
        assert!(names.add(certified(&["*.shop.test", "shop.test"])));
        assert!(names.add(certified(&["pay.shop.test", "shop.test"])), "one of its names is new");
        assert!(!names.add(certified(&["FIRST.test"])), "never shown");
        assert!(!names.add(certified(&["192.0.2.7"])), "SNI has no addresses");
        let shown = |name: Option<&str>| {
            let certificate = names.of(name).end_entity_cert().unwrap();
            let parsed = webpki::EndEntityCert::try_from(certificate).unwrap();
            parsed.valid_dns_names().next().unwrap().to_owned()
        };
        for (asked, expected) in [
            (None, "first.test"),
            (Some("first.test"), "first.test"),
            (Some("nobody.test"), "first.test"),
            (Some("shop.test"), "*.shop.test"),
            (Some("WWW.shop.TEST"), "*.shop.test"),
            (Some("pay.shop.test"), "pay.shop.test"),
            (Some("a.b.shop.test"), "first.test"),
            (Some("test"), "first.test"),
        ] {
            assert_eq!(shown(asked), expected, "{asked:?}");
        }
    }
}
