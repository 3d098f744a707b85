//! `traffic-lab dashboard`: a page at :8050 that draws what runs left, and shows a balancer at work.
//!
//! Rust works the series out, the page draws them: what a chart says is tested here, and a browser never gets more points
//! than it can show. The balancer's own news comes through this server, so that the page needs neither its token nor its
//! leave. Nothing is fetched from elsewhere, and nobody but this machine is answered unless `--listen` says so.
//! How it fails: an address that is taken is named; a file that is no run is listed with its reason; a balancer that is
//! away is looked for again each second.

mod assets;
mod charts;
mod guard;
mod library;
mod live;
mod runs;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::routing::get;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use library::Library;

/// How the dashboard is started.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where runs are.
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
    /// Where to listen; port 0 lets the system choose. Whoever reaches it sees the runs and what the balancer does: with a
    /// token, only loopback will do.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8050")]
    listen: SocketAddr,
    /// The balancer's admin listener, for the live view.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901")]
    admin: String,
    /// A file with the balancer's token, where its admin listener asks for one.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Stop when standard input ends, so that it never outlives whoever started it.
    #[arg(long)]
    until_eof: bool,
}

/// What the handlers share.
#[derive(Debug)]
struct Shared {
    library: Library,
    admin: live::Admin,
    listen: SocketAddr,
}

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// Where it cannot listen, or its arguments make no sense.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> Result<()> {
    ensure!(
        arguments.admin_token_file.is_none() || arguments.listen.ip().is_loopback(),
        "--listen {} would give everybody there what the token guards: listen on 127.0.0.1, and reach it by \
         `ssh -L 8050:127.0.0.1:8050 HOST`",
        arguments.listen
    );
    let token = arguments.admin_token_file.as_deref().map(|path| {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(!text.trim().is_empty(), "{} is empty", path.display());
        Ok(text.trim().to_owned())
    });
    let admin = live::Admin::new(&arguments.admin, token.transpose()?.as_deref())?;
    let listener = TcpListener::bind(arguments.listen).await.with_context(|| {
        format!("cannot listen on {} (`ss -ltnp` tells who does; --listen names another)", arguments.listen)
    })?;
    let listen = listener.local_addr()?;
    let shared = Arc::new(Shared { library: Library::new(arguments.results), admin, listen });
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    println!("dashboard listening on http://{listen}");
    tokio::select! {
        // A live stream never ends by itself, so there is nothing to wait for at the end.
        ended = async { axum::serve(listener, router(shared)).await } => ended?,
        () = input_ends(), if arguments.until_eof => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/api/runs", get(runs::list))
        .route("/api/runs/{id}", get(runs::one))
        .route("/api/live", get(live::stream))
        .fallback(get(assets::asset))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), guard::guard))
        .with_state(shared)
}

/// Returns when standard input has ended.
async fn input_ends() {
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 64];
    while input.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
}
