//! Two references that know what nobody can: both greedy, so each may lose to the other, and to a policy that is less
//! selfish. The better of the two in a cell is its reference, not its optimum.

use super::balancer::{Ask, Balancer};
use super::server::Server;

/// Work that a stopped server is taken to be away from finishing anything, as a speed.
const STOPPED: f64 = 1e-6;
/// How much dearer a server gets by failing everything: dear enough to be the last resort.
const FAILING: f64 = 1e4;

/// What a server's faults multiply its cost by.
fn faults(server: &Server) -> f64 {
    if server.down { f64::INFINITY } else { 1.0 + FAILING * server.failing }
}

/// Shortest expected delay: true requests in flight (in transit too) over true capacity, as the rule is usually stated.
/// Knowing that a free slot serves at full speed makes it crowd the fast servers, which is worse for all.
pub(crate) struct Sed;

impl Balancer for Sed {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        let (truth, zone) = (ask.truth, ask.client.zone());
        ask.least(|server| {
            let server = &truth.servers[server as usize];
            let sharing = f64::from(server.held() + server.transit.0 + 1) / server.cores;
            let travel = if server.zone == zone { 0.0 } else { truth.zone_ns };
            let slow = truth.mean_work / server.speed().max(STOPPED);
            (slow * sharing + travel) * faults(server)
        })
    }
}

/// Join the shortest expected workload: true work left (in transit too), true speed. What this request will be is drawn
/// before it is picked, but not even the oracle looks at it: servers find out by serving.
pub(crate) struct Jsew;

impl Balancer for Jsew {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        let (truth, zone, now) = (ask.truth, ask.client.zone(), ask.now.nanos());
        ask.least(|server| {
            let server = &truth.servers[server as usize];
            let left = (server.remaining(now) + truth.mean_work) / server.cores;
            let travel = if server.zone == zone { 0.0 } else { truth.zone_ns };
            let speed = server.speed().max(STOPPED);
            (left / speed + travel) * faults(server)
        })
    }
}
