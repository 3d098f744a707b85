//! The one rule that two words of a pool keep together: where failures weigh on a backend, the pool says so. A worker writes the
//! debt and then looks at the flag; the control side looks at the debts, takes the flag down, and looks again.

use std::cell::{Cell, RefCell};

use super::{Load, PoolLoad};

/// What a worker does in `set_debt`, step by step.
struct Worker<'a> {
    load: &'a Load,
    pool: &'a PoolLoad,
    step: Cell<u32>,
    saw: Cell<bool>,
}

impl Worker<'_> {
    fn step(&self) {
        match self.step.replace(self.step.get() + 1) {
            0 => self.load.debt_now.set(1.0),
            1 => self.saw.set(self.pool.indebted()),
            _ if !self.saw.get() => self.pool.indebt(),
            _ => {}
        }
    }
}

/// The control side's loads, with other threads' steps before each look at one, and behind the last.
#[derive(Clone)]
struct Between<'a, I> {
    loads: I,
    others: &'a dyn Fn(),
}

impl<'a, I: Iterator<Item = &'a Load>> Iterator for Between<'_, I> {
    type Item = &'a Load;

    fn next(&mut self) -> Option<&'a Load> {
        (self.others)();
        self.loads.next()
    }
}

/// Places where a step may fall: before, at each of the looks (two for each of two passes), and after.
const PLACES: usize = 6;

/// Wherever a worker's three steps fall into the control side's, a debt that is there is told.
#[test]
fn a_debt_is_never_hidden() {
    let mut looks = 0;
    for places in (0..PLACES.pow(3)).map(|n| [n % PLACES, n / PLACES % PLACES, n / PLACES / PLACES]) {
        if !places.is_sorted() {
            continue;
        }
        for before in [false, true] {
            let (load, pool) = (Load::new(), PoolLoad::default());
            if before {
                pool.indebt();
            }
            let worker = Worker { load: &load, pool: &pool, step: Cell::new(0), saw: Cell::new(false) };
            let place = RefCell::new(0);
            let others = || {
                let at = *place.borrow();
                places.iter().filter(|&&due| due == at).for_each(|_| worker.step());
                *place.borrow_mut() += 1;
            };
            others();
            pool.settle_debts(&Between { loads: [&load].into_iter(), others: &others });
            looks = looks.max(*place.borrow());
            // What has not fallen between happens now: there are fewer looks where the first finds a debt.
            while worker.step.get() < 3 {
                worker.step();
            }
            assert!(pool.indebted(), "{places:?}, flag {before}: a debt that nobody is told of");
        }
    }
    assert_eq!(looks, PLACES - 1, "every place was reached");
}

#[test]
fn without_debts_the_flag_comes_down() {
    let (load, pool) = (Load::new(), PoolLoad::default());
    pool.indebt();
    pool.settle_debts(&[&load].into_iter());
    assert!(!pool.indebted());
}
