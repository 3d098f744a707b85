//! Where panels stand: in the order in which they are written, from left to right, on a grid 24 columns wide.

use super::description::{Kind, Panel};

/// Grafana's grid.
pub(super) const COLUMNS: u16 = 24;

/// A panel's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) x: u16,
    pub(super) y: u16,
    pub(super) w: u16,
    pub(super) h: u16,
}

/// Places for the panels of a row whose first line is `top`, and the line below them all.
pub(super) fn places(sizes: &[(u16, u16)], top: u16) -> (Vec<Place>, u16) {
    let (mut x, mut y, mut tallest) = (0, top, 0);
    let mut places = Vec::with_capacity(sizes.len());
    for &(w, h) in sizes {
        let w = w.min(COLUMNS);
        if x + w > COLUMNS {
            (x, y, tallest) = (0, y + tallest, 0);
        }
        places.push(Place { x, y, w, h });
        x += w;
        tallest = tallest.max(h);
    }
    (places, y + tallest)
}

/// A panel's width and height.
pub(super) fn size(panel: &Panel) -> (u16, u16) {
    let (w, h) = match panel.kind {
        Kind::Stat | Kind::Gauge => (4, 5),
        Kind::Timeseries | Kind::Bargauge => (8, 8),
        Kind::Heatmap => (12, 8),
        Kind::Table => (COLUMNS, 9),
        Kind::StateTimeline => (COLUMNS, 7),
    };
    (panel.w.unwrap_or(w), panel.h.unwrap_or(h))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_line_begins_the_next_below_its_tallest() {
        let (places, below) = places(&[(8, 4), (8, 6), (12, 5), (99, 2)], 1);
        let corners: Vec<_> = places.iter().map(|place| (place.x, place.y, place.w)).collect();
        assert_eq!(corners, [(0, 1, 8), (8, 1, 8), (0, 7, 12), (0, 12, 24)]);
        assert_eq!(below, 14);
    }
}
