//! How far the end of this balancer has come: told once to all workers and to the admin endpoints, and only ever onwards.
//!
//! Between serving and draining lies leaving: whoever asks `/ready` hears that it is time to go elsewhere, and everybody is
//! still served. Without it a load balancer, Service or DNS before this one would go on sending for as long as it takes
//! to notice closed ports.

/// A stage of a balancer's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// New connections and requests are welcome.
    Serving,
    /// Not ready any more, but all are served; each response is the last of its connection.
    Leaving,
    /// Another process accepts on our sockets, and is asked in our place; those who came here are served as when leaving.
    HandedOver,
    /// Nothing new is accepted; what is in flight may finish.
    Draining,
}

impl Stage {
    /// Whether each response is the last of its connection.
    #[must_use]
    pub fn parts(self) -> bool {
        matches!(self, Stage::Leaving | Stage::HandedOver)
    }
}
