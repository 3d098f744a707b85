//! The provider `docker`, on a real daemon. It runs where `BALLAST_TEST_DOCKER` says where: `SOCKET,IMAGE,NETWORK`,
//! which `tests-real/test_docker.py` does; without, it says that it was not run. The image is of the program `backend`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use load_balancer::provision::{Death, Docker, DockerSettings, Order, Provider, Replica};
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, error::TryRecvError, unbounded_channel};
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::support::{Wire, keep, within};

/// Where containers listen inside.
const PORT: u16 = 8080;

/// Where to test, and under which pool's name.
#[derive(Clone)]
struct Site {
    settings: DockerSettings,
    socket: String,
}

impl Site {
    /// `None` where there is no daemon to test with.
    fn of(pool: &str) -> Option<Site> {
        let Ok(told) = std::env::var("BALLAST_TEST_DOCKER") else {
            eprintln!("not run: BALLAST_TEST_DOCKER is not set; tests-real/test_docker.py sets it");
            return None;
        };
        let [socket, image, network] = *told.split(',').collect::<Vec<_>>() else {
            panic!("BALLAST_TEST_DOCKER is {told:?}, not SOCKET,IMAGE,NETWORK")
        };
        let settings = DockerSettings {
            host: Some(format!("unix://{socket}")),
            image: image.to_owned(),
            network: Some(network.to_owned()),
            port: PORT,
            env: [("BIND".to_owned(), "0.0.0.0".to_owned())].into(),
            command: Vec::new(),
            pool: format!("{pool}-{}", std::process::id()),
        };
        Some(Site { settings, socket: socket.to_owned() })
    }

    fn provider(&self) -> (Docker, UnboundedReceiver<Death>) {
        let (deaths, died) = unbounded_channel();
        (Docker::new(self.settings.clone(), deaths).unwrap(), died)
    }

    /// One request to the daemon behind the provider's back; its answer.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let out = Command::new("curl")
            .args([
                "-sS",
                "-X",
                method,
                "--unix-socket",
                &self.socket,
                "-H",
                "Content-Type: application/json",
            ])
            .args(["-d", body, &format!("http://docker{path}")])
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn container(&self, name: &str) -> String {
        format!("{}-{name}", self.settings.pool)
    }

    /// The names of this pool's containers, ended ones too.
    fn containers(&self) -> Vec<String> {
        let filters = format!("%7B%22label%22:%5B%22ballast.pool={}%22%5D%7D", self.settings.pool);
        let all = self.ask("GET", &format!("/containers/json?all=1&filters={filters}"), "");
        let all: Vec<serde_json::Value> = serde_json::from_str(&all).unwrap();
        let mut names: Vec<_> = all.iter().map(|c| c["Names"][0].as_str().unwrap()[1..].to_owned()).collect();
        names.sort();
        names
    }
}

/// Runs a test on a local runtime, as the control thread is one.
fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

fn order(name: &str) -> Order {
    Order { name: name.to_owned(), weight: 2, region: "north".to_owned() }
}

