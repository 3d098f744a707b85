//! A double of Kubernetes' API server: EndpointSlices by list (in pages) and watch, a Deployment's scale, and every way in
//! which the real one lets its clients down. Plain HTTP; a kubeconfig names it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Message, Wire, within};

mod serve;

use serve::{fits, serve, status};

/// Slices in a page of a list, however many are asked for.
const PAGE: usize = 3;

/// What there is, what happened, and how the server behaves.
#[derive(Default)]
pub(crate) struct World {
    slices: BTreeMap<String, Value>,
    /// Every change, by the version that it made.
    changes: Vec<(u64, Value)>,
    version: u64,
    /// The last version that a watch was told.
    pub(crate) told: u64,
    /// Changes up to this one are forgotten.
    forgotten: u64,
    /// Lists, watches and changes are forbidden whose verb this has.
    pub(crate) forbidden: Vec<&'static str>,
    /// Requests are taken and never answered, and watches tell nothing and do not end.
    pub(crate) mute: bool,
    /// Requests with these verbs are done, and never answered.
    pub(crate) lost: Vec<&'static str>,
    /// Watches end as soon as they have begun.
    pub(crate) curt: bool,
    /// Lines of requests, as they came.
    pub(crate) requests: Vec<String>,
    /// Watches that are open.
    pub(crate) watches: usize,
    /// Pods that the Deployment is to have, and the version of that.
    pub(crate) replicas: (u32, u64),
    /// Somebody else changes that number so many times, each between its being read and written.
    pub(crate) meddling: usize,
}

/// The double, and the kubeconfig that leads there. Both go when it is dropped.
pub(crate) struct Cluster {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) address: SocketAddr,
    world: Arc<Mutex<World>>,
    /// What has changed; and the number of times that all connections were cut.
    news: watch::Sender<u64>,
    accepting: Option<JoinHandle<()>>,
}

