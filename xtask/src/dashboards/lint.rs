//! Rules of good dashboards.
