//! Flags, environment, and what is refused. The process's own variables are shut out; `tests/process.rs` sets some.

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches};

use super::*;

fn config(flags: &[&str], env: &[(&str, &str)]) -> Result<Config, String> {
    let command = Args::command().mut_args(|arg| arg.env(Resettable::Reset));
    let matches = command.try_get_matches_from(std::iter::once(&"backend").chain(flags));
    let args =
        matches.and_then(|matches| Args::from_arg_matches(&matches)).map_err(|error| error.to_string())?;
    args.config(|name| env.iter().find_map(|(key, value)| (*key == name).then(|| (*value).to_owned())))
}

#[test]
fn the_defaults() {
    let config = config(&[], &[]).unwrap();
    assert_eq!((config.name.as_str(), config.region.as_str(), config.weight), ("backend", "-", 1));
    assert_eq!((config.bind, config.port), (IpAddr::V4(Ipv4Addr::LOCALHOST), 5000));
    assert!(config.register.is_none() && !config.fault);
}

#[test]
fn the_name_comes_from_the_first_that_is_set() {
    let all = [("SERVER_ID", "id"), ("NAME", "name"), ("HOST", "host")];
    let name = |flags: &[&str], env: &[(&str, &str)]| config(flags, env).unwrap().name;
    assert_eq!(name(&["--name", "flag"], &all), "flag");
    assert_eq!(name(&["--server-id", "flag"], &all), "flag");
    assert_eq!(name(&[], &all), "id");
    assert_eq!(name(&[], &all[1..]), "name");
    assert_eq!(name(&[], &all[2..]), "host");
    assert_eq!(name(&[], &[("SERVER_ID", ""), ("NAME", "name")]), "name");
    assert_eq!(name(&[], &[("HOST", "0.0.0.0")]), "backend");
    assert_eq!(name(&[], &[("HOST", "::1")]), "backend");
}

#[test]
fn registration() {
    let flags = ["--register-url", "http://lb:5000/server_up", "--advertise-url", "http://s1:5000"];
    let register = config(&flags, &[]).unwrap().register.unwrap();
    assert_eq!(register.to.as_str(), "http://lb:5000/server_up");
    assert_eq!(register.advertise.unwrap().as_str(), "http://s1:5000/");
    assert!(config(&["--register-url", ""], &[]).unwrap().register.is_none());
}

#[test]
fn refusals_name_the_setting() {
    let long = "x".repeat(129);
    for (flags, says) in [
        (["--port", "70000"], "--port"),
        (["--port", "-1"], "-1"),
        (["--bind", "localhost"], "--bind"),
        (["--weight", "0"], "--weight"),
        (["--register-url", "lb:5000"], "REGISTER_URL"),
        (["--register-url", "https://lb/"], "only http"),
        (["--register-url", "not a url"], "REGISTER_URL"),
        (["--name", long.as_str()], "the name"),
        (["--region", "a\nb"], "the region"),
        (["--colour", "red"], "--colour"),
    ] {
        let error = config(&flags, &[]).unwrap_err();
        assert!(error.contains(says), "{flags:?}: {error}");
    }
    let flags = ["--register-url", "http://lb/", "--advertise-url", "ftp://s1/"];
    assert!(config(&flags, &[]).unwrap_err().contains("ADVERTISE_URL"));
}

#[test]
fn health_is_asked_where_the_server_listens() {
    let asks = |flags: &[&str]| {
        let command = Args::command().mut_args(|arg| arg.env(Resettable::Reset));
        let matches = command.get_matches_from(std::iter::once(&"backend").chain(flags));
        Args::from_arg_matches(&matches).unwrap().asks()
    };
    assert_eq!(asks(&["--port", "5001"]), None);
    for (bind, host) in
        [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("::", "[::1]")]
    {
        let url = format!("http://{host}:5001/health");
        assert_eq!(asks(&["--bind", bind, "--port", "5001", "health"]), Some(url), "{bind}");
    }
}
