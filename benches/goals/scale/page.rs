//! The status page of many Ingresses: time to the first byte of an answer that is made anew.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use ingress_acme::commands::storm::Simulated;
use ingress_acme_sim::{Options, World};
use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::scaled;
use super::scans::{Site, load_valid, scanned};
use crate::real::the_operator;
use crate::table::Goals;

/// The overview; a page of the list; a search and a filter, for which all Ingresses are looked at;
/// and one Ingress.
const PAGES: [&str; 5] = [
    "/",
    "/ingresses",
    "/ingresses?search=site-4999",
    "/ingresses?state=failing",
    "/ingress?namespace=n0&name=site-0",
];
/// Number of times that each page is asked for.
const ROUNDS: usize = 10;
/// Time after which an answer is made anew, and some more.
const ANEW: Duration = Duration::from_millis(1_100);

/// Measures the pages of 5,000 Ingresses with valid certificates.
pub(super) async fn measure(goals: &mut Goals) -> anyhow::Result<()> {
    let ingresses = scaled(5_000);
    let world = World::start(Options::default())?;
    load_valid(&world, Site { ingresses, shared: false })?;
    let simulated = Simulated::start_in(world, &[], &the_operator()).await?;
    let scanned = tokio::time::timeout(Duration::from_mins(10), scanned(simulated.log_path()));
    scanned.await.context("no first scan")??;
    let url: Url = simulated.metrics_url().parse()?;
    let port = url.port().context("no port")?;
    let mut slowest = [0.0_f64; PAGES.len()];
    for _ in 0..ROUNDS {
        for (slowest, page) in slowest.iter_mut().zip(PAGES) {
            *slowest = slowest.max(first_byte(([127, 0, 0, 1], port).into(), page).await?);
        }
        sleep(ANEW).await;
    }
    for (milliseconds, page) in slowest.iter().zip(PAGES) {
        eprintln!("  {page}: {milliseconds:.1} ms");
    }
    let what = format!("{ingresses} Ingresses: status page, slowest first byte of {ROUNDS} each");
    goals.at_most(&what, 100.0, slowest.into_iter().fold(0.0, f64::max), " ms");
    simulated.end().await.map(drop)
}

/// Milliseconds from the connection to the first byte of an answer.
async fn first_byte(to: SocketAddr, page: &str) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(format!("GET {page} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    let mut first = [0; 1];
    stream.read_exact(&mut first).await?;
    let took = began.elapsed().as_secs_f64() * 1_000.0;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await?;
    ensure!(rest.starts_with("TTP/1.1 200 "), "{page}: {rest}");
    Ok(took)
}
