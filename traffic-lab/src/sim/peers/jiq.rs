//! Join the idle queue (Lu and others, 2011), with a token for each free slot instead of one for a wholly idle server,
//! since servers of several slots are hardly ever idle: a server pushes its tokens to balancers drawn at random, and a
//! balancer without tokens picks at random.

use std::collections::VecDeque;

use lb_core::Tick;

use crate::sim::balancer::{Ask, Balancer};

/// Tokens, the oldest first.
#[derive(Default)]
pub(crate) struct Jiq(VecDeque<u32>);

impl Balancer for Jiq {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        while let Some(server) = self.0.pop_front() {
            if ask.up.binary_search(&server).is_ok() && !ask.tried.contains(server) {
                return Some(server);
            }
        }
        ask.draw_two().map(|(first, _)| first)
    }

    fn on_token(&mut self, server: u32) {
        self.0.push_back(server);
    }

    fn on_member(&mut self, server: u32, _up: bool, _now: Tick) {
        self.0.retain(|&other| other != server);
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::Stage;
    use super::*;

    #[test]
    fn tokens_first_then_anywhere() {
        let (mut stage, mut policy) = (Stage::new(4), Jiq::default());
        [3, 3, 1].into_iter().for_each(|server| policy.on_token(server));
        assert_eq!([stage.pick(&mut policy), stage.pick(&mut policy), stage.pick(&mut policy)], [3, 3, 1]);
        assert!(stage.shares(&mut policy, 400).iter().all(|&n| n > 50));
    }
}
