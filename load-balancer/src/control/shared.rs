//! What this balancer tells the others and takes from them: the control side of the shared store.
//!
//! A round comes in three steps: the exchange task asks what to tell ([`Control::offer`]), talks to the store, and brings
//! back what the others said ([`Control::shared`]). `members` follows their membership, `backends` takes in what they know of
//! single backends, `rates` who used rate limits, `message` is the form of what is told.
//!
//! Every age is counted from receipt, corrected by the store's own clock: nobody's wall clock is ever read. While the store
//! is lost, what the others said last fades within [`TTL`]; then this balancer is alone, and does everything itself.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use lb_core::fact::Fact;
use lb_core::hash::hash64;
use lb_core::roster::Roster;
use lb_core::{Rng, Tick};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Control;
use super::members::DRAIN_LEAST;
use crate::clock;
use crate::config::Config;
use crate::event::Event;
use crate::store::exchange::{Exchange, Round};
use crate::store::{Lost, Offer, RESULTS, Said, StateStore, TTL};

mod backends;
mod members;
pub(crate) mod message;
mod namesake;
mod order;
mod rates;

use message::{Message, Place};
use namesake::Namesake;

/// Removals that are remembered: whoever was away while more were made may bring one back.
const REMOVALS_MOST: usize = 1_000;
/// Between a balancer's name and the number of its start; in no name.
const START: char = '/';
/// How long the end waits until the others have taken replicas out that end with it.
const PARTING: Duration = Duration::from_secs(6);
/// How long the end waits for the farewell, beyond a round's own time.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is known of the other balancers.
pub(super) struct Sharing {
    /// What the others call this balancer.
    own: String,
    /// The same and a number of this start: words of an earlier start are another's, and no two of one rank differ.
    speaker: String,
    /// What the store is called; `None` where there is none.
    store: Option<String>,
    roster: Roster<Place>,
    /// What changes now is what others said: not to be said again.
    hearing: bool,
    others: BTreeMap<String, Heard>,
    namesake: Namesake,
    /// Whether the store could be used; `None` before the first round.
    up: Option<bool>,
    /// The last round of each other's use of each rate limit that was charged here.
    charged: HashMap<(String, String), u64>,
    /// This balancer's turns as of the last round, and turns drawn alone that were counted.
    drawn: u64,
    alone: u64,
    urgent: Rc<Notify>,
    task: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// What another balancer said last.
struct Heard {
    at: Tick,
    message: Message,
    /// The words about members that it knows: names and numbers.
    known: BTreeMap<String, u64>,
}

impl Sharing {
    pub(super) fn new(config: &Config, shares: bool, rng: &mut Rng) -> Self {
        let own = config.store.instance.clone().unwrap_or_else(|| format!("{:016x}", rng.next_u64()));
        let place = config.store.place.as_ref().map_or_else(|| "memory".to_owned(), ToString::to_string);
        let speaker = format!("{own}{START}{:08x}", rng.next_u64() >> 32);
        Sharing {
            roster: Roster::new(&speaker),
            own,
            speaker,
            store: shares.then_some(place),
            hearing: false,
            others: BTreeMap::new(),
            namesake: Namesake::default(),
            up: None,
            charged: HashMap::new(),
            drawn: 0,
            alone: 0,
            urgent: Rc::default(),
            task: None,
        }
    }

    /// Whether there is nothing (more) to hear before traffic may come.
    pub(super) fn settled(&self) -> bool {
        self.store.is_none() || self.up.is_some()
    }

    /// Whether whoever spoke is still there, and since when what it says is known; `None` for an earlier start of this one.
    fn speaks_still(&self, speaker: &str) -> Option<&Heard> {
        self.others.get(speaker.split(START).next().unwrap_or(speaker))
    }

    /// The others by their hashes.
    fn hashes(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        self.others.keys().map(|name| hash64(name.as_bytes()))
    }
}

impl Control {
    /// What this balancer is called among others.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.sharing.own
    }

