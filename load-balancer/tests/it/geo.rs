//! Where clients are: who is believed about it, how requests are counted by it, and databases that change underneath.

use std::net::SocketAddr;
use std::path::PathBuf;

use load_balancer::control::Source;

use super::process::file;
use super::support::{
    Lb, Scrape, Script, configured, flat, geolite, keep, mmdb, refusing, registered, variables, within,
};

const TRUSTING: (&str, &str) = ("client.trusted_proxies", "[\"127.0.0.0/8\"]");
/// Addresses that have been where they are for decades.
const AMERICAN: &str = "8.8.8.8";
const EUROPEAN: &str = "193.0.6.139";
const ASIAN: &str = "202.12.29.205";

/// The file that says that these backends are in these regions.
pub(crate) fn pool(backends: &[(SocketAddr, &str)]) -> String {
    let backend = |(i, (address, region)): (usize, &(SocketAddr, &str))| {
        format!("[[pool.backend]]\nname = \"b{i}\"\naddress = \"{address}\"\nregion = \"{region}\"\n")
    };
    "[pool]\nalgorithm = \"round_robin\"\n".to_owned()
        + &backends.iter().enumerate().map(backend).collect::<String>()
}

/// A backend in each of the three regions, and a balancer over them.
async fn world(settings: &[(&str, &str)]) -> (Vec<Script>, Lb) {
    let (mut backends, mut places) = (Vec::new(), Vec::new());
    for region in ["APAC", "EU", "US"] {
        let backend = Script::named(region).await;
        places.push((backend.address, region));
        backends.push(backend);
    }
    let lb = Lb::start(configured(&pool(&places), settings)).await;
    (backends, lb)
}

/// Requests counted for clients of `region`.
pub(crate) fn from(scrape: &Scrape, region: &str) -> f64 {
    scrape.sum("lb_geo_requests_total", &[("client_region", region)])
}

fn lookups(scrape: &Scrape, result: &str) -> f64 {
    scrape.sum("lb_geo_lookups_total", &[("result", result)])
}

fn spilled(scrape: &Scrape, region: &str, reason: &str) -> f64 {
    scrape.sum("lb_geo_spillover_total", &[("client_region", region), ("reason", reason)])
}

#[tokio::test]
async fn trusted_proxies_say_where_clients_are() {
    let (_backends, lb) = world(&[TRUSTING]).await;
    for (headers, region) in [
        (&["X-Forwarded-For: 8.8.8.8"][..], "US"),
        (&["X-Forwarded-For: 2001:4860:4860::8888"], "US"),
        (&["X-Forwarded-For: 193.0.6.139:4711"], "EU"),
        (&["X-Forwarded-For: [2001:67c:2e8:22::c100:68b]:443"], "EU"),
        (&["X-Forwarded-For: ::ffff:202.12.29.205"], "APAC"),
        (&["X-Forwarded-For: 8.8.8.8, 202.12.29.205, 127.0.0.7"], "APAC"),
        (
            &["X-Forwarded-For: 8.8.8.8, 2001:dc0:2001:11::194 ,127.0.0.7", "X-Forwarded-For: 127.0.0.8"],
            "APAC",
        ),
        (&["X-Forwarded-For: 8.8.8.8", "X-Forwarded-For: 193.0.6.139"], "EU"),
        (&["X-Forwarded-For: 8.8.8.8, unknown"], "unknown"),
        (&["X-Forwarded-For: 8.8.8.8, 10.1.2.3"], "unknown"),
        (&[], "unknown"),
    ] {
        let before = from(&lb.scrape().await, region);
        assert_eq!(lb.get_with("/", headers).await.status(), 200);
        assert_eq!(from(&lb.settled().await, region), before + 1.0, "{headers:?} in {region}");
    }
    let scrape = lb.settled().await;
    assert_eq!((lookups(&scrape, "hit"), lookups(&scrape, "private")), (8.0, 3.0));
    let timed = |region| scrape.sum("lb_geo_request_duration_seconds_count", &[("client_region", region)]);
    assert_eq!(["APAC", "EU", "US", "unknown"].map(timed), [3.0, 3.0, 2.0, 3.0]);
    let matched = |kind| scrape.sum("lb_geo_requests_total", &[("match", kind)]);
    assert_eq!(matched("local") + matched("spillover"), 8.0);
    assert_eq!((matched("unknown"), scrape.sum("lb_geo_spillover_total", &[])), (3.0, matched("spillover")));
    assert_eq!(scrape.sum("lb_geo_spillover_total", &[("reason", "load")]), matched("spillover"));
    assert!(scrape.sum("lb_geo_db_build_timestamp_seconds", &[]) > 1.7e9);
}

