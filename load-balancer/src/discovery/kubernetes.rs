//! Backends that Kubernetes has found: the EndpointSlices of one Service, or of all that a label selector fits.
//!
//! A list, then a watch from where the list ended; each change gives the whole list anew. The watch is renewed every
//! `discovery.kubernetes.watch_timeout`: the API server ends it then, so one that is still open [`GRACE`] later is a
//! connection that died unnoticed. What ends as it should goes on from the last version seen (bookmarks keep that fresh);
//! what the API server has forgotten (410) is listed again, and so is everything after a watch that could not be begun,
//! which makes a list every few seconds of a watch that is forbidden. The loop is ours and not kube's `watcher`: that one
//! says nothing when a watch works again, and asks for a version that is refused for ever (docs/adr/026).
//!
//! How it fails: the last list stays; pauses grow to ten seconds, drawn at random so that balancers do not come back
//! together; what is wrong is said each time.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use lb_core::backoff::Backoff;
use tokio::time::sleep;

use super::{Outlet, Said};
use crate::clock;
use crate::config::Kubernetes;
use crate::kubernetes::{answered, connect};

pub(crate) mod slices;

/// How much longer than asked for a watch may last before its connection is taken for dead.
const GRACE: Duration = Duration::from_secs(5);
/// A watch that has lasted this long, or has told something, is one that works.
const CALM: Duration = Duration::from_secs(1);
/// Pauses after failures in a row, the longest short enough for whoever has just mended something and looks on.
const PAUSES: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(10) };
/// Slices in one answer to a list; the rest comes in further ones.
const PAGE: u32 = 500;
/// The status for a version that is forgotten.
const GONE: u16 = 410;

/// Why there is no watch any more.
enum End {
    /// The API server ended it as it should.
    Closed,
    /// What came after the last version seen is forgotten there.
    Stale,
    /// It does not work: for people.
    Fault(String),
}

/// What a watch tells.
type Change = kube::Result<WatchEvent<EndpointSlice>>;

/// What is known so far.
struct Follower<'a> {
    settings: &'a Kubernetes,
    outlet: &'a Outlet,
    /// By name.
    slices: BTreeMap<String, EndpointSlice>,
    /// Up to where; `None` where a list is needed.
    version: Option<String>,
    /// It was listed, and no watch from there has worked yet.
    fresh: bool,
    /// The watch under way works: it has told something, or lasts.
    works: bool,
    /// What these slices come to, as it was said last.
    said: Option<Said>,
    /// That it does not work was said since.
    complained: bool,
    failures: u32,
}

/// Says who is there, and each change, for ever.
pub(super) async fn watch(settings: &Kubernetes, outlet: &Outlet) {
    let mut rng = clock::entropy();
    let mut follower = Follower {
        settings,
        outlet,
        slices: BTreeMap::new(),
        version: None,
        fresh: false,
        works: false,
        said: None,
        complained: false,
        failures: 0,
    };
    loop {
        let fault = follower.follow().await;
        follower.failed(fault);
        sleep(PAUSES.jittered(follower.failures, &mut rng)).await;
    }
}