    /// Whether other balancers are to come to the same conclusions.
    pub(super) fn shares(&self) -> bool {
        self.sharing.store.is_some()
    }

    /// Begins to meet the others in `store`.
    pub(super) fn start_sharing(&mut self, store: Option<Box<dyn StateStore>>) {
        self.metrics.balancers_live.with_label_values(&[&self.metrics.pool]).set(1);
        self.metrics.name_taken.with_label_values(&[&self.metrics.pool]).set(0);
        let (Some(store), Some(events)) = (store, self.events.clone()) else { return };
        self.metrics.store_up.with_label_values::<&str>(&[]).set(0);
        self.metrics.turns_local.with_label_values(&[&self.metrics.pool]);
        self.metrics.store_duration.with_label_values(&["round"]);
        for result in RESULTS {
            self.metrics.store_operations.with_label_values(&["round", result]);
        }
        let (end, ended) = oneshot::channel();
        let exchange = Exchange {
            store,
            interval: self.config.store.interval,
            events,
            urgent: Rc::clone(&self.sharing.urgent),
            ended,
            clock: self.clock,
            rng: clock::entropy(),
        };
        self.sharing.task = Some((end, tokio::task::spawn_local(exchange.run())));
    }

    /// What was said last is heard by the others first; and replicas that end with this balancer are taken out by them, so
    /// that none of their requests meets the end.
    pub(super) async fn part(&mut self, inbox: &mut mpsc::UnboundedReceiver<Event>) {
        if self.sharing.up != Some(true) || self.sharing.others.is_empty() {
            return;
        }
        let away = self.say_away();
        let known = async {
            while !self.all_know() {
                match inbox.recv().await {
                    // What changes now concerns nobody any more, but rounds go on.
                    Some(event) => {
                        self.handle(event);
                    }
                    None => return,
                }
            }
            if away {
                // As for every drain: by then all workers of the others have seen it.
                tokio::time::sleep(DRAIN_LEAST).await;
            }
        };
        // Who does not hear of it finds out by failing.
        let _ = tokio::time::timeout(PARTING, known).await;
    }

    /// The end: the others hear of it at once. `inbox` is drained meanwhile: a round may be under way.
    pub(super) async fn end_sharing(&mut self, inbox: &mut mpsc::UnboundedReceiver<Event>) {
        let Some((end, task)) = self.sharing.task.take() else { return };
        // The task may be gone already.
        let _ = end.send(());
        let patience = self.config.store.timeout * 2 + FAREWELL;
        let farewell = async {
            tokio::pin!(task);
            loop {
                tokio::select! {
                    _ = &mut task => return,
                    Some(event) = inbox.recv() => if let Event::Telling(asker) = event {
                        // One more round does no harm; nobody needs it either.
                        drop(asker);
                    },
                }
            }
        };
        // Whoever waits longer is taken for gone after the time to live.
        let _ = tokio::time::timeout(patience, farewell).await;
    }

    /// What the others are to know now.
    pub(super) fn offer(&mut self) -> Offer {
        let now = self.clock.now();
        self.sharing.roster.prune(REMOVALS_MOST);
        let message = Message {
            speaker: self.sharing.speaker.clone(),
            members: self.told_members(),
            backends: self.told_backends(now),
            rates: self.told_rates(now),
        };
        let blocks = self.pool.turns().map_or(0, |(turns, own)| {
            let demand = own - std::mem::replace(&mut self.sharing.drawn, own);
            turns.want(own, demand)
        });
        // Numbers and texts: nothing that could not be written.
        Offer { message: serde_json::to_vec(&message).unwrap_or_default(), blocks }
    }