#[tokio::test]
async fn nobody_else_says_where_they_are() {
    let (_backends, lb) = world(&[("client.trusted_proxies", "[\"10.0.0.0/8\"]")]).await;
    for header in
        ["X-Forwarded-For: 8.8.8.8", "Forwarded: for=8.8.8.8", "X-Real-IP: 8.8.8.8", "CF-IPCountry: US"]
    {
        assert_eq!(lb.get_with("/", &[header]).await.status(), 200);
    }
    let scrape = lb.settled().await;
    assert_eq!((from(&scrape, "unknown"), lookups(&scrape, "private")), (4.0, 4.0));
    assert_eq!(scrape.sum("lb_geo_requests_total", &[]), 4.0);

    let (_backends, lb) = world(&[("geo.default_region", "EU")]).await;
    assert_eq!(lb.get_with("/", &["X-Forwarded-For: 8.8.8.8"]).await.status(), 200);
    assert_eq!(from(&lb.settled().await, "EU"), 1.0, "as it is configured for addresses that are nowhere");
}

#[tokio::test]
async fn a_connection_remembers_its_last_client() {
    let (_backends, lb) = world(&[TRUSTING]).await;
    let mut wire = lb.connect().await;
    for client in [AMERICAN, AMERICAN, AMERICAN, EUROPEAN, EUROPEAN, AMERICAN] {
        wire.send(format!("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {client}\r\n\r\n")).await;
        assert_eq!(wire.reply().await.status(), 200);
    }
    let scrape = lb.settled().await;
    assert_eq!((from(&scrape, "US"), from(&scrape, "EU"), lookups(&scrape, "hit")), (4.0, 2.0, 3.0));
}

#[tokio::test]
async fn why_requests_leave_their_region_is_told() {
    let american = Script::named("US").await;
    let places = [(american.address, "US"), (refusing(), "EU")];
    let checks = [TRUSTING, ("health.enabled", "true")];
    let lb = Lb::start(configured(&pool(&places), &checks)).await;
    lb.until("the European is out", |s| s.of_backend("lb_backend_healthy", "b1") == 0.0).await;
    for client in [AMERICAN, EUROPEAN, EUROPEAN, ASIAN] {
        assert_eq!(
            lb.get_with("/", &[&format!("X-Forwarded-For: {client}")]).await.text(),
            "US",
            "never a 503"
        );
    }
    let scrape = lb.settled().await;
    assert_eq!((spilled(&scrape, "EU", "unavailable"), spilled(&scrape, "APAC", "no_backends")), (2.0, 1.0));
    assert_eq!(scrape.sum("lb_geo_spillover_total", &[]), 3.0);
    let local = [("client_region", "US"), ("backend_region", "US"), ("match", "local")];
    assert_eq!(scrape.sum("lb_geo_requests_total", &local), 1.0);
}

#[tokio::test]
async fn a_retry_is_not_counted_again() {
    let american = Script::named("US").await;
    let places = [(refusing(), "EU"), (american.address, "US")];
    let lb = Lb::start(configured(&pool(&places), &[TRUSTING, ("ejection.enabled", "false")])).await;
    for _ in 0..4 {
        let reply = lb.get_with("/", &[&format!("X-Forwarded-For: {EUROPEAN}")]).await;
        assert_eq!(reply.text(), "US");
    }
    let scrape = lb.settled().await;
    // The retry takes the turn of the American: each request begins with the European.
    assert_eq!(scrape.sum("lb_retries_total", &[("outcome", "success")]), 4.0);
    let local = scrape.sum("lb_geo_requests_total", &[("match", "local")]);
    assert_eq!((scrape.sum("lb_geo_requests_total", &[]), local), (4.0, 4.0), "by the first that was asked");
}

#[tokio::test]
async fn without_regions_nothing_is_looked_up() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[TRUSTING]).await;
    assert_eq!(lb.get_with("/", &["X-Forwarded-For: 8.8.8.8"]).await.status(), 200);
    let scrape = lb.settled().await;
    assert!(scrape.types.keys().all(|family| !family.starts_with("lb_geo_")));
}

/// A database of one European and one American network in GeoLite2's layout; which is which can be swapped.
fn database(built: u64, first: &str, second: &str) -> Vec<u8> {
    mmdb(
        "GeoLite2-Country",
        built,
        &[
            ("2.0.0.0/8", geolite(first)),
            ("3.0.0.0/8", geolite(second)),
            ("2a00::/16", registered("JP")),
            ("4.0.0.0/8", flat("FR")),
        ],
    )
}

