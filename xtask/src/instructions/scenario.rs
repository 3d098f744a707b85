//! What is counted: one configuration each, over the same requests.
//!
//! Whatever works by the clock is off (health checks) or far away, so that a slow machine counts what a quick one does.

use std::fmt::Write as _;

use super::count::Site;

/// A configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Round robin, no record, no log: what every request pays
    Plain,
    /// The default algorithm
    Adaptive,
    /// A decision record of each hundredth request
    Records,
    /// A JSON line for each request
    Log,
    /// Spans of each hundredth request
    Traces,
    /// Round robin in the order that all balancers at a Redis share
    Store,
    /// Adaptive in three regions, with the client's looked up
    Geo,
}

impl Scenario {
    /// Its name in results.
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Its configuration.
    pub(super) fn config(self, site: &Site, requests: u32) -> String {
        let algorithm = if matches!(self, Self::Adaptive | Self::Geo) { "adaptive" } else { "round_robin" };
        let record = if self == Self::Records { "sampled" } else { "off" };
        let regions = if self == Self::Geo { ["EU", "US", "APAC"] } else { [""; 3] };
        let mut text = format!(
            "workers = 1\n[listen]\ntraffic = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [health]\nenabled = false\n[state]\nfile = \"off\"\n[decisions]\nrecord = \"{record}\"\n\
             [pool]\nalgorithm = \"{algorithm}\"\n"
        );
        for (port, region) in site.backends.iter().zip(regions.into_iter().cycle()) {
            let _infallible =
                write!(text, "[[pool.backend]]\naddress = \"127.0.0.1:{port}\"\nregion = \"{region}\"\n");
        }
        let log = site.scratch.join(format!("access-{requests}.log"));
        let receiver = site.backends.first().copied().unwrap_or_default();
        text += &match self {
            Self::Plain | Self::Adaptive | Self::Records => String::new(),
            Self::Log => format!("[access_log]\nformat = \"json\"\npath = \"{}\"\n", log.display()),
            // A backend answers 200 to whatever is posted.
            Self::Traces => format!(
                "[traces]\nendpoint = \"http://127.0.0.1:{receiver}\"\nsample = 0.0\nparent = \"always\"\n"
            ),
            Self::Store => format!("[store]\nurl = \"redis://127.0.0.1:{}\"\n", site.redis),
            Self::Geo => {
                "[geo]\nenabled = \"on\"\n[client]\ntrusted_proxies = [\"127.0.0.0/8\"]\n".to_owned()
            }
        };
        text
    }
}
