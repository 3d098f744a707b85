//! Traffic while something else happens: clients for whom nothing may go wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::task::JoinHandle;

use super::{Wire, keep, within};

/// Clients that go on until told to stop; any answer but 200 is a panic.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    pub(crate) fn start(traffic: SocketAddr) -> Clients {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |stop: Arc<AtomicBool>, done: Arc<AtomicUsize>| async move {
            let mut wire = Wire::connect(traffic).await;
            while !stop.load(SeqCst) {
                wire.send(keep("/echo")).await;
                let reply = wire.reply().await;
                assert_eq!(reply.status(), 200, "{}", reply.text());
                done.fetch_add(1, SeqCst);
            }
        };
        let tasks = (0..4).map(|_| tokio::spawn(client(Arc::clone(&stop), Arc::clone(&done)))).collect();
        Clients { stop, done, tasks }
    }

    /// Waits until fifty more have been answered.
    pub(crate) async fn go_on(&self) {
        let target = self.done.load(SeqCst) + 50;
        within("more requests", async {
            while self.done.load(SeqCst) < target {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// How many requests there were in all.
    pub(crate) async fn stop(self) -> usize {
        self.stop.store(true, SeqCst);
        for task in self.tasks {
            within("a client", task).await.unwrap();
        }
        self.done.load(SeqCst)
    }
}