/// A database file, removed in the end.
struct Placed(PathBuf);

impl Placed {
    fn write(&self, bytes: &[u8]) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, bytes).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn the_file_is_swapped_while_running_and_a_broken_one_is_not() {
    let placed = Placed(std::env::temp_dir().join(format!("ballast-it-{}.mmdb", std::process::id())));
    placed.write(&database(1_000, "DE", "CA"));
    let path = placed.0.display().to_string();
    let (_backends, lb) = world(&[TRUSTING, ("geo.database", &path)]).await;
    let built = |s: &Scrape| s.sum("lb_geo_db_build_timestamp_seconds", &[]);
    let mut wire = lb.connect().await;
    let ask = async |wire: &mut super::support::Wire, client: &str| {
        let before = lb.settled().await;
        wire.send(format!("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {client}\r\n\r\n")).await;
        assert_eq!(wire.reply().await.status(), 200);
        let after = lb.settled().await;
        let regions = ["APAC", "EU", "US", "unknown"];
        regions.into_iter().find(|region| from(&after, region) > from(&before, region)).unwrap()
    };
    for (client, region) in
        [("2a00::1", "APAC"), ("4.0.0.1", "EU"), ("9.9.9.9", "unknown"), ("2.0.0.1", "EU")]
    {
        assert_eq!(ask(&mut wire, client).await, region, "{client}");
    }
    assert_eq!(built(&lb.scrape().await), 1_000.0);

    placed.write(&database(2_000, "CA", "DE"));
    lb.until("the new database", |s| s.facts("geo_swapped") == 1.0).await;
    lb.until("its date", |s| built(s) == 2_000.0).await;
    assert_eq!(ask(&mut wire, "2.0.0.1").await, "US", "what the connection remembered is out of date");

    let mut cut = database(3_000, "JP", "JP");
    cut.truncate(cut.len() / 2);
    placed.write(&cut);
    lb.until("the refusal", |s| s.facts("geo_refused") == 1.0).await;
    let told = lb.facts("geo_refused").await.pop().unwrap()["text"].as_str().unwrap().to_owned();
    assert!(told.contains(&path) && told.contains("the one before it holds"), "{told}");
    assert_eq!((ask(&mut wire, "2.0.0.1").await, built(&lb.scrape().await)), ("US", 2_000.0));

    placed.write(&database(4_000, "JP", "JP"));
    lb.until("a good one again", |s| s.facts("geo_swapped") == 2.0).await;
    assert_eq!(ask(&mut wire, "2.0.0.1").await, "APAC");
}

#[tokio::test]
async fn a_reload_changes_the_regions() {
    let backends = [Script::named("a").await, Script::named("b").await];
    let at = [backends[0].address, backends[1].address];
    let path = file("geo", &pool(&[(at[0], "EU"), (at[1], "US")]));
    let lb = Lb::from(Source { path: path.clone(), env: variables(&[TRUSTING]) }).await;
    let mut wire = lb.connect().await;
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {EUROPEAN}\r\n\r\n");
    wire.send(&request).await;
    assert_eq!(wire.reply().await.status(), 200);
    assert_eq!(from(&lb.settled().await, "EU"), 1.0);

    let own = "[geo.regions]\nwest = [\"NL\", \"BE\"]\n";
    std::fs::write(&path, own.to_owned() + &pool(&[(at[0], "west"), (at[1], "US")])).unwrap();
    lb.reload();
    lb.until("the reload", |s| s.sum("lb_config_reloads_total", &[("result", "applied")]) == 1.0).await;
    for _ in 0..2 {
        wire.send(&request).await;
        assert_eq!(wire.reply().await.status(), 200);
    }
    let scrape = lb.settled().await;
    let west = [("client_region", "west"), ("backend_region", "west"), ("match", "local")];
    assert_eq!((from(&scrape, "west"), scrape.sum("lb_geo_requests_total", &west)), (2.0, 1.0));
    assert_eq!(from(&scrape, "EU"), 1.0, "what was counted stays");

    std::fs::write(&path, pool(&[(at[0], ""), (at[1], "")])).unwrap();
    lb.reload();
    lb.until("it is off", |s| s.sum("lb_config_reloads_total", &[("result", "applied")]) == 2.0).await;
    assert_eq!(within("an answer", lb.send(keep("/"))).await.status(), 200);
    assert_eq!(lb.settled().await.sum("lb_geo_requests_total", &[]), 3.0);
    std::fs::remove_file(&path).unwrap();
}
