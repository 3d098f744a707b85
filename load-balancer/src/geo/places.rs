//! Where the backends of one snapshot are, by region, so that a request can be told to have stayed or gone elsewhere
//! without looking at every backend.

use crate::observe::regional::Spill;

/// The regions of a pool's members. Without geo it is empty and answers nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    of: Box<[Option<u8>]>,
    /// Regions with a member, one bit each: [`super::MOST`] fit.
    present: u64,
    /// Regions with an eligible one.
    eligible: u64,
}

/// One member, for [`Places::new`].
#[derive(Debug, Clone, Copy)]
pub struct Resident {
    /// Its region, if it is in one.
    pub region: Option<u8>,
    /// It is not leaving.
    pub stays: bool,
    /// It may be picked.
    pub eligible: bool,
}

impl Places {
    /// From the members in order.
    #[must_use]
    pub fn new(members: impl Iterator<Item = Resident>) -> Self {
        let mut places = Places::default();
        let mut of = Vec::new();
        for member in members {
            of.push(member.region);
            let bit = member.region.map_or(0, bit);
            places.present |= if member.stays { bit } else { 0 };
            places.eligible |= if member.eligible { bit } else { 0 };
        }
        Places { of: of.into(), ..places }
    }

    /// The region of a member.
    #[must_use]
    pub fn region(&self, member: u32) -> Option<u8> {
        self.of.get(member as usize).copied().flatten()
    }

    /// Why a request of `client`'s region went to `member`, if that is elsewhere.
    #[must_use]
    pub fn spill(&self, client: Option<u8>, member: u32) -> Option<Spill> {
        let (client, backend) = (client?, self.region(member)?);
        if client == backend {
            None
        } else if self.present & bit(client) == 0 {
            Some(Spill::NoBackends)
        } else if self.eligible & bit(client) == 0 {
            Some(Spill::Unavailable)
        } else {
            Some(Spill::Load)
        }
    }
}

fn bit(region: u8) -> u64 {
    1_u64.checked_shl(u32::from(region)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_request_goes_elsewhere() {
        let member = |region, stays, eligible| Resident { region, stays, eligible };
        let places = Places::new(
            [
                member(Some(0), true, true),
                member(Some(1), true, false),
                member(Some(2), false, false),
                member(None, true, true),
                member(Some(63), true, true),
            ]
            .into_iter(),
        );
        assert_eq!(places.spill(Some(0), 0), None, "at home");
        assert_eq!(places.spill(Some(0), 4), Some(Spill::Load));
        assert_eq!(places.spill(Some(63), 0), Some(Spill::Load));
        assert_eq!(places.spill(Some(1), 0), Some(Spill::Unavailable));
        assert_eq!(places.spill(Some(2), 0), Some(Spill::NoBackends), "it is leaving");
        assert_eq!(places.spill(Some(7), 0), Some(Spill::NoBackends));
        assert_eq!((places.spill(None, 0), places.spill(Some(0), 3)), (None, None), "who knows");
        assert_eq!((places.region(4), places.region(3), places.region(9)), (Some(63), None, None));
        assert_eq!(Places::default().spill(Some(0), 0), None);
    }
}