impl Follower<'_> {
    /// Goes on until something does not work, and says what.
    async fn follow(&mut self) -> String {
        let (client, namespace) = match connect(&self.settings.cluster).await {
            Ok(connected) => connected,
            Err(reason) => return reason,
        };
        let slices: Api<EndpointSlice> = Api::namespaced(client, &namespace);
        loop {
            let end = match self.version.clone() {
                Some(version) => self.watch_from(&slices, &namespace, &version).await,
                None => match self.list(&slices, &namespace).await {
                    Ok(()) => continue,
                    Err(reason) => End::Fault(reason),
                },
            };
            match end {
                End::Closed => {}
                End::Stale if !self.fresh => self.version = None,
                End::Stale => {
                    self.version = None;
                    return "the API server has forgotten at once what it has just listed (410)".to_owned();
                }
                End::Fault(reason) => return reason,
            }
        }
    }

    /// All there is, page by page.
    async fn list(&mut self, slices: &Api<EndpointSlice>, namespace: &str) -> Result<(), String> {
        let mut asked = ListParams::default().labels(&self.settings.selector).limit(PAGE);
        let mut all = BTreeMap::new();
        loop {
            let page = answered("list endpointslices", namespace, slices.list(&asked)).await;
            let page = page.map_err(|refusal| refusal.text)?;
            all.extend(
                page.items.into_iter().filter_map(|slice| Some((slice.metadata.name.clone()?, slice))),
            );
            if let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) {
                asked = asked.continue_token(&token);
                continue;
            }
            let version = page.metadata.resource_version.filter(|version| !version.is_empty());
            (self.slices, self.version, self.fresh) = (all, version, true);
            self.say();
            return match self.version {
                Some(_) => Ok(()),
                None => Err("what the API server lists has no resourceVersion to watch from".to_owned()),
            };
        }
    }

    /// Takes in what changes after `version`.
    async fn watch_from(&mut self, slices: &Api<EndpointSlice>, namespace: &str, version: &str) -> End {
        let seconds = self.settings.watch_timeout.as_secs() as u32;
        let asked = WatchParams::default().labels(&self.settings.selector).timeout(seconds);
        let changes = match answered("watch endpointslices", namespace, slices.watch(&asked, version)).await {
            Ok(changes) => changes,
            Err(refusal) if refusal.code == GONE => return End::Stale,
            Err(refusal) => {
                self.version = None;
                return End::Fault(refusal.text);
            }
        };
        self.works = false;
        let longest = self.settings.watch_timeout + GRACE;
        let (mut over, mut calm) = (pin!(sleep(longest)), pin!(sleep(CALM).fuse()));
        let mut changes = pin!(changes);
        loop {
            let change = tokio::select! {
                change = changes.next() => change,
                () = &mut calm => {
                    self.worked();
                    self.say();
                    continue;
                }
                () = &mut over => {
                    return End::Fault(format!("the API server has not ended the watch after {longest:?}"));
                }
            };
            match self.take_all(change, changes.as_mut()) {
                Ok(()) => {}
                Err(End::Closed) if !self.works => {
                    return End::Fault("the API server ends the watch as soon as it has begun".to_owned());
                }
                Err(end) => return end,
            }
        }
    }

    /// Takes in a change and those that have come with it; together they are said once.
    fn take_all(
        &mut self,
        first: Option<Change>,
        mut changes: Pin<&mut impl Stream<Item = Change>>,
    ) -> Result<(), End> {
        let mut taken = self.take(first);
        while taken.is_ok()
            && let Some(change) = changes.next().now_or_never()
        {
            taken = self.take(change);
        }
        self.say();
        taken
    }

    fn take(&mut self, change: Option<Change>) -> Result<(), End> {
        match change {
            Some(Ok(WatchEvent::Added(slice) | WatchEvent::Modified(slice))) => {
                self.went_on(slice.metadata.resource_version.clone());
                self.slices.extend(slice.metadata.name.clone().map(|name| (name, slice)));
                Ok(())
            }
            Some(Ok(WatchEvent::Deleted(slice))) => {
                self.went_on(slice.metadata.resource_version);
                slice.metadata.name.and_then(|name| self.slices.remove(&name));
                Ok(())
            }
            Some(Ok(WatchEvent::Bookmark(mark))) => {
                self.went_on(Some(mark.metadata.resource_version));
                Ok(())
            }
            Some(Ok(WatchEvent::Error(status))) if status.code == GONE => Err(End::Stale),
            Some(Ok(WatchEvent::Error(status))) => {
                Err(End::Fault(format!("the watch failed ({}): {}", status.code, status.message)))
            }
            Some(Err(error)) => Err(End::Fault(format!("the watch broke off: {error}"))),
            None => Err(End::Closed),
        }
    }

    fn went_on(&mut self, version: Option<String>) {
        self.version = version;
        self.worked();
    }

    /// Whatever was wrong is over. Whoever was told so is told the list again.
    fn worked(&mut self) {
        (self.works, self.fresh, self.failures) = (true, false, 0);
        if self.complained {
            self.said = None;
        }
    }

    /// Says who is there, unless it was said.
    fn say(&mut self) {
        let settings = self.settings;
        let said = slices::found(self.slices.values(), &settings.port, &settings.labels);
        if self.said.as_ref() != Some(&said) {
            self.said = Some(said.clone());
            self.complained = false;
            self.outlet.say(said);
        }
    }

    fn failed(&mut self, fault: String) {
        self.failures = self.failures.saturating_add(1);
        self.complained = true;
        self.outlet.say(Err(fault));
    }
}