impl Cluster {
    pub(crate) async fn start() -> Cluster {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let own = format!("ballast-it-{}-cluster-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
        let kubeconfig = std::env::temp_dir().join(own);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters: [{{ name: it, cluster: {{ server: \"http://{address}\" }} }}]\n\
             users: [{{ name: it, user: {{ token: sesame }} }}]\n\
             contexts: [{{ name: it, context: {{ cluster: it, user: it, namespace: shop }} }}]\n"
        );
        std::fs::write(&kubeconfig, text).unwrap();
        let world = World { replicas: (3, 1), ..World::default() };
        let (news, _) = watch::channel(0);
        let mut cluster =
            Cluster { kubeconfig, address, world: Arc::new(Mutex::new(world)), news, accepting: None };
        cluster.accept(listener);
        cluster
    }

    fn accept(&mut self, listener: TcpListener) {
        let (world, news) = (Arc::clone(&self.world), self.news.clone());
        self.accepting = Some(tokio::spawn(async move {
            // With it, every connection ends.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(Wire::new(stream), Arc::clone(&world), news.subscribe()));
            }
        }));
    }

    /// Refuses connections, and cuts those that there are.
    pub(crate) async fn go(&mut self) {
        let accepting = self.accepting.take().unwrap();
        accepting.abort();
        assert!(accepting.await.unwrap_err().is_cancelled());
    }

    /// Is there again.
    pub(crate) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.accept(listener);
    }

    /// Cuts all connections and takes new ones.
    pub(crate) async fn cut(&mut self) {
        self.go().await;
        self.come_back().await;
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Adds or changes a slice.
    pub(crate) fn put(&self, name: &str, slice: Value) {
        self.change(name, Some(slice));
    }

    pub(crate) fn delete(&self, name: &str) {
        self.change(name, None);
    }

    fn change(&self, name: &str, slice: Option<Value>) {
        self.world().change(name, slice);
        self.news.send_modify(|n| *n += 1);
    }

    /// Forgets all changes so far: whoever has not seen them all is told to list again.
    pub(crate) fn forget(&self) {
        let mut world = self.world();
        world.forgotten = world.version;
        world.changes.clear();
    }

    /// Forgets one that nobody has seen: everybody is told to list again.
    pub(crate) fn lose(&self) {
        self.world().version += 1;
        self.forget();
        self.news.send_modify(|n| *n += 1);
    }

    /// Tells all who watch up to where they are.
    pub(crate) fn bookmark(&self) {
        {
            let mut world = self.world();
            world.version += 1;
            let metadata = json!({ "resourceVersion": world.version.to_string(), "creationTimestamp": null });
            let kind =
                json!({ "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "metadata": metadata });
            let version = world.version;
            world.changes.push((version, json!({ "type": "BOOKMARK", "object": kind })));
        }
        self.news.send_modify(|n| *n += 1);
    }

    /// Requests so far whose line contains this.
    pub(crate) fn asked(&self, part: &str) -> usize {
        self.world().requests.iter().filter(|line| line.contains(part)).count()
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&World) -> bool) {
        within(what, async {
            while !condition(&self.world()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

impl World {
    fn change(&mut self, name: &str, slice: Option<Value>) {
        self.version += 1;
        let before = self.slices.remove(name);
        let kind = match (&slice, &before) {
            (None, _) => "DELETED",
            (Some(_), None) => "ADDED",
            (Some(_), Some(_)) => "MODIFIED",
        };
        let mut object = slice.clone().or(before).unwrap();
        object["metadata"]["name"] = json!(name);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if slice.is_some() {
            self.slices.insert(name.to_owned(), object.clone());
        }
        self.changes.push((self.version, json!({ "type": kind, "object": object })));
    }

    /// A page of the list. The token holds the version of the first page, as the real one's does.
    fn page(&self, query: &BTreeMap<String, String>) -> Result<Value, Value> {
        let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
        let (version, skip) = match query.get("continue").and_then(|token| token.split_once('-')) {
            Some((version, skip)) => (version.parse().unwrap(), skip.parse().unwrap()),
            None => (self.version, 0_usize),
        };
        if version < self.forgotten {
            return Err(status(410, "Expired", "The provided continue parameter is too old"));
        }
        let all: Vec<&Value> = self.slices.values().filter(|slice| fits(slice, query)).collect();
        let end = (skip + PAGE.min(limit)).min(all.len());
        let rest = if end < all.len() { json!(format!("{version}-{end}")) } else { json!("") };
        let metadata = json!({ "resourceVersion": version.to_string(), "continue": rest });
        let kind = json!({ "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1" });
        Ok(
            json!({ "kind": kind["kind"], "apiVersion": kind["apiVersion"], "metadata": metadata, "items": all[skip..end] }),
        )
    }

    fn scale(&self) -> Value {
        let (replicas, version) = self.replicas;
        let metadata =
            json!({ "name": "backend", "namespace": "shop", "resourceVersion": version.to_string() });
        json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
                "spec": { "replicas": replicas }, "status": { "replicas": replicas } })
    }

    /// Reads or writes the number of pods.
    fn scaled(&mut self, request: &Message) -> (u16, Value) {
        if !request.target().contains("/namespaces/shop/deployments/backend/scale") {
            return (404, status(404, "NotFound", "deployments.apps not found"));
        }
        if request.method() == "PATCH" {
            let patch = request.json();
            if patch["metadata"]["resourceVersion"] != json!(self.replicas.1.to_string()) {
                return (409, status(409, "Conflict", "the object has been modified"));
            }
            self.replicas = (patch["spec"]["replicas"].as_u64().unwrap() as u32, self.replicas.1 + 1);
        }
        let answer = self.scale();
        if request.method() == "GET" && self.meddling > 0 {
            self.meddling -= 1;
            self.replicas = (self.replicas.0 + 1, self.replicas.1 + 1);
        }
        (200, answer)
    }
}