/// What it answers, once it listens.
async fn greeting(address: SocketAddr) -> String {
    within("a replica listens", async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut wire = Wire::connect(address).await;
    wire.send(keep("/home")).await;
    wire.reply().await.text()
}

#[test]
fn containers_are_created_die_and_are_removed() {
    let Some(site) = Site::of("life") else { return };
    local(async {
        let (provider, mut died) = site.provider();
        assert_eq!(provider.adopt().await.unwrap(), []);
        for name in ["a", "b", "c"] {
            let replica = provider.create(order(name)).await.unwrap();
            assert_eq!((replica.name.as_str(), replica.address.port()), (name, PORT));
            let said = greeting(replica.address).await;
            assert!(said.contains(&format!("Hello from Server: {name}")), "{said}");
        }
        let taken = provider.create(order("a")).await.unwrap_err();
        assert!(taken.contains("a runs already"), "{taken}");

        site.ask("POST", &format!("/containers/{}/kill", site.container("b")), "");
        let death = tokio::time::timeout(Duration::from_secs(5), died.recv()).await.unwrap().unwrap();
        assert_eq!(death, Death { name: "b".to_owned(), reason: "killed by signal 9".to_owned() });
        // The name is free again.
        within("the next b", provider.create(order("b"))).await.unwrap();

        within("the removal", provider.remove("a")).await.unwrap();
        assert_eq!(site.containers(), [site.container("b"), site.container("c")]);
        provider.remove("a").await.unwrap();
        provider.remove("nobody").await.unwrap();

        within("the shutdown", provider.shutdown()).await;
        assert!(site.containers().is_empty());
        assert!(provider.create(order("d")).await.unwrap_err().contains("being stopped"));
        assert_eq!(died.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn the_next_balancer_takes_over_what_runs() {
    let Some(site) = Site::of("adopt") else { return };
    local(async {
        let (first, _died) = site.provider();
        first.adopt().await.unwrap();
        let a = first.create(order("a")).await.unwrap();
        first.create(order("b")).await.unwrap();
        // It ends without a shutdown, as a crash would have it.
        drop(first);
        site.ask("POST", &format!("/containers/{}/kill", site.container("b")), "");

        let (second, mut died) = site.provider();
        assert_eq!(second.adopt().await.unwrap(), [Replica { name: "a".to_owned(), address: a.address }]);
        assert_eq!(site.containers(), [site.container("a")]);
        site.ask("POST", &format!("/containers/{}/kill?signal=TERM", site.container("a")), "");
        let death = within("the death", died.recv()).await.unwrap();
        assert_eq!((death.name.as_str(), death.reason.as_str()), ("a", "exit status 0"));
        assert!(site.containers().is_empty());
        second.shutdown().await;
    });
}

/// A way to the daemon that can be cut: while `open` is false, connections end and new ones are refused.
async fn gate(from: PathBuf, to: String, open: watch::Receiver<bool>) {
    let listener = UnixListener::bind(from).unwrap();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let (to, mut open) = (to.clone(), open.clone());
        tokio::spawn(async move {
            let mut far = UnixStream::connect(to).await.unwrap();
            tokio::select! {
                _ = open.wait_for(|&open| !open) => {}
                _ = copy_bidirectional(&mut near, &mut far) => {}
            }
        });
    }
}

#[test]
fn no_death_is_lost_and_none_invented_while_the_daemon_is_away() {
    let Some(site) = Site::of("away") else { return };
    local(async {
        let path = std::env::temp_dir().join(format!("ballast-it-{}.sock", std::process::id()));
        let (open, opened) = watch::channel(true);
        let gate = tokio::spawn(gate(path.clone(), site.socket.clone(), opened));
        within("the gate", async {
            while !path.exists() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let settings =
            DockerSettings { host: Some(format!("unix://{}", path.display())), ..site.settings.clone() };
        let (provider, mut died) = Site { settings, ..site.clone() }.provider();
        provider.adopt().await.unwrap();
        provider.create(order("a")).await.unwrap();
        provider.create(order("b")).await.unwrap();

        open.send_replace(false);
        site.ask("POST", &format!("/containers/{}/kill", site.container("b")), "");
        assert!(within("a refusal", provider.create(order("c"))).await.is_err());
        assert_eq!(died.try_recv(), Err(TryRecvError::Empty));
        open.send_replace(true);
        assert_eq!(within("the death", died.recv()).await.unwrap().name, "b");
        assert_eq!(site.containers(), [site.container("a")]);

        provider.shutdown().await;
        assert!(site.containers().is_empty());
        assert_eq!(died.try_recv(), Err(TryRecvError::Empty));
        gate.abort();
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn failures_are_told_and_nothing_is_left() {
    let Some(site) = Site::of("failing") else { return };
    local(async {
        let mut wrong = site.clone();
        wrong.settings.image = "nobody/has:this".to_owned();
        let (provider, _died) = wrong.provider();
        provider.adopt().await.unwrap();
        let error = provider.create(order("a")).await.unwrap_err();
        assert!(error.contains("image nobody/has:this is not here: pull or build it"), "{error}");

        let network = Some("nowhere".to_owned());
        let settings = DockerSettings { network, ..site.settings.clone() };
        let (provider, mut died) = Site { settings, ..site.clone() }.provider();
        provider.adopt().await.unwrap();
        let error = provider.create(order("a")).await.unwrap_err();
        assert!(error.contains("nowhere not found"), "{error}");
        assert!(site.containers().is_empty());
        assert_eq!(died.try_recv(), Err(TryRecvError::Empty));

        // Whether its end comes before or after its address is known, it is told once.
        let settings = DockerSettings { command: vec!["--nonsense".to_owned()], ..site.settings.clone() };
        let (provider, mut died) = Site { settings, ..site.clone() }.provider();
        provider.adopt().await.unwrap();
        let told = match provider.create(order("a")).await {
            Ok(_) => within("the death", died.recv()).await.unwrap().reason,
            Err(error) => error,
        };
        assert!(told.contains("exit status 2"), "{told}");
        assert!(site.containers().is_empty());
        assert_eq!(died.try_recv(), Err(TryRecvError::Empty));

        // A dropped creation is brought to its end, and undone.
        let (provider, mut died) = site.provider();
        provider.adopt().await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(1), provider.create(order("a"))).await.is_err());
        within("the shutdown", provider.shutdown()).await;
        assert!(site.containers().is_empty());
        assert_eq!(died.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn strangers_are_left_alone() {
    let Some(site) = Site::of("stranger") else { return };
    local(async {
        let stranger = site.container("a");
        let body =
            format!("{{\"Image\":\"{}\",\"Labels\":{{\"ballast.pool\":\"other\"}}}}", site.settings.image);
        site.ask("POST", &format!("/containers/create?name={stranger}"), &body);
        site.ask("POST", &format!("/containers/{stranger}/start"), "");
        let (provider, _died) = site.provider();
        assert_eq!(provider.adopt().await.unwrap(), []);
        let error = provider.create(order("a")).await.unwrap_err();
        assert!(error.contains("taken by a container that is not of pool"), "{error}");
        let error = provider.remove("a").await.unwrap_err();
        assert!(error.contains("left alone"), "{error}");
        provider.shutdown().await;
        let seen = site.ask("GET", &format!("/containers/{stranger}/json"), "");
        assert!(seen.contains("\"Running\":true"), "{seen}");
        site.ask("DELETE", &format!("/containers/{stranger}?force=1"), "");
    });
}

#[test]
fn a_host_that_makes_no_sense_is_refused() {
    let (deaths, _died) = unbounded_channel();
    for (host, why) in [("localhost:2375", "tcp://HOST:PORT"), ("unix:///nowhere.sock", "is it running?")] {
        let settings = DockerSettings { host: Some(host.to_owned()), ..Default::default() };
        let error = Docker::new(settings, deaths.clone()).err().unwrap();
        assert!(error.contains(host) && error.contains(why), "{error}");
    }
}