    /// Takes in what a round brought; true where others must see a change.
    pub(super) fn shared(&mut self, round: Round) -> bool {
        let result = round.result.as_ref().err().map_or(RESULTS[0], Lost::result);
        self.metrics.store_operations.with_label_values(&["round", result]).inc();
        self.metrics.store_duration.with_label_values(&["round"]).observe(round.took.as_secs_f64());
        match round.result {
            Ok(taken) => {
                if let Some((turns, own)) = self.pool.turns() {
                    turns.fill(own, taken.first, round.blocks);
                }
                let words = self.hear(round.at, taken.others);
                self.set_store(Ok(()));
                self.look_for_namesake(round.at, taken.before);
                self.follow_rates(round.at);
                let changed = self.follow_members(words);
                self.follow_backends(round.at) | changed
            }
            Err(lost) => {
                self.set_store(Err(&lost));
                false
            }
        }
    }

    /// Says so where another balancer goes by this one's name.
    fn look_for_namesake(&mut self, now: Tick, before: Option<Vec<u8>>) {
        let own = |message: Message| message.speaker == self.sharing.speaker;
        let foreign = before.is_some_and(|said| !serde_json::from_slice(&said).is_ok_and(own));
        if self.sharing.namesake.looked(now, foreign) {
            self.tell(Fact::NameTaken { instance: self.sharing.own.clone() });
        }
    }

    /// Keeps what the others said; returns what they say about members.
    fn hear(&mut self, now: Tick, said: Vec<Said>) -> Vec<message::Told> {
        let mut words = Vec::new();
        let mut heard = BTreeMap::new();
        for Said { by, ago, message } in said {
            let at = Tick::from_nanos(now.nanos().saturating_sub(ago.as_nanos() as u64));
            match serde_json::from_slice::<Message>(&message) {
                Ok(mut message) => {
                    let known = message.members.iter().map(message::Told::numbered).collect();
                    words.append(&mut message.members);
                    heard.insert(by, Heard { at, message, known });
                }
                // It is there, whatever it says.
                Err(error) => {
                    tracing::debug!(balancer = by, %error, "what another balancer says cannot be read");
                    heard.insert(by, Heard { at, message: Message::default(), known: BTreeMap::new() });
                }
            }
        }
        self.sharing.others = heard;
        words
    }

    /// Tells of the store's loss and return, once each.
    fn set_store(&mut self, state: Result<(), &Lost>) {
        let (store, balancers) =
            (self.sharing.store.clone().unwrap_or_default(), self.sharing.others.len() + 1);
        self.metrics.store_up.with_label_values::<&str>(&[]).set(i64::from(state.is_ok()));
        self.metrics.balancers_live.with_label_values(&[&self.metrics.pool]).set(balancers as i64);
        if self.sharing.up.replace(state.is_ok()) == Some(state.is_ok()) {
            return;
        }
        self.tell(match state {
            Ok(()) => Fact::StoreBack { store, balancers },
            Err(lost) => Fact::StoreLost { store, reason: lost.to_string() },
        });
    }

    /// Once a second: what others said too long ago holds no more, and turns drawn alone are counted.
    pub(super) fn settle_sharing(&mut self, now: Tick) {
        let before = self.sharing.others.len();
        self.sharing.others.retain(|_, heard| now.since(heard.at) < TTL);
        if self.sharing.others.len() != before {
            let live = self.sharing.others.len() as i64 + 1;
            self.metrics.balancers_live.with_label_values(&[&self.metrics.pool]).set(live);
        }
        if self.shares() {
            let taken = self.sharing.namesake.taken(now);
            self.metrics.name_taken.with_label_values(&[&self.metrics.pool]).set(i64::from(taken));
        }
        if let Some((turns, _)) = self.pool.turns() {
            let alone = turns.alone();
            let new = alone - std::mem::replace(&mut self.sharing.alone, alone);
            self.metrics.turns_local.with_label_values(&[&self.metrics.pool]).inc_by(new);
        }
        self.reclaim();
        self.yield_names();
        self.follow_missing();
        self.share_scrapes(now);
    }
}
