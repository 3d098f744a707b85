//! The `backend` binary: settings in, one line with the address out, then serve until told to stop.
//!
//! Standard output carries that one line, `listening on http://ADDR`, and nothing else, so that scripts and tests can
//! wait for it; the log goes to standard error. How it fails: one line on standard error, exit 1 (or 2 for settings).

use std::io::{self, Write};
use std::process::ExitCode;

use backend::{Args, Config, Running};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
    let args = Args::parse();
    let leash = args.until_eof();
    let asks = args.asks();
    let config = match args.config(|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(why) => return fail(&why, 2),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}"), 1),
    };
    let outcome = match asks {
        Some(url) => runtime.block_on(backend::health(&url)),
        None => runtime.block_on(run(config, leash)),
    };
    // CPU jobs that were called off need not be waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why, 1),
    }
}

async fn run(config: Config, leash: bool) -> Result<(), String> {
    // Before the address is out: who reads it may send a signal at once.
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let server = backend::start(config).await.map_err(|error| error.to_string())?;
    say_where(&server).map_err(|error| format!("cannot write to standard output: {error}"))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = end_of_input(), if leash => {}
    }
    tracing::info!("stopping");
    if !server.stop().await {
        tracing::warn!(within = ?backend::STOP_WITHIN, "requests were still under way; cut");
    }
    Ok(())
}

/// Ends when standard input does: whoever started this server holds the other end, and is gone, however it went.
async fn end_of_input() {
    let (gone, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // An unreadable input is as good as an ended one.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = gone.send(());
    });
    let _ = told.await;
}

fn on(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("cannot listen for signals: {error}"))
}

fn say_where(server: &Running) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "listening on http://{}", server.address())?;
    out.flush()
}

fn fail(why: &str, code: u8) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "backend: {why}");
    ExitCode::from(code)
}
