//! TLS: handshakes, and certificates that end.

use super::{Family, POOL, counter, gauge};

/// Handshakes.
pub const TLS_HANDSHAKES: Family = counter(
    "lb_tls_handshakes_total",
    &["listener", "version", "result"],
    "Handshakes with clients and operators: the version (none where there is none) and ok, plaintext (no TLS was spoken), \
     timeout (timeouts.tls_handshake), closed, incompatible (no common version, cipher or protocol), client_certificate \
     (missing or not believed), refused (the client did not like ours), protocol.",
);
/// Ends of certificates.
pub const TLS_ENDS: Family = gauge(
    "lb_tls_certificate_not_after_timestamp_seconds",
    &["place", "file"],
    "When a certificate in force ends, or the first of its chain, in seconds since the Unix epoch; place: traffic, admin, \
     backends (what is shown to them).",
);
/// Renewals.
pub const TLS_RELOAD_OK: Family = gauge(
    "lb_tls_last_reload_successful",
    &["place"],
    "1 where the certificate files of this place are in force as they are; 0 where they have changed into what cannot be used, \
     and the ones before are.",
);
/// Verification that is off.
pub const TLS_UNVERIFIED: Family = gauge(
    "lb_upstream_tls_unverified",
    POOL,
    "1 where TLS is spoken with backends whose certificates are not verified (pool.tls.insecure_skip_verify).",
);
