//! What is accepted about TLS, and what a refusal says.

use crate::config::{Config, Faults};

fn parse(text: &str) -> Result<Config, Faults> {
    let pool = "[[pool.backend]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n";
    Config::parse(&format!("{text}\n{pool}"), std::iter::empty())
}

#[test]
fn it_is_off_until_told() {
    let config = parse("").unwrap();
    assert!(config.tls.is_none() && config.admin_tls.is_none() && config.pool.tls.client.is_none());
    assert_eq!(config.pool.secures("a", config.pool.backends[0].address.as_ref().unwrap()), None);
}

#[test]
fn what_is_missing_or_of_no_use_is_a_fault_with_its_field() {
    let one = "[[tls.certificate]]\nchain = \"/nowhere.pem\"\nkey = \"/nowhere.key\"\n";
    for (text, field, remedy) in [
        ("[listen]\ntls = \"0.0.0.0:8443\"", "listen.tls", "needs certificates"),
        ("[listen]\ntls = \"8443\"", "listen.tls", "IP address and port"),
        (one, "tls", "cannot be read"),
        ("[[tls.certificate]]\nchain = \"/nowhere.pem\"", "tls.certificate[0]", "must have chain"),
        ("[[tls.certificate]]\nchain = \"a\"\nkey = \"b\"\nkeys = 1", "tls.certificate[0].keys", "unknown"),
        ("[tls]\nmin_version = \"1.1\"", "tls.min_version", "use one of: 1.2, 1.3"),
        ("[tls]\nmin_version = \"1.3\"", "tls.certificate", "is missing"),
        ("[tls]\nclient_auth = \"required\"", "tls.client_ca", "is missing"),
        ("[tls]\nclient_ca = \"ca.pem\"", "tls.client_ca", "of no use"),
        ("[tls]\nsni = true", "tls.sni", "unknown"),
        ("[tls.admin]\nclient_auth = \"maybe\"", "tls.admin.client_auth", "none, optional, required"),
        ("[pool.tls]\nenabled = true\nca = \"/nowhere.pem\"", "pool.tls", "cannot be read"),
        ("[pool.tls]\ncertificate = \"own.pem\"", "pool.tls.certificate", "must come with pool.tls.key"),
        ("[pool.tls]\nserver_name = \"a b\"", "pool.tls.server_name", "no host name"),
        ("[pool.tls]\nserver_name = \"10.0.0.1\"", "pool.tls.server_name", "no host name"),
        (
            "[pool.tls]\ninsecure_skip_verify = true\nca = \"a\"",
            "pool.tls.insecure_skip_verify",
            "contradicts",
        ),
        ("[timeouts]\ntls_handshake = \"0\"", "timeouts.tls_handshake", "cannot be turned off"),
    ] {
        let found = parse(text).unwrap_err().0;
        let said = found.iter().find(|fault| fault.field == field);
        assert!(said.is_some_and(|fault| fault.remedy.contains(remedy)), "{text}: {found:?}");
    }
    assert_eq!(parse("").unwrap().timeouts.tls_handshake, std::time::Duration::from_secs(10));
}

#[test]
fn a_source_names_addresses_and_the_pool_says_how_they_are_spoken_with() {
    let found = |address: &str| crate::config::found(&format!("[[backend]]\naddress = \"{address}\"\n"));
    assert!(found("http://b.test:1").is_ok());
    let faults = found("https://b.test:1").unwrap_err().0;
    assert!(faults[0].remedy.contains("pool.tls.enabled"), "{faults:?}");
}

#[test]
fn backends_are_spoken_with_as_their_address_says_or_else_the_pool() {
    let text = |enabled: bool| {
        format!(
            "[pool.tls]\nenabled = {enabled}\ninsecure_skip_verify = true\nserver_name = \"pool.test\"\n\
             [[pool.backend]]\nname = \"s\"\naddress = \"https://s.test:1\"\nserver_name = \"own.test\"\n\
             [[pool.backend]]\nname = \"p\"\naddress = \"http://p.test:2\"\n\
             [[pool.backend]]\nname = \"n\"\naddress = \"n.test:3\"\n"
        )
    };
    for (enabled, bare) in [(true, Some("pool.test")), (false, None)] {
        let pool = parse(&text(enabled)).unwrap().pool;
        let named = |name: &str| {
            let address = pool.backends.iter().find(|b| b.name == name).unwrap().address.clone().unwrap();
            pool.secures(name, &address)
        };
        assert_eq!(
            (named("s").as_deref(), named("p"), named("n").as_deref()),
            (Some("own.test"), None, bare)
        );
        assert!(pool.tls.client.is_some_and(|client| !client.verifies()));
    }
    // Without a name of its own or the pool's it is the address's.
    let pool = parse("[pool.tls]\nenabled = true\ninsecure_skip_verify = true").unwrap().pool;
    let address = pool.backends[0].address.clone().unwrap();
    assert_eq!(pool.secures("somebody", &address).as_deref(), Some("127.0.0.1"));
}
